"""Time that each job asks for, from earlier jobs; without any, the longest that the site takes."""

from ddpm_bench.config.benchmark import CellRun
from ddpm_bench.planning.estimates import Estimates
from ddpm_bench.planning.finished_jobs import TimeAndMemory
from ddpm_bench.planning.request_rounding import rounded_minutes

# Nodes of a cluster differ, file systems are slow at times, and jobs share a node.
TIME_MARGIN = 1.5
# SLURM signals a training two minutes before its end (profiles/slurm), or half a minute earlier.
SHORTEST_MINUTES = 10
# Importing torch took up to 15 s on a busy machine, torch.compile 75 s.
START_SECONDS = 90
FIGURES_SECONDS = 60
# Two snakemakes, and the two minutes that a cell gives srun (cell_processes.py) beyond its time.
CELL_START_SECONDS = 180


class TimeEstimates(Estimates):
    """Time of the jobs of a config, in minutes; None where the site has no longest job.

    attempt: 1 for a job's first start; each attempt asks for more than the one before.
    """

    def training_minutes(self, experiment: str, steps: int, attempt: int = 1) -> int | None:
        """Return the time of a job that trains so many steps, imports torch and compiles."""
        seconds = self.measured.seconds_per_step(experiment)
        work = None if seconds is None else START_SECONDS + steps * seconds
        return self._minutes(work, attempt)

    def sampling_minutes(
        self, experiment: str, samples: str, images: int, attempt: int = 1
    ) -> int | None:
        """Return the time of drawing so many images of one checkpoint."""
        seconds = self.measured.seconds_per_image(experiment, samples)
        work = None if seconds is None else START_SECONDS + images * seconds
        run = self.config.experiments[experiment].samples[samples].run
        return self._minutes(work, attempt, run.checkpoints_per_job)

    def scoring_minutes(
        self, experiment: str, score: str, samples: str, attempt: int = 1
    ) -> int | None:
        """Return the time of scoring a set of one checkpoint."""
        jobs = self.measured.scoring_jobs(experiment, score, samples)
        run = self.config.trainings[experiment].scores[score].run
        return self._minutes(_longest(jobs), attempt, run.checkpoints_per_job)

    def minutes_as(self, rule: str, *names: str, attempt: int = 1) -> int | None:
        """Return the time of a rule's job by its longest earlier job of an experiment.

        names: the experiment, and those after it in the names of the rule's jobs.
        """
        return self._minutes(_longest(self.measured.jobs(rule, *names)), attempt)

    def dataset_minutes_as(self, rule: str, *names: str, attempt: int = 1) -> int | None:
        """Return the time of a rule's job by its longest earlier job of a dataset.

        names: the dataset, and those after it in the names of the rule's jobs.
        """
        return self._minutes(_longest(self.measured.dataset_jobs(rule, *names)), attempt)

    def small_minutes(self, attempt: int = 1) -> int | None:
        """Return the time of a job that draws figures."""
        return self._minutes(FIGURES_SECONDS, attempt)

    def cell_minutes(self, attempt: int = 1) -> int | None:
        """Return the time of a cell of the benchmark: its own limit, and that of its start."""
        assert self.config.benchmark is not None
        if self.longest is None:
            return None
        minutes = self.config.benchmark.run.minutes_per_cell + CELL_START_SECONDS / 60
        return min(self.longest, rounded_minutes(minutes) * attempt)

    def cell_run(self) -> CellRun:
        """Return the settings of running cells, within the longest job that the site takes.

        A cell then ends before SLURM kills it, and has a row.
        """
        assert self.config.benchmark is not None
        run = self.config.benchmark.run
        if self.longest is None:
            return run
        most = max(1.0, self.longest - CELL_START_SECONDS / 60)
        return run.model_copy(update={"minutes_per_cell": min(run.minutes_per_cell, most)})

    def _minutes(self, seconds: float | None, attempt: int, members: int = 1) -> int | None:
        """Return the time to ask for, of an expected time in seconds, None if unknown.

        members: checkpoints in the cluster job. Snakemake adds their times up, and the sum may not
        exceed the longest job.
        """
        if self.longest is None:
            return None
        most = max(1, self.longest // members)
        if seconds is None:
            return most
        minutes = max(SHORTEST_MINUTES / members, seconds / 60 * TIME_MARGIN) * attempt
        return min(most, rounded_minutes(minutes))


def _longest(jobs: list[TimeAndMemory]) -> float | None:
    return max((seconds for seconds, _ in jobs), default=None)
