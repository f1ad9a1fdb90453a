"""Parts of every command-line program: argument parsing, JSON arguments, errors for users."""

import argparse
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self, TypeVar

from pydantic import ValidationError

from ddpm_bench.errors import EXIT_USER_ERROR, UserError
from ddpm_bench.files import expanded_path


class StageKeys(Protocol):
    """A model of a stage's keys, which are read from JSON."""

    @classmethod
    def model_validate_json(cls, text: str) -> Self:
        """Return the checked keys; raises pydantic's ValidationError."""

    @staticmethod
    def described(error: ValidationError) -> str:
        """Return what is wrong with the keys, on one line."""


Model = TypeVar("Model", bound=StageKeys)

PROJECT = Path(__file__).resolve().parents[3]  # the folder of the Snakefile


def snakemake_command(config_file: Path, *options: str) -> list[str]:
    """Return a command that runs this project's Snakemake on one core, with this Python."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile")]
    return [*command, "--configfile", str(config_file), "--cores", "1", *options]


def put_programs_on_path(scripts: Path) -> None:
    """Put the folder of the programs, and that of this Python, on the PATH of jobs.

    Commands of rules then hold no path, and stay the same when the project is moved. A container
    has its own Python; only the programs are put on its PATH.
    """
    ours = [str(scripts), str(Path(sys.executable).parent)]
    os.environ["PATH"] = os.pathsep.join([*ours, os.environ.get("PATH", os.defpath)])
    os.environ["APPTAINERENV_PREPEND_PATH"] = str(scripts)
    os.environ["SINGULARITYENV_PREPEND_PATH"] = str(scripts)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows the defaults that are not None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def parser(description: str) -> argparse.ArgumentParser:
    """Return an argument parser whose `--help` shows the program's docstring and defaults."""
    return argparse.ArgumentParser(description=description, formatter_class=_Help)


def local_path(text: str) -> Path:
    """Return a path given on the command line: an argparse `type`.

    A shell leaves `~` and variables as they are in `--option=~/file` and between quotes.
    """
    try:
        return Path(expanded_path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def keys(model: type[Model]) -> Callable[[str], Model]:
    """Return an argparse `type` that reads a stage's keys from JSON text or the file `@path`."""

    def read(text: str) -> Model:
        try:
            if text.startswith("@"):
                text = Path(text[1:]).read_text()
            return model.model_validate_json(text)
        except OSError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        except ValidationError as error:
            raise argparse.ArgumentTypeError(model.described(error)) from None

    return read


def run(main: Callable[[], int | None]) -> None:
    """Run a program; a `UserError` ends it with one line on stderr and status 2, no traceback.

    Ctrl-C ends it with no traceback either, and status 130, and so does a reader of its output that
    has gone, such as `head`, with status 141.
    """
    try:
        status = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = EXIT_USER_ERROR
    except KeyboardInterrupt:  # of a whole run, whose main process says what comes of it
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        if not _is_unread():
            raise
        # Python flushes what is left once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    sys.exit(status or 0)


def _is_unread() -> bool:
    """Return True if nobody reads what this program prints."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
    return any(event & select.POLLERR for _, event in output.poll(0))
