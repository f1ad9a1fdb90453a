"""Record of a job beside its outputs: the settings that made them, and what they were made from.

Snakemake keeps such records too, in `.snakemake` of the working folder and by the paths of the
files: they are lost when results are moved, copied or renamed. These go where the outputs go.
"""

import functools
import secrets
from pathlib import Path
from typing import Any

from ddpm_bench.config.block import Block
from ddpm_bench.files import sha256
from ddpm_bench.records.json_record import JsonRecord
from ddpm_bench.records.rule_files import job_of_file

# Files that no job made, up to this size, are compared by their content: statistics of a dataset,
# but not weights of gigabytes, whose sha256 stands in the settings.
LARGEST_HASHED = 2**26
# Files that a job made are compared by their content up to Snakemake's limit (its default of
# --max-checksum-file-size): made anew, but alike, they make nothing stale.
LARGEST_HASHED_OF_JOBS = 10**6


class InputFile(Block):
    """An input of a job, as it was when the job ran."""

    size: int  # bytes
    made: str | None = None  # `made` of the record of the job that made it
    sha256: str | None = None  # of a small file


class JobRecord(JsonRecord):
    """Settings and inputs of the job that made some files.

    Paths begin with `results/` or `resources/` for these folders of the config, wherever they lie.
    """

    rule: str
    params: dict[str, Any]  # `what`: the settings of the stage, and its version
    inputs: dict[str, InputFile]  # by path
    made: str  # a random number: another one each time that the job runs


class JobRecords:
    """The records below the folders of a config: results_dir and resources_dir."""

    def __init__(self, results: str, resources: str) -> None:
        self._roots = {"results/": f"{results}/", "resources/": f"{resources}/"}

    def name(self, path: str) -> str:
        """Return the path of a file as in records; that of a file elsewhere is as given."""
        # The longer folder first: one may lie in the other.
        for name, root in sorted(self._roots.items(), key=lambda item: -len(item[1])):
            if f"{path}/" == root:
                return name
            if path.startswith(root):
                return name + path.removeprefix(root)
        return path

    def path(self, name: str) -> str:
        """Return the path of a file that a record names."""
        for start, root in self._roots.items():
            if name.startswith(start):
                return root + name.removeprefix(start)
        return name

    def file(self, output: str) -> Path | None:
        """Return the record of the job that makes an output: digits/.train.npy.made.

        It lies beside the first output of the job. None for a file that no job makes.
        """
        folder, _, name = self.name(output).partition("/")
        job = job_of_file(name) if folder in ("results", "resources") else None
        if job is None:
            return None
        first = Path(self.path(f"{folder}/{job.outputs[0]}"))
        return first.with_name(f".{first.name}.made")

    def read(self, output: str) -> JobRecord | None:
        """Return the record of the job that made an output; None without one that can be read."""
        path = self.file(output)
        try:
            return None if path is None else _read_once(path, path.stat().st_mtime_ns)
        except OSError:
            return None

    def input(self, path: str) -> InputFile:
        """Return an existing input of a job as it is now."""
        record = self.read(path)
        size = Path(path).stat().st_size
        limit = LARGEST_HASHED if record is None else LARGEST_HASHED_OF_JOBS
        hashed = size <= limit and Path(path).is_file()
        return InputFile(
            size=size,
            **({} if record is None else {"made": record.made}),
            **({"sha256": _hash(path)} if hashed else {}),
        )

    def differs(self, path: str, recorded: InputFile) -> bool:
        """Return True if an input is not the recorded one.

        One that has gone, or whose record has, is taken for the recorded one, and so is a small one
        that was made anew with the same content, as Snakemake has it.
        """
        if not Path(path).exists():
            return False
        if Path(path).stat().st_size != recorded.size:
            return True
        record = self.read(path)
        if record is not None and recorded.made is not None and record.made == recorded.made:
            return False
        if recorded.sha256 is not None:
            return recorded.sha256 != _hash(path)
        return record is not None and recorded.made is not None


def new_number() -> str:
    """Return a number for `made`, unlike that of any other run of a job."""
    return secrets.token_hex(8)


@functools.lru_cache(maxsize=2**16)  # `make watch` looks at all of them every few seconds
def _read_once(path: Path, changed: int) -> JobRecord | None:
    return JobRecord.read_if_there(path)


def _hash(path: str) -> str:
    status = Path(path).stat()
    return _hash_once(Path(path), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=2**16)  # statistics of a dataset are an input of each score
def _hash_once(path: Path, changed: int, size: int) -> str:
    return sha256(path)
