"""Names of jobs, which join names of the config by dots and are names of files."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST_FILE_NAME = 255  # bytes, on all usual file systems
# After the names in the longest name of a job's file.
ENDING = ".00000000.benchmark.tsv"


def misnamed_jobs(trainings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the first job with the name of another, or with too long a name for a file.

    trainings: experiments and autoencoders by name, each with `samples` and `scores`.
    """
    seen: dict[str, str] = {}
    found = (
        problem
        for training, keys in trainings.items()
        for samples in keys.samples
        for names in ([training, samples], *([training, score, samples] for score in keys.scores))
        for problem in _problems(seen, names)
    )
    yield from itertools.islice(found, 1)  # a sweep has the same one hundreds of times


def _problems(seen: dict[str, str], names: list[str]) -> Iterator[str]:
    """Yield the problems of one job; seen: names of jobs, and the names that each consists of."""
    name, listed = ".".join(names), " and ".join(map(repr, names))
    if len(name + ENDING) > LONGEST_FILE_NAME:
        most = LONGEST_FILE_NAME - len(ENDING) - len(names) + 1
        yield f"the names {listed} are longer than {most} characters together; shorten one"
    other = seen.setdefault(f"{len(names)} {name}", listed)  # sampling and scoring log apart
    if other != listed:
        yield f"the names {listed}, and {other}, both make {name!r}, which names logs; rename one"
