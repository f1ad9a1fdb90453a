"""Which experiments are members of sweeps. Imported at DAG time."""

from ddpm_bench.config.experiment import Config


def members(config: Config, sweep: str) -> list[str]:
    """The experiments that a sweep has become."""
    return list(config.sweeps[sweep].members)


def sweep_of(config: Config, experiment: str) -> str | None:
    """The sweep that an experiment is a member of; None for an experiment of its own."""
    sweeps = config.sweeps.items()
    return next((name for name, swept in sweeps if experiment in swept.members), None)


def experiments_of_their_own(config: Config) -> list[str]:
    """The experiments that are no members of a sweep."""
    taken = {member for swept in config.sweeps.values() for member in swept.members}
    return [name for name in config.experiments if name not in taken]
