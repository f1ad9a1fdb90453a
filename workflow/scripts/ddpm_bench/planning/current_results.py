"""Results on disk that are of the present config, by the records beside them."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning import stages
from ddpm_bench.planning.jobs import score_of_space
from ddpm_bench.planning.object_cache import cached
from ddpm_bench.records.job_record import JobRecords
from ddpm_bench.records.rule_files import job_of_file

Wildcards = Mapping[str, str]

# The settings of the rules from which samples and scores follow.
SETTINGS: Mapping[str, Callable[[Config, Wildcards], str]] = {
    "prepare": lambda config, names: stages.prepare_stage(config, names["dataset"]),
    "train_classifier": lambda config, names: stages.classifier_stage(config, names["dataset"]),
    "train": lambda config, names: stages.train_stage(config, names["experiment"]),
    "encode": lambda config, names: stages.encode_stage(config, names["autoencoder"]),
    "reconstruct": lambda config, names: stages.reconstruct_stage(config, names["autoencoder"]),
    "sample": lambda config, names: stages.sample_stage(
        config, names["experiment"], names["samples"], int(names["step"])
    ),
    "reference_features": lambda config, names: stages.feature_stage(
        score_of_space(config, names["dataset"], names["space"]), names["space"]
    ),
    "score": lambda config, names: stages.score_stage(
        config, names["experiment"], names["samples"], names["score"]
    ),
}


class CurrentResults:
    """The results of a config that a run would not make anew, as far as records say."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.records = JobRecords(config.results_dir, config.resources_dir)
        self._found: dict[str, bool] = {}  # by path

    def are_current(self, path: str) -> bool:
        """Return True unless a file, or one that it was made from, is of other settings.

        A file without a record is taken for current.
        """
        waiting, entered = [path], set()
        while waiting:  # no recursion: a training is a chain of up to thousands of jobs
            file = waiting[-1]
            inputs = self._inputs(file)
            unknown = [one for one in inputs or () if one not in self._found]
            if unknown and file not in entered:
                entered.add(file)
                waiting += unknown
                continue
            waiting.pop()
            self._found[file] = inputs is not None and all(
                self._found.get(one, True) for one in inputs
            )
        return self._found[path]

    @cached
    def _inputs(self, path: str) -> list[str] | None:
        """Return the files that a file was made from; None if it is of other settings than now, or
        one of them was made anew since."""
        record = self.records.read(path)
        if record is None:
            return []
        folder, _, name = self.records.name(path).partition("/")
        job = job_of_file(name)
        known = job is not None and folder == "results" and job.rule in SETTINGS
        if known and record.params.get("what") != self._settings(job.rule, job.wildcards):
            return None
        inputs = {self.records.path(name): found for name, found in record.inputs.items()}
        if any(self.records.differs(file, found) for file, found in inputs.items()):
            return None
        return list(inputs)

    def _settings(self, rule: str, wildcards: Wildcards) -> Any:
        """Return the present settings of a rule's job; None for one that is no longer asked for."""
        try:
            return json.loads(SETTINGS[rule](self.config, wildcards))
        except (KeyError, StopIteration):
            return None
