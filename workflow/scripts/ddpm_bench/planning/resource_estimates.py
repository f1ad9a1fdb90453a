"""Memory and time that each job asks a scheduler for."""

from collections.abc import Mapping
from typing import Any

from ddpm_bench.errors import UserError
from ddpm_bench.planning.memory_estimates import MemoryEstimates
from ddpm_bench.planning.time_estimates import TimeEstimates


class ResourceEstimates(MemoryEstimates, TimeEstimates):
    """Megabytes (of 10^6 bytes) and minutes of the jobs of a config.

    longest: minutes of the longest job that the site takes, which is the most that jobs ask for,
    and what those ask for whose time is unknown. None on one machine: jobs ask for no time.
    """


def longest_job(defaults: Mapping[str, Any] | None) -> int | None:
    """Return the minutes of the longest job of a site: `runtime` of the default-resources.

    defaults: Snakemake's default resources, or None. Returns None without a runtime among them, for
    which Snakemake's `get` gives a Resource of None. Raises UserError for zero and for a computed
    runtime: it is needed before any job.
    """
    runtime = (defaults or {}).get("runtime")
    try:
        minutes = getattr(runtime, "value", runtime)
        if minutes is None:
            return None
        if int(minutes) > 0:
            return int(minutes)
    except (ValueError, TypeError):
        minutes = "computed"
    raise UserError(
        f"default-resources: runtime is {minutes}, no number of minutes; give the site's wall "
        "time, such as 1440 (jobs ask for less where their time is known), or leave runtime out "
        "where the site has no limit"
    )
