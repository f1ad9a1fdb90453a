"""Groups of checkpoints that share a cluster job: `run.checkpoints_per_job`.

Each job of a cluster costs a wait in the queue and the start of two snakemakes.
"""

from collections.abc import MutableMapping

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.jobs import checkpoint_steps, training_jobs
from ddpm_bench.records.layout import padded_step

# Name of all groups in profiles/slurm. No file links a group's members, so Snakemake joins as many
# of them in one job as `group-components` allows for this name.
ALL_GROUPS = "checkpoints"


class SharedJobs:
    """Names of the groups of a config's checkpoints.

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
        """Return the name of a checkpoint's group for sampling, or for scoring with `score`.

        None if each checkpoint has its own job. All checkpoints of a group are made by one training
        job, so that none waits for a later training job.
        """
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
