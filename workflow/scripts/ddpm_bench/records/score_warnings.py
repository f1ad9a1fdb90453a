"""Warnings of a score: one text, in which each part names the metrics that it is about.

Parts such as "FID: ..." or "precision, recall: ..." follow those about all metrics,
which name none.
"""

import re
from collections.abc import Iterable

from ddpm_bench.records.scores import METRICS

SEPARATOR = "; "
NAMES = {column: metric.name for column, metric in METRICS.items()}
NAMES["memorised_share"] = "memorised share"
_NAME = "|".join(map(re.escape, NAMES.values()))
_HEAD = re.compile(rf"(?:{_NAME})(?:, (?:{_NAME}))*: ")
_BEFORE_HEAD = re.compile(f"{SEPARATOR}(?={_HEAD.pattern})")


def about(columns: Iterable[str], text: str) -> str:
    """Return a part of a warning, which names the metrics of these columns."""
    return f"{', '.join(NAMES[column] for column in columns)}: {text}"


def parts(warning: str) -> list[str]:
    """Return the parts of a warning; what is about all metrics comes first."""
    return _BEFORE_HEAD.split(warning) if warning else []


def warnings_about(warnings: Iterable[str], columns: Iterable[str] | None = None) -> list[str]:
    """Return the different parts of several warnings that are about a metric of these columns.

    Parts about all metrics are among them. columns: None for all metrics.
    """
    names = None if columns is None else {NAMES.get(column, column) for column in columns}
    found = []
    for part in dict.fromkeys(part for warning in warnings for part in parts(warning)):
        head = _HEAD.match(part)
        if names is None or head is None or names & set(head[0][:-2].split(", ")):
            found.append(part)
    return found
