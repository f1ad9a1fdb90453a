"""Experiments that do the same work, so that measurements of one hold for the other.

Work is the network, its latents, the batch size, the precision, and the size and channels of the
images. It must be the same in the config and in the files on disk, which may be older.
"""

from typing import Any

from pydantic import ValidationError

from ddpm_bench.config.experiment import Config
from ddpm_bench.config.training import TrainStage
from ddpm_bench.planning.fetched_files import fetched_file
from ddpm_bench.planning.object_cache import cached
from ddpm_bench.planning.stages import train_stage
from ddpm_bench.records import layout
from ddpm_bench.records.datasets import DatasetSummary, FetchedFiles
from ddpm_bench.records.manifests import CurrentTraining

Work = tuple[Any, ...]


class SameWork:
    """Trainings and datasets under the results of a config, compared with the config's keys."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached
    def experiments(self, experiment: str) -> list[str]:
        """Return the experiments whose files are of an experiment's work: itself first."""
        work = self._work(experiment)
        others = [name for name in self.config.trainings if name != experiment]
        return [
            name
            for name in (experiment, *others)
            if self._work(name) == work and self._trained_work(name) == work
        ]

    @cached
    def current(self, experiment: str) -> CurrentTraining | None:
        """Return the record of an experiment's training on disk."""
        path = layout.current_training(self.config.results_dir, experiment)
        return CurrentTraining.read_if_there(path)

    def is_prepared(self, dataset: str) -> bool:
        """Return True if a dataset is prepared with the size and channels of the config."""
        summary = self._summary(dataset)
        return summary is not None and self._size(dataset) == (summary.image_size, summary.channels)

    @cached
    def images(self, dataset: str) -> int:
        """Return the number of images in all splits: of prepared, or else of fetched files.

        0 before a dataset is fetched, when no job that needs its images can start.
        """
        summary = self._summary(dataset)
        if summary is not None:
            return summary.images
        fetched = FetchedFiles.read_if_there(fetched_file(self.config, dataset))
        return 0 if fetched is None else fetched.files

    @cached
    def _summary(self, dataset: str) -> DatasetSummary | None:
        path = layout.dataset_summary(self.config.results_dir, dataset)
        return DatasetSummary.read_if_there(path)

    def _size(self, dataset: str) -> tuple[int, int]:
        keys = self.config.datasets[dataset]
        return keys.image_size, keys.channels

    @cached
    def _work(self, experiment: str) -> Work:
        stage = TrainStage.model_validate_json(train_stage(self.config, experiment))
        return self._described(stage, self.config.trainings[experiment].dataset)

    @cached
    def _trained_work(self, experiment: str) -> Work | None:
        """Return the work of the files on disk; None if there are none, or unreadable ones."""
        dataset = self.config.trainings[experiment].dataset
        current = self.current(experiment)
        if current is None or not self.is_prepared(dataset):
            return None
        try:
            stage = TrainStage.model_validate(current.keys)
        except ValidationError:
            return None
        return self._described(stage, dataset)

    def _described(self, stage: TrainStage, dataset: str) -> Work:
        train = stage.train
        size = self._size(dataset)
        return stage.model, stage.latents, train.batch_size, train.precision, size
