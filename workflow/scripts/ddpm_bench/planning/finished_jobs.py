"""Time and memory of finished jobs, from Snakemake's benchmark files."""

import os
import re
from pathlib import Path

from ddpm_bench.planning.object_cache import cached
from ddpm_bench.records.benchmark_files import seconds_and_memory
from ddpm_bench.records.rule_files import job_benchmark, names_of_measured_job

NEWEST_FILES = 16  # files of a kind that are read: enough for a median, few among thousands
ANY_BENCHMARK = re.compile(r".*\.benchmark\.tsv")

TimeAndMemory = tuple[float, float]  # seconds, and peak memory in MB of 10^6 bytes


class FinishedJobs:
    """Benchmark files in the logs of some results; folders are listed once."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def of(self, rule: str, *names: str) -> list[TimeAndMemory]:
        """Return time and memory of a rule's newest jobs with these names in their wildcards.

        The order of the names is that in the job's name; steps and images are not given.
        """
        files = sorted(self._files(rule).get(".".join(names), ()))[-NEWEST_FILES:]
        folder = job_benchmark(self.results, rule, "x").parent
        rows = [seconds_and_memory(folder / file) for file in files]
        return [row for row in rows if row is not None]

    @cached
    def _files(self, rule: str) -> dict[str, list[str]]:
        """Return the names of a rule's benchmark files by the names of experiments in them."""
        found: dict[str, list[str]] = {}
        for file in file_names(job_benchmark(self.results, rule, "x").parent, ANY_BENCHMARK):
            found.setdefault(names_of_measured_job(file), []).append(file)
        return found


def file_names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the names in a folder that match a pattern wholly; [] if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if pattern.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
