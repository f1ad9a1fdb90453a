"""Each kind of file that a finished study has, damaged: the program that reads it names it.

Programs get the arguments that Snakemake would give them, and run in the test's own process.
"""

import importlib
import itertools
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.records.layout import DATASET_SUMMARY, matcher
from ddpm_bench.records.rule_files import OUTPUTS

FOR_PEOPLE = {".png", ".gif", ".md", ".yaml"}  # no program reads them
REMEDIES = ("delete", "copy", "run snakemake")
# Outputs of rules that no command names: the program that reads them all the same, if any does.
READERS = {
    "datasets/{dataset}/images.csv": "train_classifier.py",
    "datasets/{dataset}/classifier/summary.json": "score.py",
    DATASET_SUMMARY: "train.py",
    **dict.fromkeys(OUTPUTS["thin"]),
    **dict.fromkeys(OUTPUTS["best"]),
    **dict.fromkeys(OUTPUTS["compare"]),
    **dict.fromkeys(OUTPUTS["compare_hours"]),
    **dict.fromkeys(OUTPUTS["costs"]),
    **dict.fromkeys(OUTPUTS["plot_samplers"]),
}
# Files that no rule declares.
OTHERS = {
    "resources/datasets/digits-*.json": "prepare.py",
    "results/small/checkpoints/step-00000020.safetensors": "sample.py",
    "results/small/training/current.json": "train.py",
    "results/small/metrics.csv": "plot_loss.py",
    "results/small/progress.jsonl": "compare_hours.py",
}


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def nothing(content: bytes) -> bytes:
    return b""


def a_flipped_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.fixture(scope="module")
def broken(finished, tmp_path_factory):
    """A copy of the finished study, and the commands of all its jobs, as lists of arguments."""
    study = finished.copied(tmp_path_factory.mktemp("broken") / "study")
    printed = study.run("--dry-run", "--forceall", "--printshellcmds").splitlines()
    commands = [line.partition("exec with_log ")[2] for line in printed if " with_log " in line]
    return study, [shlex.split(command)[1:] for command in commands]


def files_and_readers(results: Path, commands: list[list[str]]) -> Iterator[tuple[Path, list[str]]]:
    """Yield one file of each kind, and the command of a job that reads it."""
    there = sorted(path.relative_to(results) for path in results.rglob("*") if path.is_file())
    for pattern in itertools.chain.from_iterable(OUTPUTS.values()):
        names = [name for name in there if matcher(pattern).fullmatch(str(name))]
        reader = READERS.get(pattern, "")
        if names and reader is not None and Path(pattern).suffix not in FOR_PEOPLE:
            yield next(
                (results / name, command)
                for name, command in itertools.product(names, commands)
                if reads(command, results / name, reader)
            )
    for name, reader in OTHERS.items():
        (path,) = results.parent.glob(name)
        path = path.relative_to(results.parent)
        yield path, next(command for command in commands if command[0] == reader)


def reads(command: list[str], path: Path, reader: str) -> bool:
    """Return True if a command is that of the reader, or else has the file as an input.

    The timing of samples is read with them.
    """
    if reader:
        return command[0] == reader
    outputs = {"--output"} | OUTPUT_OPTIONS.get(command[0], set())
    return any(
        Path(value) in (path, path.with_suffix(".npy")) and option not in outputs
        for option, value in itertools.pairwise(command)
    )


OUTPUT_OPTIONS = {
    "sample.py": {"--timing"},
    "score.py": {"--nearest"},
    "collect.py": {"--evaluation", "--best"},
    "costs.py": {"--table"},
}


def outcome(command: list[str], monkeypatch) -> str:
    """Run a program; return the message of its error for users, or how else it ended."""
    program = importlib.import_module(command[0].removesuffix(".py"))
    monkeypatch.setattr(sys, "argv", command)
    try:
        status = program.main()
    except UserError as error:
        return str(error)
    except BaseException as error:
        return f"{type(error).__name__} instead of one sentence: {error}"
    return f"nothing, status {status}"


def test_a_damaged_file_is_named_by_the_program_that_reads_it(broken, monkeypatch):
    study, commands = broken
    monkeypatch.chdir(study.folder)
    cases = list(files_and_readers(Path("results"), commands))
    assert len(cases) > 15
    wrong = []
    for path, command in cases:
        whole = path.read_bytes()
        for damage in (half, nothing, a_flipped_bit):
            path.write_bytes(damage(whole))
            said = outcome(command, monkeypatch)
            path.write_bytes(whole)
            named = str(path) in said or str(path.absolute()) in said
            if not named or "\n" in said or not any(remedy in said for remedy in REMEDIES):
                wrong.append(f"{path} {damage.__name__} {command[0]}: {said}")
    assert not wrong, "\n".join(wrong)
