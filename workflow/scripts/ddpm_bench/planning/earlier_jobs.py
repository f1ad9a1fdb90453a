"""What earlier jobs needed: seconds per step and per image, seconds and memory of whole jobs.

Read from what jobs leave: progress.jsonl of trainings, the .json beside samples, and the
`benchmark:` files of the rules. A config that changes the work (another network, batch or image
size) is not told what the one before needed; experiments that do the same work inform each other.
Imported at DAG time: the standard library and the configuration only.
"""

import functools
import json
import os
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.training import TrainRun, TrainStage
from ddpm_bench.planning.stages import train_stage
from ddpm_bench.records.benchmark_files import seconds_and_memory
from ddpm_bench.records.layout import IMAGE_DIGITS, STEP_DIGITS
from ddpm_bench.records.progress_log import BEGINS, read_events

NEWEST = 16  # files of a kind that are read: enough for a median, few for thousands of jobs
EVENTS = 200  # of progress.jsonl: the newest, a row each ten steps
# As file names end: the steps and images of a job. Names of experiments hold dots and digits too.
STEPS_AND_IMAGES = (
    rf"\.\d{{{STEP_DIGITS}}}(-\d{{{STEP_DIGITS}}})?|\.\d{{{IMAGE_DIGITS}}}-\d{{{IMAGE_DIGITS}}}"
)
# Of train.run: other values take other memory or time for the same step.
AFFECTING = ("gpus", "nodes", "cpus", "micro_batch_size", "activation_checkpointing", "compile")


Found = TypeVar("Found")


def remembered(method: Callable[..., Found]) -> Callable[..., Found]:
    """What a method gave is kept by its object and goes with it: a run of days makes many."""

    @functools.wraps(method)
    def look_up(self: "EarlierJobs", *names: str) -> Found:
        key = (method.__name__, *names)
        if key not in self.found:
            self.found[key] = method(self, *names)
        return self.found[key]

    return look_up


class EarlierJobs:
    """What was measured under the results of a config; files are read once, when asked for."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.results = Path(config.results_dir)
        self.found: dict[tuple[str, ...], Any] = {}

    @remembered
    def seconds_per_step(self, experiment: str) -> float | None:
        """Of the newest steps of its training, or else of one that does the same work the same way;
        None where there is none."""
        batch_size = self.config.trainings[experiment].train.batch_size
        for other in self._same_work(experiment):
            speeds = self._speeds(other, experiment)
            if speeds:
                return batch_size / statistics.median(speeds)
        return None

    @remembered
    def seconds_per_image(self, experiment: str, samples: str) -> float | None:
        """Of the newest files of a set, or of an equally drawn one of an experiment that does the
        same work; None where there is none."""
        for other in self._same_work(experiment):
            for name in self.config.trainings[other].samples:
                timings = self._timings(other, name, self._drawing(experiment, samples))
                if timings:
                    return statistics.median(
                        timing["seconds"] / timing["images"] for timing in timings
                    )
        return None

    @remembered
    def jobs(self, rule: str, experiment: str, *names: str) -> list[tuple[float, float]]:
        """(seconds, peak memory in MB of 10^6 bytes) of finished jobs of a rule, the newest; of
        other experiments with the same work and names where the experiment has none."""
        for other in self._same_work(experiment):
            if rule == "train" and not self._ran_alike(other, experiment):
                continue
            if found := self._benchmarks(rule, ".".join((other, *names))):
                return found
        return []

    @remembered
    def sampling_jobs(self, experiment: str, samples: str) -> list[tuple[float, float]]:
        """The same of a set of samples that was drawn as it would be now."""
        drawing = self._drawing(experiment, samples)
        for other in self._same_work(experiment):
            name = f"{other}.{samples}"
            if self._timings(other, samples, drawing) and (
                found := self._benchmarks("sample", name)
            ):
                return found
        return []

    @remembered
    def scoring_jobs(self, experiment: str, score: str, samples: str) -> list[tuple[float, float]]:
        """The same of a score of as many images in the same feature space."""
        keys = self.config.trainings[experiment]
        asked = keys.samples[samples].images, keys.scores[score].feature_space
        for other in self._same_work(experiment):
            folder = self.results / other / "scores" / score / samples
            newest = max(_names(folder, r"step-\d+\.json"), default="none")
            record = read_if_there(folder / newest)
            if (record.get("images_generated"), record.get("feature_space")) == asked and (
                found := self._benchmarks("score", f"{other}.{score}.{samples}")
            ):
                return found
        return []

    @remembered
    def dataset_jobs(self, rule: str, dataset: str, *names: str) -> list[tuple[float, float]]:
        """The same of a rule that works on a dataset as it is now."""
        if self._prepared(dataset) != self._asked(dataset):
            return []
        return self._benchmarks(rule, ".".join((dataset, *names)))

    # Which measurements count

    @remembered
    def _same_work(self, experiment: str) -> list[str]:
        """Experiments, this one first, whose measurements are of the work that it has now."""
        work = self._work(experiment)
        others = [name for name in self.config.trainings if name != experiment]
        return [
            name
            for name in (experiment, *others)
            if self._work(name) == work and self._trained_work(name) == work
        ]

    @remembered
    def _work(self, experiment: str) -> tuple[Any, ...]:
        return self._described(
            TrainStage.model_validate_json(train_stage(self.config, experiment)),
            self.config.trainings[experiment].dataset,
        )

    @remembered
    def _trained_work(self, experiment: str) -> tuple[Any, ...] | None:
        """The work that the files on disk are of; None where nothing readable is trained."""
        dataset = self.config.trainings[experiment].dataset
        if self._prepared(dataset) != self._asked(dataset):
            return None
        try:
            stage = TrainStage.model_validate(self._marker(experiment)["keys"])
        except (ValidationError, KeyError):
            return None
        return self._described(stage, dataset)

    def _described(self, stage: TrainStage, dataset: str) -> tuple[Any, ...]:
        train = stage.train
        return (
            stage.model,
            stage.latents,
            train.batch_size,
            train.precision,
            self._asked(dataset),
        )

    def _asked(self, dataset: str) -> tuple[int, int]:
        keys = self.config.datasets[dataset]
        return keys.image_size, keys.channels

    @remembered
    def images(self, dataset: str) -> int:
        """How many a dataset has, all splits together: as prepared, or else as published, or as
        many as were fetched; 0 before that, when nothing that needs them can start."""
        summary = self._summary(dataset)
        if "train" in summary:
            return summary["train"] + summary.get("eval", 0)
        marker = Path(self.config.resources_dir, "datasets", f"{dataset}.json")
        return int(read_if_there(marker).get("files", 0))

    @remembered
    def _summary(self, dataset: str) -> dict[str, Any]:
        return read_if_there(self.results / "datasets" / dataset / "summary.json")

    def _prepared(self, dataset: str) -> tuple[int, int] | None:
        found = self._summary(dataset)
        return (found["image_size"], found["channels"]) if "image_size" in found else None

    @remembered
    def _marker(self, experiment: str) -> dict[str, Any]:
        return read_if_there(self.results / experiment / "training" / "current.json")

    # Trainings

    @remembered
    def _stretches(self, experiment: str) -> list[tuple[dict[str, Any] | None, list[float]]]:
        """Of each start of a training: how it ran, None where it is not said, and its images per
        second, without the first that holds compilation."""
        name = self._marker(experiment).get("fingerprint", "")
        path = self.results / experiment / "training" / name / "progress.jsonl"
        stretches: list[tuple[dict[str, Any] | None, list[float]]] = []
        for event in read_events(path):
            if event["event"] in BEGINS:
                stretches.append((event.get("run"), []))
            elif event["event"] == "trained" and stretches:
                stretches[-1][1].append(event["images_per_second"])
        return [(run, speeds[1:]) for run, speeds in stretches]

    def _speeds(self, of: str, run_of: str) -> list[float]:
        """Images per second of a training where it ran as another would now."""
        asked = self._affecting(run_of)
        speeds = [
            speed
            for run, found in self._stretches(of)
            if run is None or _affecting(run) == asked
            for speed in found
            if speed > 0
        ]
        return speeds[-EVENTS:]

    def _ran_alike(self, of: str, run_of: str) -> bool:
        """Whether a training last ran as another would now."""
        stretches = self._stretches(of)
        run = stretches[-1][0] if stretches else None
        return run is None or _affecting(run) == self._affecting(run_of)

    def _affecting(self, experiment: str) -> dict[str, Any]:
        run = self.config.trainings[experiment].train.run
        return _affecting(run.model_dump(mode="json", exclude_defaults=True))

    # Sets of samples and jobs

    def _drawing(self, experiment: str, samples: str) -> tuple[Any, ...]:
        """What the .json beside samples tells of how they were drawn, of a set as it is now."""
        keys = self.config.experiments[experiment].samples[samples]
        steps = keys.solver_steps()
        # In those of heun two evaluations each, but in the last.
        return keys.batch_size, keys.precision, 2 * steps - 1 if keys.scheduler == "heun" else steps

    def _timings(
        self, experiment: str, samples: str, drawing: tuple[Any, ...]
    ) -> list[dict[str, Any]]:
        found = []
        for path in self._newest_sidecars(experiment, samples):
            timing = read_if_there(path)
            told = ("batch_size", "precision", "network_evaluations")
            if timing.get("images") and tuple(timing.get(key) for key in told) == drawing:
                found.append(timing)
        return found

    @remembered
    def _newest_sidecars(self, experiment: str, samples: str) -> list[Path]:
        folder = self.results / experiment / "samples" / samples
        found: list[Path] = []
        for step in sorted(_names(folder, r"step-\d+"), reverse=True):
            found += [folder / step / name for name in _names(folder / step, r"images-.*\.json")]
            if len(found) >= NEWEST:
                break
        return found[:NEWEST]

    def _benchmarks(self, rule: str, name: str) -> list[tuple[float, float]]:
        """Of the benchmark files <name>.<numbers>.benchmark.tsv of a rule."""
        names = sorted(self._logs(rule).get(name, ()))[-NEWEST:]
        rows = [seconds_and_memory(self.results / "logs" / rule / file) for file in names]
        return [row for row in rows if row is not None]

    @remembered
    def _logs(self, rule: str) -> dict[str, list[str]]:
        """Benchmark files of a rule by what their names have before the steps and images."""
        found: dict[str, list[str]] = {}
        for file in _names(self.results / "logs" / rule, r".*\.benchmark\.tsv"):
            name = re.sub(rf"({STEPS_AND_IMAGES})*\.benchmark\.tsv$", "", file)
            found.setdefault(name, []).append(file)
        return found


def _affecting(run: dict[str, Any]) -> dict[str, Any]:
    defaults = {name: field.default for name, field in TrainRun.model_fields.items()}
    return {key: run.get(key, defaults.get(key)) for key in AFFECTING}


def _names(folder: Path, pattern: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if re.fullmatch(pattern, entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_if_there(path: Path) -> dict[str, Any]:
    """A JSON file; empty where there is none that is whole: it may be written just now."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
