"""Programs of the workflow that run at the same time on one GPU, to spare waiting for imports."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ddpm_bench.errors import UserError
from ddpm_bench.gpu_check.part import ProgramError
from ddpm_bench.machine.host import usable_cores
from ddpm_bench.machine.lock_files import PLACE

MOST_AT_ONCE = 4
WITHOUT_GPUS = {"CUDA_VISIBLE_DEVICES": ""}


def lease_of_its_own(folder: Path) -> dict[str, str]:
    """Return the environment of a program whose lease excludes no other program of this check.

    folder: one that no other program is given.
    """
    return {PLACE: str(folder / "locks")}


def outcomes(jobs: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Run functions that start programs, some at a time; return what each returned, by name.

    In the place of a result stands the ProgramError or UserError that a function has raised.
    """

    def outcome(job: Callable[[], Any]) -> Any:
        try:
            return job()
        except (ProgramError, UserError) as error:
            return error

    with ThreadPoolExecutor(min(MOST_AT_ONCE, usable_cores(MOST_AT_ONCE))) as pool:
        return dict(zip(jobs, pool.map(outcome, jobs.values()), strict=True))


def first_error(found: list[Any]) -> Exception | None:
    """Return the first error among the results of `outcomes`; None if there is none."""
    return next((one for one in found if isinstance(one, Exception)), None)
