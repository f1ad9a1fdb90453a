"""Timings and benchmark files of earlier jobs, as the programs and Snakemake write them."""

import json
from pathlib import Path
from typing import Any

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.stages import train_stage
from ddpm_bench.records.datasets import DatasetSummary, SplitChecksums
from ddpm_bench.records.layout import current_training, dataset_summary, score_file
from ddpm_bench.records.manifests import CurrentTraining
from ddpm_bench.records.scores import ScoreRecord


def write_training(
    config: Config,
    experiment: str,
    images_per_second: list[float],
    saved: int | None = None,
) -> None:
    """A prepared dataset and a training with these speeds, a value for each ten steps."""
    keys = config.experiments[experiment]
    results = Path(config.results_dir)
    dataset = config.datasets[keys.dataset]
    DatasetSummary(
        files=1437,
        train=1437,
        eval=0,
        left_out={},
        distinct=1437,
        labels={},
        image_size=dataset.image_size,
        channels=dataset.channels,
        grayscale_to_rgb=0,
        rgb_to_grayscale=0,
        sha256=SplitChecksums(train="a" * 64, eval="b" * 64),
    ).write(dataset_summary(results, keys.dataset))
    training = results / experiment / "training"
    trained = json.loads(train_stage(config, experiment))
    current = CurrentTraining(fingerprint="a" * 16, keys=trained)
    current.write(current_training(results, experiment))
    run = keys.train.run.model_dump(mode="json", exclude_defaults=True)
    events: list[dict[str, Any]] = [{"event": "started", "step": 0, "run": run}]
    for number, speed in enumerate(images_per_second, start=1):
        events.append({"event": "trained", "step": number * 10, "images_per_second": speed})
    time = {"time": "2026-01-01T00:00:00.000+00:00"}
    lines = "".join(json.dumps(time | event) + "\n" for event in events)
    _write(training / ("a" * 16) / "progress.jsonl", lines)
    if saved is not None:
        (training / ("a" * 16) / "state" / f"step-{saved:08}").mkdir(parents=True)


def write_benchmark(config: Config, rule: str, name: str, seconds: float, mebibytes: float) -> None:
    """One of Snakemake's benchmark files."""
    text = (
        "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
        f"{seconds}\t0:00:09\t{mebibytes}\t9000.0\t400.0\t500.0\t0.00\t0.04\t90.0\t8.0\n"
    )
    _write(Path(config.results_dir, "logs", rule, f"{name}.benchmark.tsv"), text)


def write_score(config: Config, experiment: str, score: str, samples: str, step: int) -> None:
    """A score as the config asks for it, without values."""
    keys = config.experiments[experiment]
    made = {
        "images_generated": keys.samples[samples].images,
        "feature_space": keys.scores[score].feature_space,
        "reference": "train",
        "fid_reference": "train",
        "fid_backend": "torch-fidelity",
        "images_reference": 1437,
        "feature_dimensions": 64,
        "channels_repeated": False,
    }
    record = ScoreRecord.model_validate(dict.fromkeys(ScoreRecord.model_fields) | made)
    record.write(score_file(config.results_dir, experiment, score, samples, step))


def write_timing(config: Config, experiment: str, samples: str, step: int, **changed: Any) -> None:
    """The .json beside samples."""
    keys = config.experiments[experiment].samples[samples]
    timing = {
        "images": keys.images,
        "seconds": keys.images * 0.5,
        "batch_size": keys.batch_size,
        "precision": keys.precision,
        "device": "a GPU",
        "network_evaluations": keys.solver_steps(),
        **changed,
    }
    folder = Path(config.results_dir, experiment, "samples", samples, f"step-{step:08}")
    _write(folder / f"images-000000-{keys.images - 1:06}.json", json.dumps(timing))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
