"""Which checkpoints share a cluster job: `run.checkpoints_per_job` of samples and scores.

Each job of a cluster costs a wait in the queue and the start of two snakemakes. Imported at DAG
time: the standard library and the configuration only.
"""

from collections.abc import MutableMapping

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.jobs import checkpoint_steps, training_jobs
from ddpm_bench.records.layout import padded_step

# What profiles/slurm calls all groups: no file links a group's members, and Snakemake joins those
# of a name only as far as `group-components` of this one says.
ALL_GROUPS = "checkpoints"


class SharedJobs:
    """Names the groups of a config's checkpoints.

    groups: Snakemake's, to which each name is added as one of ALL_GROUPS. module: the name that an
    outer workflow uses this one under, so that two modules share no group.
    """

    def __init__(
        self, config: Config, groups: MutableMapping[str, str], module: str | None = None
    ) -> None:
        self.config, self._groups = config, groups
        self._prefix = f"{module}." if module else ""

    def name(
        self, experiment: str, samples: str, step: int, score: str | None = None
    ) -> str | None:
        """What checkpoints have in common which one job draws from, or scores with `score`; None
        where each has a job of its own. One training job makes them, so that none waits for a
        later one's."""
        keys = self.config.trainings[experiment]
        run = keys.samples[samples].run if score is None else keys.scores[score].run
        if run.checkpoints_per_job == 1:
            return None
        jobs = training_jobs(self.config, experiment)
        first = next(first for first, last in jobs if first < step <= last)
        steps = checkpoint_steps(self.config, experiment, samples)
        number = sum(first < other < step for other in steps) // run.checkpoints_per_job
        rule = "sample" if score is None else f"score.{score}"
        name = f"{self._prefix}{rule}.{experiment}.{samples}.{padded_step(first)}.{number}"
        self._groups[name] = ALL_GROUPS
        return name
