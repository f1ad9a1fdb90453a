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

    None if the profile has none. Raises UserError for a computed one: it is needed before any job.
    """
    runtime = (defaults or {}).get("runtime")
    if runtime is None:
        return None
    try:
        return int(runtime.value)
    except (ValueError, TypeError):
        raise UserError(
            "default-resources of the profile: runtime is no number of minutes; give the site's "
            "wall time, such as 1440. Jobs ask for less where their time is known"
        ) from None
