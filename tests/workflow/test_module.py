"""The workflow as a module of somebody else's: docs/module.md, and what is refused."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from places import HELPERS, REPOSITORY
from small_study import SMALL

PAGE = (REPOSITORY / "docs" / "module.md").read_text()
OUTER, OTHER, HOOKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.M | re.S)
(COMMANDS_OF_THE_PAGE,) = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.M | re.S)

# Dry runs of several Snakefiles, from one process.
PLAN = """\
import json, sys
from pathlib import Path
from dry_runs import jobs_to_run
print(json.dumps([jobs_to_run(Path(name), "goal", {}) for name in sys.argv[1:]]))
"""


def tiny_config(**keys) -> dict:
    """An experiment of 20 steps with one set of samples and one score."""
    config = copy.deepcopy(SMALL)
    own = config["experiments"]["small"]
    own["train"].update(steps=20, run={"cpus": 1})
    own["samples"]["dpm4"]["images"] = 16
    return {**config, **keys}


def module(name: str, config: str, *more: str) -> str:
    """The text of a module and the rules that it gives."""
    lines = [f"module {name}:", f"    snakefile: {str(REPOSITORY / 'Snakefile')!r}"]
    lines += [f"    config: {config}"] if config else []
    lines += [f"    {line}" for line in more]
    return "\n".join([*lines, f"use rule * from {name} as {name}_*", ""])


def goal(*names: str) -> str:
    """The text of an outer rule that needs all scores of these modules."""
    inputs = ", ".join(f"rules.{name}_scored.input" for name in names)
    return f"rule goal:\n    input: {inputs}\n    output: 'goal'\n    shell: 'touch goal'\n"


def plans(folder: Path, *texts: str) -> list:
    """For each outer Snakefile the jobs that it would run, or its error."""
    (folder / "one.json").write_text(json.dumps(tiny_config()))
    names = []
    for index, text in enumerate(texts):
        names.append(str(folder / f"outer{index}.smk"))
        Path(names[-1]).write_text(f"import json\none = json.load(open('one.json'))\n{text}")
    done = subprocess.run(
        [sys.executable, "-c", PLAN, *names],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(HELPERS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_the_page(folder: Path, config: dict) -> str:
    """Run the outer workflow of the page in a folder, as the page says; returns what it printed."""
    (folder.parent / "ddpm-bench").symlink_to(REPOSITORY)
    (folder / "Snakefile").write_text(f"{OUTER}\n{HOOKS}")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", COMMANDS_OF_THE_PAGE],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def archived(folder: Path) -> list[str]:
    command = ["tar", "-tzf", "scores.tar.gz"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_outer_workflow_of_the_page_goes_on_from_results_that_are_there(finished, tmp_path):
    study = finished.copied(tmp_path / "outer")
    scores = sorted(study.folder.glob("results/small/scores/classifier/dpm4/step-*.json"))
    scores[-1].unlink()
    printed = run_the_page(study.folder, study.config)
    assert set(re.findall(r"^(?:local)?rule (\w+):$", printed, re.M)) == {"ddpm_score", "archive"}
    assert archived(study.folder) == [str(path.relative_to(study.folder)) for path in scores]
    assert "fid" in json.loads(scores[-1].read_text())
    assert "40 of 40 steps" in printed and "snakemake does not run" in printed


@pytest.mark.long  # the same from nothing
def test_the_outer_workflow_of_the_page_runs_a_whole_study(tmp_path):
    folder = tmp_path / "outer"
    folder.mkdir()
    printed = run_the_page(folder, tiny_config())
    assert archived(folder) == ["results/small/scores/classifier/dpm4/step-00000020.json"]
    assert "20 of 20 steps" in printed
    again = [sys.executable, "-m", "snakemake", "--cores", "1"]
    done = subprocess.run(again, cwd=folder, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in done.stderr


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> dict[str, list]:
    """Plans of outer workflows with a prefix, and with several modules, by name."""
    other = OTHER.replace("../ddpm-bench/Snakefile", str(REPOSITORY / "Snakefile"))
    texts = {
        "prefix": module("ddpm", "one", "prefix: 'below'") + goal("ddpm"),
        "changed rule": module("ddpm", "one", "prefix: 'below'")
        + "use rule train from ddpm as ddpm_train with:\n    threads: 3\n"
        + goal("ddpm"),
        "two": module("ddpm", "one")
        + f"config = one\n{other}"
        + module("third", "one", "prefix: 'third'")
        + goal("ddpm", "other", "third"),
        "two sources": "two = json.load(open('one.json')) | {'results_dir': 'two'}\n"
        "two['datasets']['digits']['source'] = {'kind': 'mnist'}\n"
        + module("a", "one")
        + module("b", "two")
        + goal("a", "b"),
    }
    return dict(zip(texts, plans(tmp_path_factory.mktemp("outer"), *texts.values()), strict=True))


def outputs(jobs: list, rule: str) -> list[str]:
    assert isinstance(jobs, list), jobs
    return [output for name, _, files in jobs if name == rule for output in files]


@pytest.mark.parametrize("case", ["prefix", "changed rule"])
def test_a_prefix_goes_before_every_path_once(planned, case):
    jobs = planned[case]
    assert outputs(jobs, "ddpm_train") == [
        "below/results/small/training/job-00000000-00000020.json"
    ]
    assert outputs(jobs, "ddpm_fetch") == ["below/resources/datasets/digits-efed91ac.json"]
    own = [output for name, _, files in jobs if name != "goal" for output in files]
    assert all(output.startswith("below/re") for output in own)


def test_modules_with_different_folders_run_beside_each_other_and_share_downloads(planned):
    jobs = planned["two"]
    assert outputs(jobs, "ddpm_train")[0].startswith("results/small/")
    assert outputs(jobs, "other_train")[0].startswith("other/small/")
    assert outputs(jobs, "third_train")[0].startswith("third/results/small/")
    assert outputs(jobs, "ddpm_fetch") == ["resources/datasets/digits-efed91ac.json"]
    assert outputs(jobs, "other_fetch") == []
    assert outputs(jobs, "third_fetch") == ["third/resources/datasets/digits-efed91ac.json"]


def test_modules_that_share_downloads_fetch_two_sources_of_one_name_apart(planned):
    jobs = planned["two sources"]
    fetched = outputs(jobs, "a_fetch") + outputs(jobs, "b_fetch")
    assert len(fetched) == len(set(fetched)) == 2


def test_what_cannot_work_is_refused_with_the_remedy(tmp_path):
    inner = tmp_path / "inner.smk"
    inner.write_text("import json\none = json.load(open('one.json'))\n" + module("ddpm", "one"))
    nested = (
        f"module inner:\n    snakefile: {str(inner)!r}\n    config: {{}}\n    prefix: 'below'\n"
    )
    cases = {
        "module ddpm: has no config; give it one": module("ddpm", "") + goal("ddpm"),
        "modules a and b have the same results_dir, 'results'; give each its own": module(
            "a", "one"
        )
        + module("b", "one"),
        "module ddpm: replace_prefix cannot be followed; give results_dir": module(
            "ddpm", "one", "replace_prefix: {'results/': 'below/'}"
        ),
        "module ddpm: it lies in a module with a prefix": nested
        + "use rule * from inner as inner_*\n",
        "config of module ddpm has 1 problem": "one['sorce'] = 1\n" + module("ddpm", "one"),
        "must lie on this machine: clone its repository": module("ddpm", "one").replace(
            repr(str(REPOSITORY / "Snakefile")), "gitfile('hosted', path='Snakefile', ref='main')"
        ),
    }
    hosted = tmp_path / "hosted"
    hosted.mkdir()
    shutil.copy(REPOSITORY / "Snakefile", hosted)
    for command in (["init", "-b", "main"], ["add", "."], ["commit", "-m", "rules alone"]):
        who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
        subprocess.run(["git", *who, *command], cwd=hosted, capture_output=True, check=True)
    for message, error in zip(cases, plans(tmp_path, *cases.values()), strict=True):
        assert isinstance(error, str) and message in error, (message, error)
