"""A study on the cluster, from start to report, on nodes without a network."""

import json
import re
import subprocess
import sys
from datetime import datetime
from itertools import combinations
from pathlib import Path

import pytest
from cluster import Shape
from conftest import Study
from small_requests import RULES, small_requests

CONNECT = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"


@pytest.fixture(scope="module")
def shape() -> Shape:
    # Jobs are asked for after the run: SLURM must remember the first of them.
    return Shape(network=False, lines=("MinJobAge=3600",))


@pytest.fixture(scope="module")
def study(tmp_path_factory, slurm) -> Study:
    """A finished run: two training jobs, of four checkpoints and of two; two samplers."""
    made = Study(tmp_path_factory.mktemp("run") / "study", slurm)
    made.options = small_requests()
    made.experiment["train"] |= {"steps": 480, "checkpoint_every": 80}
    made.experiment["train"]["run"]["steps_per_job"] = 320
    samples = {"batch_size": 64, "images": 256, "run": {"cpus": 1}}
    made.experiment["samples"] = {
        "dpm20": {"steps": 20, **samples},
        "ddim10": {"scheduler": "ddim", "steps": 10, "checkpoints": "latest", **samples},
    }
    made.run(timeout=1200)
    return made


def partitions(study: Study) -> dict[str, set[str]]:
    """Partitions in which the jobs of each rule ran, as SLURM has it."""
    table = study.cluster.run("squeue", "--noheader", "--states=all", "--format=%k|%P|%T")
    found: dict[str, set[str]] = {}
    for line in table.splitlines():
        comment, partition, state = line.split("|")
        if comment.startswith("rule_"):
            assert state == "COMPLETED", line
            found.setdefault(comment.removeprefix("rule_").split("_wildcards_")[0], set()).add(
                partition
            )
    return found


def drawings(study: Study) -> list[dict]:
    """What each job of sampling noted of itself, with the training step of its checkpoint."""
    paths = sorted((study.results / "samples").glob("*/step-*/images-*.json"))
    return [
        json.loads(path.read_text()) | {"step": int(path.parent.name.removeprefix("step-"))}
        for path in paths
    ]


def between(job: dict) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(job["started"]), datetime.fromisoformat(job["ended"])


def test_each_rule_ran_in_its_partition(study):
    blocks = re.split(r"^rule (\w+):", RULES, flags=re.M)[1:]
    with_gpu = {
        name for name, text in zip(blocks[::2], blocks[1::2], strict=True) if "gpu=" in text
    }
    # Of the benchmark, which this run is not asked for, and of autoencoders, which it has none of.
    with_gpu -= {"measure_cell", "encode", "reconstruct"}
    ran = partitions(study)
    assert {rule for rule, where in ran.items() if where == {"gpu"}} == with_gpu
    assert {rule for rule, where in ran.items() if where == {"cpu"}} == set(ran) - with_gpu
    assert {"prepare", "train_classifier", "plot_scores", "costs"} <= set(ran) - with_gpu


def test_fetching_tables_and_grids_ran_on_the_login_node(study):
    assert not {"fetch", "collect", "thin", "sample_grid"} & set(partitions(study))
    assert list((study.folder / "resources" / "datasets").glob("digits-*.json"))
    assert (study.results / "report" / "evaluation_results.csv").exists()


def test_checkpoints_are_sampled_at_the_same_time_on_gpus_of_their_own(study):
    jobs = drawings(study)
    assert len(jobs) == 7
    places = {f"{node} {gpu}" for node in study.cluster.gpu_nodes for gpu in "01"}
    where = [f"{job['node']} {','.join(job['gpus'])}" for job in jobs]
    assert set(where) <= places
    side_by_side = [
        (where[first], where[second])
        for first, second in combinations(range(len(jobs)), 2)
        if max(between(jobs[first])[0], between(jobs[second])[0])
        < min(between(jobs[first])[1], between(jobs[second])[1])
    ]
    assert side_by_side
    assert all(first != second for first, second in side_by_side)
    used_together = {place.split()[0] for pair in side_by_side for place in pair}
    assert used_together == set(study.cluster.gpu_nodes)


def test_sampling_of_a_jobs_checkpoints_runs_while_the_next_job_trains(study):
    trained = [
        datetime.fromisoformat(event["time"]) for event in study.events() if event["step"] > 320
    ]
    sampled = [between(job) for job in drawings(study) if job["step"] <= 320]
    assert len(sampled) == 4
    assert any(began < max(trained) and min(trained) < ended for began, ended in sampled)


def test_the_nodes_had_no_network(study):
    port = str(study.cluster.controller_port)
    connect = [sys.executable, "-c", CONNECT, port]
    assert subprocess.run(connect, check=False).returncode == 0
    with pytest.raises(subprocess.CalledProcessError) as caught:
        study.cluster.run("srun", "--partition=gpu", *connect)
    assert "Network is unreachable" in caught.value.stderr


def test_the_report_shows_the_run(study):
    done = study.program("report.py", "--configfile", "config.yaml")
    assert done.returncode == 0, done.stderr
    page = Path(study.folder / "results" / "report.html").read_text()
    assert "FID_vs_TrainingSteps.png" in page
