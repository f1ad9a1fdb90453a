"""Parts of the GPU check: what each checks, what it is given, and the rows of its result."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from ddpm_bench.cli import PROJECT
from ddpm_bench.config.block import canonical_json

Outcome = Literal["pass", "fail", "measured", "not run"]
SCRIPTS = PROJECT / "workflow" / "scripts"
COMPARISONS = PROJECT / "comparisons"
LAST_LINES = 3  # of a program's output, in the row of its failure


@dataclass(frozen=True)
class Check:
    """One row of the result.

    found: what was found, with its numbers, in words; remedy: what to do about a failure;
    numbers: the same for other programs, by names that hold their units.
    """

    name: str
    outcome: Outcome
    found: str
    remedy: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """Device and sizes that all parts compute with.

    folder: for their files; gpu: False with stand-ins, which compute on the CPU; image_size in
    pixels; dim: channels of the first level; batch_size in images.
    """

    folder: Path
    gpu: bool
    image_size: int
    dim: int
    dim_mults: tuple[int, ...]
    batch_size: int

    def as_json(self) -> str:
        """Return the setting as text for the process of a part."""
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, text: str) -> "Setting":
        """Read what `as_json` has written."""
        keys = json.loads(text)
        keys |= {"folder": Path(keys["folder"]), "dim_mults": tuple(keys["dim_mults"])}
        return cls(**keys)

    def model(self) -> dict[str, Any]:
        """Return the keys of the network."""
        return {"name": "unet", "dim": self.dim, "dim_mults": list(self.dim_mults)}


# Of one GPU, and small enough for a CPU.
ON_A_GPU = {"image_size": 64, "dim": 64, "dim_mults": (1, 2, 4, 8), "batch_size": 16}
WITH_STAND_INS = {"image_size": 16, "dim": 8, "dim_mults": (1, 2), "batch_size": 8}


@dataclass(frozen=True)
class Part:
    """A part of the check, which runs in a process of its own.

    function: module and name, "module:function"; it takes a Setting and yields Checks. seconds: the
    longest that it may take. unseen: what is not checked with stand-ins; None: the part is not run
    with them. shares: it measures no speed, so that another such part may run beside it.
    """

    name: str
    about: str
    function: str
    seconds: int
    unseen: str | None
    shares: bool = False

    def checks(self, setting: Setting) -> Iterator[Check]:
        """Run the part in this process."""
        module, name = self.function.split(":")
        function: Callable[[Setting], Iterator[Check]] = getattr(import_module(module), name)
        return function(setting)


class ProgramError(Exception):
    """A program of the workflow ended with an error; the message has its last lines."""


def run_program(
    program: Path, *arguments: object, environment: dict[str, str] | None = None
) -> str:
    """Run a program of this project to its end and return what it printed on stdout.

    Dictionaries become JSON. Its stderr is shown as this process's. Raises ProgramError when it
    fails.
    """
    done = subprocess.run(
        command_of(program, *arguments),
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stderr.write(done.stderr)
    if done.returncode != 0:
        raise ProgramError(
            f"{program.name} ended with status {done.returncode}: {last_lines(done.stderr)}"
        )
    return done.stdout


def command_of(program: Path, *arguments: object) -> list[str]:
    """Return the command of a program of this project; dictionaries become JSON."""
    texts = (canonical_json(item) if isinstance(item, dict) else str(item) for item in arguments)
    return [sys.executable, str(program), *texts]


def last_lines(text: str) -> str:
    """Return the last lines of a program's output as one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-LAST_LINES:]) or "it printed nothing"
