"""The SLURM profile sends each rule where it belongs; needs no SLURM."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY

PROFILE = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text())
RULES = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))

LOCAL = "localrule: True"


def rules_with_a_gpu() -> set[str]:
    """Names of the rules whose resources ask for a GPU."""
    blocks = re.split(r"^rule (\w+):", RULES, flags=re.M)[1:]
    return {name for name, text in zip(blocks[::2], blocks[1::2], strict=True) if "gpu=" in text}


def test_every_rule_that_asks_for_a_gpu_goes_to_the_gpu_partition():
    assert "train" in rules_with_a_gpu()
    sent = {
        rule
        for rule, resources in PROFILE["set-resources"].items()
        if resources.get("slurm_partition") == "gpu"
    }
    assert sent == rules_with_a_gpu()


def test_only_rules_that_exist_are_named():
    names = set(re.findall(r"^rule (\w+):", RULES, flags=re.M))
    assert set(PROFILE["set-resources"]) <= names


def test_what_touches_the_network_runs_where_the_workflow_was_started():
    blocks = re.split(r"^ *rule (\w+):", RULES, flags=re.M)[1:]
    local = {name for name, text in zip(blocks[::2], blocks[1::2], strict=True) if LOCAL in text}
    assert {"fetch", "fetch_inception"} <= local


def test_each_name_of_the_site_stands_once():
    text = (REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text()
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    for name in ("slurm_partition: gpu", "slurm_partition: cpu", "runtime: 1440"):
        assert lines.count(name) == 1


def dry_run(folder: Path, profile: Path) -> str:
    """What `snakemake --profile PROFILE` would do for the demo, with every job's resources."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    # The plugin asks for the cluster when it is imported, and would wait for one that is not there.
    (folder / "bin").mkdir()
    for name in ("scontrol", "sinfo", "squeue"):
        (folder / "bin" / name).symlink_to("/bin/false")
    done = subprocess.run(
        [*command, "--profile", str(profile), "--dry-run"],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def resources(printed: str) -> dict[str, str]:
    """The resources of the last job of each rule."""
    blocks = re.split(r"^(?:local)?rule (\w+):", printed, flags=re.M)[1:]
    return {
        rule: re.search(r"resources: (.*)", text)[1]
        for rule, text in zip(blocks[::2], blocks[1::2], strict=True)
    }


@pytest.mark.parametrize("name", ["profiles/slurm", "slurm"])
def test_both_ways_to_name_the_profile_work(tmp_path, name):
    if name == "slurm":  # what `make slurm-profile` links
        (tmp_path / "slurm").symlink_to(REPOSITORY / "profiles" / "slurm")
    asked = resources(dry_run(tmp_path, REPOSITORY / name if "/" in name else Path(name)))
    for rule in rules_with_a_gpu() & set(asked):
        assert "slurm_partition=gpu" in asked[rule]
        assert "gpu=1" in asked[rule]
    assert "slurm_partition=cpu" in asked["prepare"]
    assert "slurm_extra=--signal=USR1@120" in asked["train"]
    # Nothing was measured: the site's wall time.
    assert "runtime=1440" in asked["train"]
    assert "runtime=10," in f"{asked['plot_scores']},"


def test_the_users_word_outranks_what_jobs_would_ask_for(tmp_path):
    words = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text())
    words["set-resources"]["train"] |= {"mem_mb": 12345, "runtime": 77}
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "config.yaml").write_text(yaml.safe_dump(words))
    train = resources(dry_run(tmp_path, tmp_path / "site"))["train"]
    assert "mem_mb=12345" in train
    assert "runtime=77" in train
