"""Base of the estimates of memory and time: the config, and measurements of earlier jobs."""

import time

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.earlier_jobs import EarlierJobs

READ_AGAIN_SECONDS = 60


class Estimates:
    """A config, and the measurements on disk under its results.

    longest: minutes of the longest job that the site takes; None on a machine without such a limit.
    """

    def __init__(self, config: Config, longest: int | None = None) -> None:
        self.config, self.longest = config, longest
        self._measured = EarlierJobs(config)
        self._read_at = time.monotonic()

    @property
    def measured(self) -> EarlierJobs:
        """Measurements, at most a minute old: a run takes days, and a failed job asks again."""
        if time.monotonic() - self._read_at > READ_AGAIN_SECONDS:
            self._measured, self._read_at = EarlierJobs(self.config), time.monotonic()
        return self._measured
