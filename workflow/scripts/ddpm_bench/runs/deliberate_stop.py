"""Stop of a run by a signal to its main process: Ctrl-C, `kill`, a lost connection, `make stop`.

Snakemake waits on SIGTERM for jobs that hear nothing of it, and on Ctrl-C reports every job as
failed. Here the jobs of this machine are asked to end, trainings save first, and one line says what
is saved and how to go on. Jobs of a cluster are waited for on SIGTERM, and cancelled on Ctrl-C, as
Snakemake does; `make stop` lets their trainings save.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from ddpm_bench.config.experiment import Config
from ddpm_bench.records.progress_log import read_attempts

POLL_SECONDS = 0.3
ON_THIS_MACHINE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ON_A_CLUSTER = (signal.SIGTERM, signal.SIGINT)  # a lost connection leaves its jobs running


def saved_steps(config: Config) -> Iterator[str]:
    """Yield the saved step of each training that has begun and is not finished, in words."""
    for name, keys in config.trainings.items():
        attempts = read_attempts(Path(config.results_dir, name, "progress.jsonl"))
        if attempts and attempts[-1].saved < keys.train.steps:
            saved = f"{attempts[-1].saved:,} of {keys.train.steps:,}"
            yield f"{name}: training is saved at step {saved}, and goes on from there"


class DeliberateStop:
    """The reaction of a main process of Snakemake to a signal to stop.

    again: the command that goes on. Only messages of this class are logged after a signal, because
    each job that ends would be reported as failed.
    """

    def __init__(self, config: Config, logger: logging.Logger, again: str) -> None:
        self._config, self._logger, self._again = config, logger, again
        self._message = ""
        self.asked = False

    def listen(self, on_this_machine: bool) -> None:
        """React to signals from now on. To be called when Snakemake has set its handlers.

        on_this_machine: jobs run as processes below this one, and not on a cluster.
        """
        graceful = signal.getsignal(signal.SIGTERM)
        if not callable(graceful) or threading.current_thread() is not threading.main_thread():
            return
        react = self._end_jobs if on_this_machine else self._leave_to_snakemake
        for number in ON_THIS_MACHINE if on_this_machine else ON_A_CLUSTER:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                signal.signal(number, react(graceful, before))

    def _end_jobs(self, graceful: Callable[..., Any], _: Any) -> Callable[..., None]:
        """Return a handler that starts no more jobs and ends those that run."""

        def stop(number: int, frame: object) -> None:
            # Snakemake takes a lock that the main thread, which runs this, may hold.
            end = threading.Thread(target=self._end, args=(graceful,), daemon=True)
            if not self.asked:
                end.start()
            self.asked = True

        return stop

    def _leave_to_snakemake(self, _: Any, before: Any) -> Callable[..., None]:
        """Return a handler that does what Snakemake's does."""

        def stop(number: int, frame: object) -> None:
            self.asked = True
            if number == signal.SIGINT:
                self._logger.addFilter(self._is_ours)
            if callable(before):
                before(number, frame)

        return stop

    def _end(self, graceful: Callable[..., Any]) -> None:
        """Start no more jobs, and end the processes below this one, until Snakemake has ended."""
        self._logger.addFilter(self._is_ours)
        self._say("stopping: running jobs are asked to end; trainings save first")
        graceful(signal.SIGTERM, None)
        ended: set[psutil.Process] = set()
        while True:  # a job may just be starting
            new = set(psutil.Process().children(recursive=True)) - ended
            for process in new:
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
            ended |= new
            time.sleep(POLL_SECONDS)

    def report(self) -> None:
        """Log the line that says what is saved and how to go on, as the last one."""
        self._logger.addFilter(self._is_ours)
        saved = list(saved_steps(self._config)) or ["what is finished is kept"]
        self._say(f"stopped; {'; '.join(saved)}; to go on: {self._again}")

    def _say(self, message: str) -> None:
        self._message = message
        self._logger.warning(message)

    def _is_ours(self, record: logging.LogRecord) -> bool:
        return record.msg == self._message
