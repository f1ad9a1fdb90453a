"""What a run will do is Snakemake's word; how long it takes is what earlier jobs took."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from measured_results import write_benchmark, write_score, write_timing, write_training
from places import REPOSITORY

from ddpm_bench.config.loading import check_config
from ddpm_bench.planning import held_gpus
from ddpm_bench.planning.benchmark_cells import cells_by_name
from ddpm_bench.planning.forecast import benchmark_report, forecast, pending, report

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
HEADER = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan"


@pytest.fixture
def config(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    raw["experiments"]["digits"]["train"]["run"]["gpus"] = 2
    return check_config(raw)


def summary(config, *files):
    """What `snakemake --summary` prints: (rule, file, whether it would be made)."""
    rows = (
        f"{config.results_dir}/{file}\t-\t{rule}\t-\tmissing\t"
        + ("update pending" if makes else "no update")
        for rule, file, makes in files
    )
    return [HEADER, *rows]


RUN = (
    ("train", "digits/training/job-00000000-00000600.json", False),
    ("train", "digits/training/job-00000600-00001200.json", True),
    ("sample", "digits/samples/dpm20/step-00000900/images-000000-000511.npy", True),
    ("sample", "digits/samples/dpm20/step-00000900/images-000000-000511.json", True),
    ("sample", "digits/samples/dpm20/step-00001200/images-000000-000511.npy", True),
    ("score", "digits/scores/classifier/dpm20/step-00001200.json", True),
    ("score", "digits/scores/classifier/dpm20/step-00001200.nearest.npz", True),
    ("plot_loss", "digits/report/loss.png", True),
)


def test_jobs_are_counted_once_and_only_those_that_would_run(config):
    found = pending(config, summary(config, *RUN))
    works = forecast(config, found)
    assert [(work.rule, work.what, work.jobs) for work in works] == [
        ("train", "steps 600 to 1,200", 1),
        ("sample", "dpm20: 1,024 images", 2),
        ("score", "dpm20 by classifier", 1),
    ]
    assert dict(found.others) == {"plot_loss": 1}


def test_hours_are_those_of_measured_seconds(config):
    write_training(config, "digits", [32.0] * 9)  # 2 s a step of 64 images
    write_timing(config, "digits", "dpm20", 300)  # 0.5 s an image
    write_score(config, "digits", "classifier", "dpm20", 300)
    write_benchmark(config, "score", "digits.classifier.dpm20.00000300", 90, 1000)
    train, sample, score = forecast(config, pending(config, summary(config, *RUN)))
    assert (train.seconds, train.process_hours) == (1200, 2 * 1200 / 3600)
    assert (sample.seconds, score.seconds) == (512, 90)


@pytest.mark.parametrize(
    ("resources", "devices", "sbatch", "unit"),
    [
        ({"gpu": 2, "slurm_partition": "gpu"}, [], True, "GPU-hours"),
        ({"gpu": 2, "slurm_partition": "gpu"}, [], False, "GPU-hours"),  # results were copied
        ({"gpu": 0, "slurm_partition": "cpu"}, ["0"], True, "process-hours"),
        ({"gpu": 2}, ["0"], False, "GPU-hours"),
        ({"gpu": 2}, [], True, "process-hours"),  # on this machine, beside a SLURM
        ({}, [], True, "GPU-hours"),
        (None, [], True, "GPU-hours"),
        (None, ["0"], False, "GPU-hours"),
        (None, [], False, "process-hours"),
    ],
)
def test_hours_are_of_gpus_only_where_jobs_hold_some(
    config, monkeypatch, resources, devices, sbatch, unit
):
    monkeypatch.setattr(held_gpus, "present_devices", lambda: devices)
    monkeypatch.setattr(held_gpus.shutil, "which", lambda _: "/usr/bin/sbatch" if sbatch else None)
    if resources is not None:
        logs = Path(config.results_dir, "logs", "train")
        write_benchmark(config, "train", "digits.00000000-00000300", 90, 1000)
        (file,) = logs.iterdir()
        header, row = file.read_text().splitlines()
        file.write_text(f"{header}\tthreads\tresources\n{row}\t2\t{resources}\n")
    write_training(config, "digits", [32.0] * 9)
    found = pending(config, summary(config, *RUN))
    on_gpus = held_gpus.will_hold_gpus(Path(config.results_dir))
    head, train, *rest = report(forecast(config, found), found, on_gpus)
    assert head.endswith(unit)
    assert train.split()[-2:] == ["0.33", "0.67"]  # two processes
    assert any(
        f"with {'GPUs' if unit == 'GPU-hours' else 'cores'} for all" in line for line in rest
    )


def test_steps_that_are_saved_are_not_counted_again(config):
    write_training(config, "digits", [32.0] * 9, saved=1000)
    train, *_ = forecast(config, pending(config, summary(config, *RUN)))
    assert train.what == "steps 1,000 to 1,200"


def test_what_was_not_measured_says_so_and_what_to_do(config):
    found = pending(config, summary(config, *RUN))
    text = "\n".join(report(forecast(config, found), found, True))
    assert "?: no such job has been measured yet (train, sample, score)" in text
    assert "Start the run and ask again" in text
    write_training(config, "digits", [32.0] * 9)
    text = "\n".join(report(forecast(config, found), found, True))
    assert "over 0.67" in text  # GPU-hours of the training, and more
    assert "(sample, score)" in text


def test_a_finished_run_has_nothing_to_do(config):
    found = pending(config, summary(config, *((*row[:2], False) for row in RUN)))
    assert list(report(forecast(config, found), found, True)) == [
        "Nothing is to be done: every file is there and up to date."
    ]


def test_cells_of_the_benchmark_are_counted_beside_the_run(config):
    grid = {"models": {"r": {"name": "resnet18"}}, "batch_size": [8, 16], "processes": [1, 2]}
    raw = {**DEMO, "benchmark": {**grid, "run": {"minutes_per_cell": 2.5}}}
    config = check_config(raw)  # eight cells, and the baseline with a batch of 32
    assert len(cells_by_name(config)) == 9
    names = enumerate(cells_by_name(config))
    files = [("measure_cell", f"benchmark/cells/{name}.json", index > 2) for index, name in names]
    files.append(("collect_throughput", "benchmark/throughput.csv", True))
    found = pending(config, summary(config, *files))
    assert forecast(config, found) == [] and not found.others
    assert "Nothing" not in "".join(report([], found, True))
    (line,) = benchmark_report(config, found)
    assert line.startswith("benchmark: 6 of 9 cells are to be measured, each in at most 2.5 min")
    assert list(benchmark_report(check_config(DEMO), found)) == []
    found = pending(config, summary(config, *((*row[:2], False) for row in files[:-1]), files[-1]))
    assert "Nothing" not in "".join(report([], found, True))
    assert "tables and figures are to be made" in "".join(benchmark_report(config, found))


def test_the_program_asks_snakemake(tmp_path):
    program = REPOSITORY / "workflow" / "scripts" / "commands" / "plan.py"
    config_file = REPOSITORY / "config" / "config.yaml"
    done = subprocess.run(
        [sys.executable, str(program), "--configfile", str(config_file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["digits", "train", "steps", "0", "to", "1,200", "2", "?", "?", "?"] in rows
    assert "dpm20: 2,048 images" in done.stdout
    assert "fetch" in done.stdout
