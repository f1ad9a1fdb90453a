"""Time and memory of earlier jobs: seconds per step and image, seconds and memory of whole jobs.

They are read from progress logs of trainings, records beside samples, and benchmark files. Only
measurements of the work that the config has now count; experiments with the same work share them.
"""

import re
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.finished_jobs import FinishedJobs, TimeAndMemory, file_names
from ddpm_bench.planning.object_cache import cached
from ddpm_bench.planning.same_work import SameWork
from ddpm_bench.planning.sample_timings import SampleTimings
from ddpm_bench.planning.training_speeds import TrainingSpeeds
from ddpm_bench.records import layout
from ddpm_bench.records.scores import ScoreRecord

SCORE_NAME: re.Pattern[str] = layout.file_matcher(layout.SCORE)


class EarlierJobs:
    """Measurements under the results of a config; each file is read once, when it is needed."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._same_work = SameWork(config)
        self._speeds = TrainingSpeeds(config, self._same_work)
        self._timings = SampleTimings(config, self._same_work)
        self._finished = FinishedJobs(Path(config.results_dir))

    def seconds_per_step(self, experiment: str) -> float | None:
        """Return the time of a training step, in seconds; None if none was measured."""
        return self._speeds.seconds_per_step(experiment)

    def seconds_per_image(self, experiment: str, samples: str) -> float | None:
        """Return the time of drawing one image of a set, in seconds; None if none was measured."""
        return self._timings.seconds_per_image(experiment, samples)

    def images(self, dataset: str) -> int:
        """Return the number of images of a dataset in all splits; 0 before it is fetched."""
        return self._same_work.images(dataset)

    @cached
    def jobs(self, rule: str, experiment: str, *names: str) -> list[TimeAndMemory]:
        """Return time and memory of a rule's newest jobs of an experiment.

        Without any, of an experiment with the same work. names: those after the experiment in the
        names of the rule's jobs. Jobs of rule train count only if they ran as they would now.
        """
        for other in self._same_work.experiments(experiment):
            if rule == "train" and not self._speeds.ran_alike(other, experiment):
                continue
            if found := self._finished.of(rule, other, *names):
                return found
        return []

    @cached
    def sampling_jobs(self, experiment: str, samples: str) -> list[TimeAndMemory]:
        """Return time and memory of the newest jobs that drew a set as it would be drawn now."""
        for other in self._same_work.experiments(experiment):
            if self._timings.is_drawn_alike(other, experiment, samples) and (
                found := self._finished.of("sample", other, samples)
            ):
                return found
        return []

    @cached
    def scoring_jobs(self, experiment: str, score: str, samples: str) -> list[TimeAndMemory]:
        """Return time and memory of the newest jobs that scored as many images in this space."""
        keys = self.config.trainings[experiment]
        asked = keys.samples[samples].images, keys.scores[score].feature_space
        for other in self._same_work.experiments(experiment):
            record = self._newest_score(other, score, samples)
            if (
                record is not None
                and (record.images_generated, record.feature_space) == asked
                and (found := self._finished.of("score", other, score, samples))
            ):
                return found
        return []

    @cached
    def dataset_jobs(self, rule: str, dataset: str, *names: str) -> list[TimeAndMemory]:
        """Return time and memory of a rule's newest jobs of a dataset, if it is prepared as now."""
        if not self._same_work.is_prepared(dataset):
            return []
        return self._finished.of(rule, dataset, *names)

    def _newest_score(self, experiment: str, score: str, samples: str) -> ScoreRecord | None:
        path = layout.score_file(self.config.results_dir, experiment, score, samples, 0)
        newest = max(file_names(path.parent, SCORE_NAME), default=path.name)
        return ScoreRecord.read_if_there(path.with_name(newest))
