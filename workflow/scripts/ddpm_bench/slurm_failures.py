"""Why SLURM jobs of a run failed: a line for each, with what was asked for and what to change.

SLURM tells Snakemake little more than FAILED. What killed a job stands in the log that SLURM keeps
of it, in the words of SLURM's step daemon, and what a program said for itself in the rule's log.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROFILE = "profiles/slurm/config.yaml"
TAIL_BYTES = 200_000  # of a log: what ended a job stands at its end

_STATE = re.compile(r"SLURM status is: '([A-Z_]+)")
# slurmstepd of SLURM up to 20.11, since then, and where SLURM itself watches the memory.
_OUT_OF_MEMORY = re.compile(
    r"[Oo]ut [Oo]f [Mm]emory handler|oom[-_]kill|OOM Killed|[Ee]xceeded (?:job |step )?memory limit"
)
_WALL_TIME = "DUE TO TIME LIMIT"
_NODE_FAILURE = re.compile(r"DUE TO NODE FAILURE|NODE_FAIL")
_CANCELLED = re.compile(r"CANCELLED AT \S+ \*\*\*")
_LAST_WORDS = re.compile(r"(?:\w+: )?error: .+|stopped by a signal; .+", re.M)


@dataclass(frozen=True)
class Failure:
    """A job that failed, and is not sent again."""

    rule: str
    wildcards: dict[str, str]
    state: str  # SLURM's; empty of a job that SLURM did not take
    slurm_job: str  # its number; empty of a job that SLURM did not take
    memory_mb: int | None  # asked for
    runtime_minutes: int | None  # asked for
    slurm_log: Path | None
    logs: tuple[Path, ...]  # of the rule

    def line(self) -> str:
        """What happened, what was asked for, what to change, where to read more."""
        name = ", ".join([self.rule, *(f"{key}={text}" for key, text in self.wildcards.items())])
        job = f"SLURM job {self.slurm_job} " if self.slurm_job else ""
        read = next((log for log in (*self.logs, self.slurm_log) if _tail(log)), None)
        return f"{name}: {job}{self._what_happened()}{f' (log: {read})' if read else ''}"

    def _what_happened(self) -> str:
        said = _tail(self.slurm_log)
        if self.state == "OUT_OF_MEMORY" or _OUT_OF_MEMORY.search(said):
            return (
                f"ran out of memory: mem_mb = {_asked(self.memory_mb)} was asked for; raise "
                f"set-resources: {self.rule}: mem_mb in {PROFILE}"
            )
        if self.state in ("TIMEOUT", "DEADLINE") or _WALL_TIME in said:
            return (
                f"ran out of wall time: runtime = {_asked(self.runtime_minutes)} (minutes) was "
                f"asked for; raise set-resources: {self.rule}: runtime in {PROFILE}"
            )
        if self.state == "NODE_FAIL" or _NODE_FAILURE.search(said):
            return "lost its node; run snakemake again"
        if self.state == "CANCELLED" or (not self.state and _CANCELLED.search(said)):
            return "was cancelled; the next run of snakemake goes on with it"
        for log in self.logs:
            if words := _LAST_WORDS.findall(_tail(log)):
                return f"failed: {words[-1]}"
        return "failed" if self.slurm_job else "was not taken by SLURM: its message stands above"


def failure_of(job_info: Any, message: str) -> Failure:
    """A failure from what an executor reports: the job, and the SLURM plugin's message."""
    job = job_info.job
    state = _STATE.search(message)
    log = (job_info.aux or {}).get("slurm_logfile")
    return Failure(
        rule=job.name,
        wildcards=dict(job.wildcards_dict or {}),
        state=state[1] if state else "",
        slurm_job=job_info.external_jobid or "",
        memory_mb=_number(job.resources.get("mem_mb")),
        runtime_minutes=_number(job.resources.get("runtime")),
        slurm_log=Path(log) if log else None,
        logs=tuple(map(Path, job.log)),
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _asked(amount: int | None) -> str:
    return "the partition's default" if amount is None else str(amount)


def _tail(log: Path | None) -> str:
    """The end of a log; empty where there is none."""
    if log is None:
        return ""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace")
    return ""
