"""Speeds of trainings, from their progress logs."""

import statistics
from dataclasses import dataclass
from typing import Any

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.training import TrainRun
from ddpm_bench.planning.object_cache import cached
from ddpm_bench.planning.same_work import SameWork
from ddpm_bench.records.layout import progress_log
from ddpm_bench.records.progress_log import BEGINS, read_events

NEWEST_EVENTS = 200  # reports of speed that count, one for each ten steps
# Keys of train.run that change the memory or the time of a step.
RUN_KEYS = ("gpus", "nodes", "cpus", "micro_batch_size", "activation_checkpointing", "compile")


@dataclass(frozen=True)
class AttemptSpeeds:
    """The speeds of one attempt of a training."""

    run: dict[str, Any] | None  # keys of train.run without defaults; None in older logs
    images_per_second: list[float]  # without the first report, which includes compilation


class TrainingSpeeds:
    """Speeds of the trainings under the results of a config."""

    def __init__(self, config: Config, same_work: SameWork) -> None:
        self.config, self.same_work = config, same_work

    @cached
    def seconds_per_step(self, experiment: str) -> float | None:
        """Return the median time of a training's newest steps, in seconds.

        Without any, those of an experiment with the same work and run keys; None without such.
        """
        batch_size = self.config.trainings[experiment].train.batch_size
        for other in self.same_work.experiments(experiment):
            speeds = self._speeds(other, experiment)
            if speeds:
                return batch_size / statistics.median(speeds)
        return None

    def ran_alike(self, other: str, experiment: str) -> bool:
        """Return True if a training last ran as another experiment's would now."""
        attempts = self._attempts(other)
        run = attempts[-1].run if attempts else None
        return run is None or _chosen(run) == self._chosen(experiment)

    def _speeds(self, other: str, experiment: str) -> list[float]:
        """Return the images per second of a training when it ran as another's would now."""
        chosen = self._chosen(experiment)
        speeds = [
            speed
            for attempt in self._attempts(other)
            if attempt.run is None or _chosen(attempt.run) == chosen
            for speed in attempt.images_per_second
            if speed > 0
        ]
        return speeds[-NEWEST_EVENTS:]

    @cached
    def _attempts(self, experiment: str) -> list[AttemptSpeeds]:
        current = self.same_work.current(experiment)
        if current is None:
            return []
        attempts: list[tuple[dict[str, Any] | None, list[float]]] = []
        path = progress_log(self.config.results_dir, experiment, current.fingerprint)
        for event in read_events(path):
            if event["event"] in BEGINS:
                attempts.append((event.get("run"), []))
            elif event["event"] == "trained" and attempts:
                attempts[-1][1].append(event["images_per_second"])
        return [AttemptSpeeds(run, speeds[1:]) for run, speeds in attempts]

    def _chosen(self, experiment: str) -> dict[str, Any]:
        run = self.config.trainings[experiment].train.run
        return _chosen(run.model_dump(mode="json", exclude_defaults=True))


def _chosen(run: dict[str, Any]) -> dict[str, Any]:
    """Return the RUN_KEYS of a `run` block, with defaults."""
    defaults = {name: field.default for name, field in TrainRun.model_fields.items()}
    return {key: run.get(key, defaults.get(key)) for key in RUN_KEYS}
