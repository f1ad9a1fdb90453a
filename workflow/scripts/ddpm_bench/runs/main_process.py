"""Record of the running main process of Snakemake, by which `make status` and `make stop` find it.

    results/logs/main/<host>-<process>.json     deleted when the process ends; SIGKILL leaves it

Imports nothing that a start of snakemake would wait for.
"""

import atexit
import os
import shlex
import socket
import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ddpm_bench.files import read_json, write_json
from ddpm_bench.machine.host import boot_id, is_this_machine, start_ticks

# The command of a user of make, who does not type the one of snakemake: the Makefile sets it.
COMMAND = "DDPM_BENCH_COMMAND"
# Options of snakemake under which no job runs.
WITHOUT_JOBS = (
    *("dryrun", "touch", "unlock", "lint", "list_rules", "list_target_rules", "print_compilation"),
    *("summary", "detailed_summary", "dag", "rulegraph", "filegraph", "d3dag", "archive"),
    *("list_changes", "list_input_changes", "list_params_changes", "list_untracked"),
    *("delete_all_output", "delete_temp_output", "cleanup_metadata", "cleanup_shadow"),
    *("conda_cleanup_envs", "conda_create_envs_only", "list_conda_envs"),
    *("container_cleanup_images", "containerize", "generate_unit_tests", "deploy_sources"),
)


@dataclass(frozen=True)
class MainProcess:
    """A main process of Snakemake, as recorded at its start."""

    host: str
    boot_id: str | None
    process: int
    started: int | None  # clock ticks since the boot; a later process of the same number differs
    since: str  # ISO 8601
    folder: str  # its working folder
    command: str  # as it was typed
    experiments: tuple[str, ...]  # those that it works on

    def is_of_this_machine(self) -> bool:
        """Return True if the process was started since the last boot of this machine."""
        return is_this_machine(self.boot_id, self.host)

    def lives(self) -> bool:
        """Return True if the process exists. Of use on its own machine only."""
        return self.started is not None and start_ticks(self.process) == self.started

    def remedy(self, stop: str) -> str:
        """Return what to do after it was killed; stop: the command that ends its jobs."""
        return (
            f"The snakemake that was here before (process {self.process}, since {self.since}) was "
            f"killed, and its jobs may still run. To end them and unlock this folder, first: {stop}"
        )


def typed_command() -> str:
    """Return the command by which the user started this process."""
    return os.environ.get(COMMAND) or shlex.join(["snakemake", *sys.argv[1:]])


def only_reports(options: Namespace) -> bool:
    """Return True if a snakemake with these options runs no job, but reports, lists, unlocks or
    cleans up."""
    reports = options.report is not None and not options.report_after_run
    return reports or any(getattr(options, name, None) for name in WITHOUT_JOBS)


def record(results: Path, experiments: Iterable[str]) -> None:
    """Record this process as the main snakemake of these experiments, until it ends."""
    own = MainProcess(
        host=socket.gethostname(),
        boot_id=boot_id(),
        process=os.getpid(),
        started=start_ticks(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        folder=str(Path.cwd()),
        command=typed_command(),
        experiments=tuple(experiments),
    )
    path = _folder(results) / f"{own.host}-{own.process}.json"
    for other, main in _records(results):
        if main.is_of_this_machine() and not main.lives():
            other.unlink(missing_ok=True)
    write_json(path, asdict(own))
    atexit.register(_remove, path, os.getpid())


def main_processes(results: Path, experiments: Iterable[str] | None = None) -> list[MainProcess]:
    """Return the main processes that work on any of these experiments, or on any at all.

    Those of this machine run; those of other machines have not recorded their end.
    """
    return [
        main
        for main in all_main_processes(results, experiments)
        if main.lives() or not main.is_of_this_machine()
    ]


def all_main_processes(
    results: Path, experiments: Iterable[str] | None = None
) -> list[MainProcess]:
    """Return `main_processes`, and those that died here without recording an end, by start."""
    found = [main for _, main in _records(results)]
    if experiments is not None:
        wanted = set(experiments)
        found = [main for main in found if wanted & set(main.experiments)]
    return sorted(found, key=lambda main: main.since)


def killed(results: Path, experiments: Iterable[str]) -> MainProcess | None:
    """Return the latest main process of this folder that was killed on this machine, or None.

    Its folder is still locked, and its jobs may still run.
    """
    here = Path.cwd()
    if not is_locked(here):
        return None
    found = [main for main in all_main_processes(results, experiments) if Path(main.folder) == here]
    dead = [one for one in found if one.is_of_this_machine() and not one.lives()]
    return dead[-1] if dead and len(dead) == len(found) else None


def is_locked(folder: Path) -> bool:
    """Return True if a snakemake has locked its working folder, and has not unlocked it."""
    return any((folder / ".snakemake" / "locks").glob("*.lock"))


def forget(results: Path, main: MainProcess) -> None:
    """Remove the record of a main process that has ended."""
    (_folder(results) / f"{main.host}-{main.process}.json").unlink(missing_ok=True)


def _records(results: Path) -> list[tuple[Path, MainProcess]]:
    found = []
    for path in sorted(_folder(results).glob("*.json")):
        try:
            record = read_json(path)
            experiments = tuple(record["experiments"])
            found.append((path, MainProcess(**{**record, "experiments": experiments})))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # it was deleted meanwhile, or another version wrote it
    return found


def _remove(path: Path, process: int) -> None:
    if os.getpid() == process:  # a fork of it runs this too
        path.unlink(missing_ok=True)


def _folder(results: Path) -> Path:
    return results / "logs" / "main"
