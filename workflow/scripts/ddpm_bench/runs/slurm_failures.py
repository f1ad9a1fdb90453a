"""Reasons of failed SLURM jobs at the end of a run, with what each asked for and what to change.

SLURM reports little more than FAILED to Snakemake. The reason stands in SLURM's log of the job, as
a message of its step daemon, or in the rule's log, as a message of the program.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_bench.records.log_tails import OUT_OF_MEMORY, last_words, log_tail

PROFILE = "profiles/slurm/config.yaml"

_STATE = re.compile(r"SLURM status is: '([A-Z_]+)")
_WALL_TIME = "DUE TO TIME LIMIT"
_NODE_FAILURE = re.compile(r"DUE TO NODE FAILURE|NODE_FAIL")
_CANCELLED = re.compile(r"CANCELLED AT \S+ \*\*\*")
_STOPPED = re.compile(r"stopped by a signal; .+")


@dataclass(frozen=True)
class SlurmFailure:
    """A SLURM job that failed and is not sent again."""

    rule: str
    wildcards: dict[str, str]  # values of a group's members joined by +
    state: str  # SLURM's; empty of a job that SLURM did not take
    slurm_job: str  # its number; empty of a job that SLURM did not take
    memory_mb: int | None  # asked for
    runtime_minutes: int | None  # asked for
    slurm_log: Path | None
    logs: tuple[Path, ...]  # of the rule

    def line(self) -> str:
        """Return what happened, what was asked for, what to change and where to read more."""
        name = ", ".join([self.rule, *(f"{key}={text}" for key, text in self.wildcards.items())])
        job = f"SLURM job {self.slurm_job} " if self.slurm_job else ""
        read = next((log for log in self._all_logs() if log_tail(log)), None)
        return f"{name}: {job}{self._what_happened()}{f' (log: {read})' if read else ''}"

    def _all_logs(self) -> list[Path]:
        return [*self.logs, *([self.slurm_log] if self.slurm_log else [])]

    def _what_happened(self) -> str:
        tail = log_tail(self.slurm_log) if self.slurm_log else ""
        if self.state == "OUT_OF_MEMORY" or OUT_OF_MEMORY.search(tail):
            return (
                f"ran out of memory: mem_mb = {_asked(self.memory_mb)} was asked for; raise "
                f"set-resources: {self.rule}: mem_mb in {PROFILE}"
            )
        if self.state in ("TIMEOUT", "DEADLINE") or _WALL_TIME in tail:
            return (
                f"ran out of wall time: runtime = {_asked(self.runtime_minutes)} (minutes) was "
                f"asked for; raise set-resources: {self.rule}: runtime in {PROFILE}"
            )
        if self.state == "NODE_FAIL" or _NODE_FAILURE.search(tail):
            return "lost its node; run snakemake again"
        if self.state == "CANCELLED" or (not self.state and _CANCELLED.search(tail)):
            return "was cancelled; the next run of snakemake goes on with it"
        for log in self.logs:
            own_tail = log_tail(log)
            stopped = _STOPPED.search(own_tail)
            if reason := last_words(own_tail) or (stopped and stopped[0]):
                return f"failed: {reason}"
        return "failed" if self.slurm_job else "was not taken by SLURM: its message stands above"


def failure_of(job_info: Any, message: str) -> SlurmFailure:
    """Return the failure that an executor reports: a job, and the SLURM plugin's message.

    The members of a group, jobs of one rule that share a SLURM job, are one failure.
    """
    job = job_info.job
    members = sorted(job.jobs, key=str) if job.is_group() else [job]
    state = _STATE.search(message)
    log = (job_info.aux or {}).get("slurm_logfile")
    return SlurmFailure(
        rule=members[0].name,
        wildcards={
            key: "+".join(sorted({str(member.wildcards_dict[key]) for member in members}))
            for key in members[0].wildcards_dict or {}
        },
        state=state[1] if state else "",
        slurm_job=job_info.external_jobid or "",
        memory_mb=_number(job.resources.get("mem_mb")),
        runtime_minutes=_number(job.resources.get("runtime")),
        slurm_log=Path(log) if log else None,
        logs=tuple(Path(log) for member in members for log in member.log),
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _asked(amount: int | None) -> str:
    return "the partition's default" if amount is None else str(amount)
