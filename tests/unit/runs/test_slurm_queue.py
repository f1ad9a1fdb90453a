"""Which SLURM jobs are a config's own."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY
from small_study import SMALL

from ddpm_bench.config.loading import check_config
from ddpm_bench.runs import slurm_queue

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
RULES = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))


@pytest.fixture(scope="module")
def config():
    """The demo: experiment digits, with a second one whose name begins with that of the first."""
    raw = {**DEMO, "experiments": {**DEMO["experiments"]}}
    raw["experiments"]["digits_b"] = DEMO["experiments"]["digits"]
    raw["benchmark"] = {"models": {"net_1.b": {"name": "resnet18"}}, "strategies": ["ddp"]}
    return check_config(raw)


def test_the_wildcards_of_every_rule_stand_in_the_order_of_its_first_output():
    blocks = re.split(r"^rule (\w+):", RULES, flags=re.M)[1:]
    for rule, text in zip(blocks[::2], blocks[1::2], strict=True):
        output = text.split("    output:")[1].split("    log:")[0]
        first = re.search(r'f"([^"]+)"', output)[1]
        named = tuple(dict.fromkeys(re.findall(r"\{\{(\w+)\}\}", first)))
        if named:
            assert slurm_queue.WILDCARDS[rule] == named


@pytest.mark.parametrize(
    ("rule", "wildcards", "expected"),
    [
        ("train", "digits_00000000_00000600", "digits"),
        ("train", "digits_b_00000000_00000600", "digits_b"),
        ("train", "digits_c_00000000_00000600", None),  # another workflow's
        ("sample", "digits_dpm20_00000300_000000_000511", "digits"),
        ("sample", "digits_other_00000300_000000_000511", None),  # no set of this config
        ("prepare", "digits", "digits"),
        ("prepare", "digits_b", None),  # an experiment is no dataset
        ("reference_features", "digits_classifier_train", "digits"),
        ("measure_cell", "net_1.b.ddp.fp32.batch-32.processes-1.nodes-1", "benchmark"),
        ("measure_cell", "other.ddp.fp32.batch-32.processes-1.nodes-1", None),
        ("another_workflows_rule", "digits", None),
    ],
)
def test_a_job_is_of_the_config_that_has_its_names(config, rule, wildcards, expected):
    assert slurm_queue.belongs_to_study(config, rule, wildcards) == expected


def job(number: str, rule: str, wildcards: str, run: str = "run-1", state: str = "COMPLETED"):
    return slurm_queue.SlurmJob(
        number, state, rule, wildcards, run, "cpu", "", "None", "0:01", "59:59"
    )


def test_a_job_of_all_experiments_belongs_to_the_run_that_sent_it(config):
    jobs = [
        job("1", "score", "digits_classifier_dpm20_00000300"),
        job("2", "compare", ""),
        job("3", "compare", "", run="run-2"),
        job("4", "train", "another_00000000_00000600", run="run-2"),
    ]
    assert [found.id for found in slurm_queue.jobs_of(config, jobs)] == ["1", "2"]


def test_a_group_of_jobs_says_in_its_script_what_it_makes(config, monkeypatch):
    script = (
        "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n/env/bin/python -m snakemake "
        "--snakefile '/p/Snakefile' --target-jobs "
        "'sample:experiment=digits_b,samples=dpm20,step=00000300,first=000000,last=000511' "
        "'sample:experiment=digits_b,samples=dpm20,step=00000600,first=000000,last=000511' "
        "--allowed-rules sample --cores 'all'\n"
    )
    monkeypatch.setattr(slurm_queue, "batch_script", lambda number: script)
    (found,) = slurm_queue.jobs_of(config, [job("7", "5cf0a1", "", state="PENDING")])
    assert (found.rule, found.count) == ("sample", 2)
    assert slurm_queue.belongs_to_study(config, found.rule, found.wildcards) == "digits_b"
    foreign = script.replace("experiment=digits_b", "experiment=another")
    monkeypatch.setattr(slurm_queue, "batch_script", lambda number: foreign)
    assert slurm_queue.jobs_of(config, [job("7", "5cf0a1", "", state="PENDING")]) == []


def test_the_queue_of_a_folder_has_rules_and_groups_and_nothing_else(tmp_path, monkeypatch):
    def line(number: int, comment: str, folder: Path) -> str:
        values = [number, "RUNNING", comment, "run-1", "gpu", "n1", "None", "1:00", "59:00", folder]
        return slurm_queue.SEPARATOR.join(map(str, values))

    group = "rule_3f1c-8a.b_sample_score"
    printed = [
        line(10, "rule_train_wildcards_digits_00000000_00000600", tmp_path),
        line(9, group, tmp_path),
        line(8, "rule_train_wildcards_digits_00000000_00000600", tmp_path / "elsewhere"),
        line(7, "(null)", tmp_path),  # sent by hand
    ]
    monkeypatch.setattr(slurm_queue, "has_slurm", lambda: True)
    monkeypatch.setattr(slurm_queue, "run_command", lambda *command: "\n".join(printed) + "\n")
    told = [(job.id, job.rule, job.wildcards) for job in slurm_queue.queue(tmp_path)]
    assert told == [
        ("9", "3f1c-8a.b_sample_score", ""),
        ("10", "train", "digits_00000000_00000600"),
    ]


def test_gpus_are_read_by_node_and_index():
    shown = (
        "JobId=9 TRES=cpu=4,mem=8000M,node=2,gres/gpu=5 JOB_GRES=gpu:a100:5 "
        "Nodes=n1 CPU_IDs=0-1 Mem=4000 GRES=gpu:a100:3(IDX:0-1,3) "
        "Nodes=n[2-3] CPU_IDs=0-1 Mem=4000 GRES=gpu:a100:2(IDX:0-1) MinCPUsNode=1"
    )
    assert slurm_queue.gpu_indices(shown) == ["n1:0", "n1:1", "n1:3", "n[2-3]:0", "n[2-3]:1"]
    assert slurm_queue.gpu_indices("Nodes=n1 CPU_IDs=0 Mem=2000 GRES= MinCPUsNode=1") == []


def test_a_machine_without_slurm_has_no_jobs(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm_queue.queue(tmp_path) == []


def test_the_job_of_a_sweep_is_of_its_sweep():
    raw = copy.deepcopy(SMALL)
    raw["experiments"]["small"]["sweep"] = {"keys": {"train.seed": [0, 1]}}
    config = check_config(raw)
    assert slurm_queue.belongs_to_study(config, "sweep", "small") == "small"
    assert slurm_queue.belongs_to_study(config, "sweep", "small.seed-0") is None
    assert (
        slurm_queue.belongs_to_study(config, "train", "small.seed-1_00000000_00000020")
        == "small.seed-1"
    )
