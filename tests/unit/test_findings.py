"""The scripts of findings/ are of one form; none is run here, none needs the network."""

import os
import re
from pathlib import Path

import pytest

FINDINGS = Path(__file__).resolve().parents[2] / "findings"
SCRIPTS = sorted(FINDINGS.glob("*.sh"))
PINNED = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*")
INSTALL_OPTIONS = {"--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"}


def _packages(script: Path) -> list[str]:
    """Return what the pip lines of a script install, without their options."""
    lines = re.findall(r"-m pip install ((?:.*\\\n)*.*)", script.read_text())
    words = [word for line in lines for word in line.replace("\\\n", " ").split()]
    return [word for word in words if word not in INSTALL_OPTIONS]


def test_there_are_findings() -> None:
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_executable_and_stops_at_its_first_failure(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    code = [line for line in lines if line and not line.startswith("#")]
    assert code[0] == "set -euo pipefail"
    assert len(lines) <= 80


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_names_guess_behaviour_cause_and_reason(script: Path) -> None:
    comment, _, code = script.read_text().partition("\nset -euo pipefail\n")
    places = [
        comment.index(f"\n# {part}") for part in ("Guess:", "What happens (", "Cause:", "Why it ")
    ]
    assert places == sorted(places)
    assert "changed: " in code


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_package_is_pinned_and_no_index_is_named(script: Path) -> None:
    packages = _packages(script)
    assert packages
    assert all(PINNED.fullmatch(package) for package in packages), packages
    assert not re.search(r"https?://|index-url|find-links|ddpm_bench", script.read_text())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_list_holds_every_script_with_its_versions(script: Path) -> None:
    rows = (FINDINGS / "README.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith(f"| [{script.stem}]({script.name}) | ")]
    assert row.split(" | ")[2].removesuffix(" |").split(", ") == _packages(script)


def test_the_list_holds_no_script_that_is_not_there() -> None:
    listed = re.findall(r"^\| \[.*?\]\((.*?)\)", (FINDINGS / "README.md").read_text(), re.M)
    assert listed == [script.name for script in SCRIPTS]
