"""Stop of a workflow from which it can go on: trainings save, jobs leave the queue, no lock stays.

The order matters. A main snakemake that gets SIGTERM sends no more jobs, and waits for those of a
cluster; on SIGINT it would cancel them, unsaved. Then every training gets the warning of its wall
time, on which it saves and ends; all other jobs are cancelled. A training that SLURM has put back
into the queue meanwhile is cancelled there.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from ddpm_bench.cli import snakemake_command
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.loading import read_config
from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.planning.jobs import work_names
from ddpm_bench.runs import slurm_queue
from ddpm_bench.runs.deliberate_stop import saved_steps
from ddpm_bench.runs.job_failures import STOPPED, stopped_jobs
from ddpm_bench.runs.main_process import (
    COMMAND,
    MainProcess,
    all_main_processes,
    forget,
    is_locked,
    main_processes,
)
from ddpm_bench.runs.overview import current_trainer

POLL_SECONDS = 2.0
AGAIN_SECONDS = 30.0  # after which a job that is still there is cancelled once more
MAIN_SECONDS = 15.0  # that a main snakemake without jobs has to end
LEAVING = ("COMPLETING", "SIGNALING", "STAGE_OUT")


def stop(
    config_file: Path, folder: Path, wait_seconds: float, main_ended: bool = False
) -> Iterator[str]:
    """End the workflow of a config in a folder; yield a line for each thing that is done.

    wait_seconds: the time in which trainings save and jobs leave. main_ended: the user states that
    a main snakemake on another machine has ended. Raises UserError when the workflow cannot be
    ended from here, or has not ended in time.
    """
    config = read_config(config_file)
    results = Path(config.results_dir)
    records = all_main_processes(results, work_names(config))
    mains = main_processes(results, work_names(config))
    _refuse_others(mains, main_ended)
    here = [main for main in mains if main.is_of_this_machine()]
    deadline = time.monotonic() + wait_seconds
    below = [child for main in here for child in _children(main)]
    if not here and not _trainings_without_main(config) and not _active(config, folder):
        yield f"nothing of {config_file} runs here"
    for main in here:
        _signal(main.process, signal.SIGTERM)
        yield f"snakemake (process {main.process}) sends no more jobs"
    yield from _end_local(config, below, deadline)
    yield from _end_jobs(config, folder, deadline)
    for main in here:
        _end_main(main)
        yield f"snakemake (process {main.process}) has ended"
    for main in records:
        forget(results, main)
    yield from _unlock(config_file, results, folder)
    yield from saved_steps(config)
    yield f"to go on: {records[-1].command if records else _usual_command(config_file)}"


def _usual_command(config_file: Path) -> str:
    """Return the command that runs a config: with SLURM, whoever sent its jobs can do so again."""
    profile = "slurm" if slurm_queue.has_slurm() else None
    if COMMAND in os.environ:
        return f"make run CONFIG={config_file}{f' PROFILE={profile}' if profile else ''}"
    how = f"--profile profiles/{profile}" if profile else "--cores all"
    return f"snakemake {how} --configfile {config_file}"


def _refuse_others(mains: list[MainProcess], main_ended: bool) -> None:
    others = [main for main in mains if not main.is_of_this_machine()]
    if others and not main_ended:
        who = ", ".join(f"process {main.process} on {main.host}" for main in others)
        raise UserError(
            f"snakemake runs this workflow on another machine ({who}), and would send its jobs "
            "again: run this program there; if it is gone (the machine has been restarted, say), "
            "add --main-ended"
        )


def _children(main: MainProcess) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(main.process).children(recursive=True)
    return []


def _end_local(config: Config, below: list[psutil.Process], deadline: float) -> Iterator[str]:
    """End jobs on this machine, as Ctrl-C does, and trainings whose snakemake is gone.

    Raises UserError when some do not end in time.
    """
    known = {process.pid for process in below}
    processes = [
        *below,
        *(item for item in _trainings_without_main(config) if item.pid not in known),
    ]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    if processes:
        yield f"{len(processes)} processes on this machine are asked to end; trainings save first"
    _, alive = psutil.wait_procs(processes, timeout=max(0.0, deadline - time.monotonic()))
    if alive:
        listed = ", ".join(str(process.pid) for process in alive)
        raise UserError(
            f"processes {listed} have not ended; a training that still saves does so soon: run "
            "this again, or look at them with ps"
        )


def _trainings_without_main(config: Config) -> list[psutil.Process]:
    """Return the trainings of this config on this machine, outside SLURM."""
    found = []
    for name in config.trainings:
        trainer = current_trainer(Path(config.results_dir, name, "training"))
        if trainer is None or trainer.slurm_job is not None or not trainer.of_this_machine:
            continue
        with suppress(psutil.Error):
            process = psutil.Process(trainer.process)
            if any(Path(word).name == "train.py" for word in process.cmdline()):
                found.append(process)
    return found


def _end_jobs(config: Config, folder: Path, deadline: float) -> Iterator[str]:
    """Warn trainings, cancel all else, and wait until no job of the config is left.

    Raises UserError when some are left at the deadline, though they are cancelled by then.
    """
    warned: set[str] = set()
    cancelled: dict[str, float] = {}
    printed = ""
    while jobs := _active(config, folder):
        late = time.monotonic() > deadline
        trainings = [] if late else [job for job in jobs if _saves(job)]
        saving = {job.id for job in trainings}
        new = [job.id for job in trainings if job.id not in warned]
        if new:
            warned.update(new)
            yield f"training is asked to save and end: job {', '.join(new)}"
            _record_stopped(config, new)
            _scancel("--signal=USR1", new)
        rest = [job.id for job in jobs if job.id not in saving and job.state not in LEAVING]
        due = [job for job in rest if time.monotonic() - cancelled.get(job, -1e9) > AGAIN_SECONDS]
        if due:
            first = [job for job in due if job not in cancelled]
            if first:
                yield f"cancelled: job {', '.join(first)}"
            cancelled.update(dict.fromkeys(due, time.monotonic()))
            _record_stopped(config, due)
            _scancel("", due)
        if late and time.monotonic() > deadline + 2 * AGAIN_SECONDS:
            raise UserError(
                f"jobs {', '.join(job.id for job in jobs)} are cancelled and still there; SLURM "
                "may wait for a node (scontrol show job): run this again when they are gone"
            )
        waiting = f"waiting for {len(jobs)} jobs to leave"
        if waiting != printed:
            yield waiting
            printed = waiting
        time.sleep(POLL_SECONDS)


def _active(config: Config, folder: Path) -> list[slurm_queue.SlurmJob]:
    # Jobs that have ended show which run is this workflow's.
    return [
        job
        for job in slurm_queue.jobs_of(config, slurm_queue.queue(folder, ended=True))
        if job.is_active
    ]


def _saves(job: slurm_queue.SlurmJob) -> bool:
    """Return True if a job is a running training, which saves on a warning."""
    return job.rule == "train" and job.state == "RUNNING"


def _record_stopped(config: Config, jobs: list[str]) -> None:
    """Record that these jobs were stopped and did not fail."""
    results = Path(config.results_dir)
    known = stopped_jobs(results)
    added = [job for job in jobs if job not in known]
    write_json(results / "logs" / "main" / STOPPED, [*known, *added][-1000:])


def _scancel(option: str, jobs: list[str]) -> None:
    with suppress(UserError):  # a job that has ended meanwhile; if SLURM is down, the queue fails
        slurm_queue.run_command("scancel", *([option] if option else []), *jobs)


def _end_main(main: MainProcess) -> None:
    """End a main snakemake whose jobs are gone, which would poll the queue for minutes."""
    for number in (None, signal.SIGINT, signal.SIGKILL):
        if number is not None:
            _signal(main.process, number)
        if _becomes_true(lambda: not main.lives(), 3.0 if number is None else MAIN_SECONDS):
            return
    raise UserError(f"snakemake (process {main.process}) does not end; look at it with ps")


def _becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _signal(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _unlock(config_file: Path, results: Path, folder: Path) -> Iterator[str]:
    """Remove the lock that a main snakemake left, unless another one works in the folder."""
    if not is_locked(folder):
        return
    others = [f"process {process.pid}" for process in _snakemakes_in(folder)]
    others += [f"process {main.process} on {main.host}" for main in main_processes(results)]
    if others:
        yield f"the folder stays locked: another snakemake works in it ({others[0]})"
        return
    command = snakemake_command(config_file, "--unlock")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(
            f"the folder could not be unlocked; snakemake printed:\n{done.stderr.strip()}"
        )
    yield "the folder is unlocked"


def _snakemakes_in(folder: Path) -> Iterable[psutil.Process]:
    """Yield the processes of snakemake that run in a folder on this machine."""
    for process in psutil.process_iter(["cmdline", "cwd", "pid"]):
        words = process.info["cmdline"] or []
        is_snakemake = any(
            Path(word).name == "snakemake" or word == "snakemake" for word in words[:4]
        )
        if is_snakemake and process.info["cwd"] == str(folder.resolve()):
            yield process
