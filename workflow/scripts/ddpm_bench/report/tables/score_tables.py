"""Tables of scores, best checkpoints and validation losses, and the names of their columns."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing
from ddpm_bench.records.checksums import check_file, write_checksum
from ddpm_bench.records.json_record import problems
from ddpm_bench.records.score_warnings import SEPARATOR, warnings_about
from ddpm_bench.records.scores import (
    METRICS,
    Metric,
    ScoreRecord,
    feature_space_label,
    fid_std_is_rough,
)

# Values are compared within a group of equal values of these columns only.
SCORED = [
    *("dataset", "samples", "score"),
    *("feature_space", "reference", "fid_reference", "fid_backend"),
]
GROUP = ["experiment", *SCORED]
EVALUATION_COLUMNS = [
    *GROUP,
    "training_step",
    *(name for name in ScoreRecord.model_fields if name not in GROUP),
]
BEST_COLUMNS = [
    *GROUP,
    "metric",
    "value",
    "std",
    "training_step",
    "images_generated",
    "images_reference",
    "classifier_accuracy",
    "warning",
]
VALIDATION_COLUMNS = ["step", "images", "eval_loss", "train_loss", "gap_standard_error"]
FLOAT_COLUMNS = {
    *("fid", "fid_std", "is_mean", "is_std", "kid_mean", "kid_std", "precision", "recall"),
    *("density", "coverage", "nearest_generated", "nearest_heldout"),
    *("closer_than_heldout", "memorised_share", "memorised_chance_low", "memorised_chance_high"),
    *("classifier_accuracy", "value", "std"),
    *("eval_loss", "train_loss", "gap_standard_error"),
}
INTEGER_COLUMNS = {
    *("training_step", "images_generated", "images_reference"),
    *("kid_subset_size", "feature_dimensions", "images_heldout"),
    *("step", "images"),
}

_SCORE_PATH = re.compile(
    r"(?P<experiment>[^/]+)/scores/(?P<score>[^/]+)/(?P<samples>[^/]+)/step-(?P<step>\d{8})\.json$"
)


def evaluation_table(files: list[Path], *, experiment: str, dataset: str) -> pd.DataFrame:
    """Return all scores of an experiment: a row per way to score, set of samples and checkpoint.

    Raises UserError that names the file if one is not a score of this experiment.
    """
    return table_of([score_row(path, experiment=experiment, dataset=dataset) for path in files])


def table_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return the sorted evaluation table of rows of `score_row`."""
    return typed(pd.DataFrame(rows, columns=EVALUATION_COLUMNS)).sort_values(
        ["experiment", "samples", "score", "training_step"], ignore_index=True
    )


def score_row(path: Path, *, experiment: str, dataset: str) -> dict[str, object]:
    """Read one row of the evaluation table from a score's path and content.

    Raises UserError if either is not that of a score of the experiment.
    """
    place = _SCORE_PATH.search(path.absolute().as_posix())
    if place is None:
        raise UserError(
            f"{path}: is not named as a score is; give files named "
            f"<experiment>/scores/<score>/<samples>/step-<8 digits>.json"
        )
    if place["experiment"] != experiment:
        raise UserError(
            f"{path}: is a score of experiment {place['experiment']!r}; "
            f"the table is of {experiment!r}: give its scores only"
        )
    try:
        record = ScoreRecord.read(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); score it again") from None
    except ValueError as error:
        wrong = "; ".join(problems(error))
        raise UserError(
            f"{path}: is not a score of this version ({wrong}); delete it and score it again"
        ) from None
    return {
        "experiment": experiment,
        "dataset": dataset,
        "samples": place["samples"],
        "score": place["score"],
        "training_step": int(place["step"]),
        **record.model_dump(),
    }


def best_scores(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Return the best checkpoint of each group by each metric; of equal ones the earliest.

    A metric without any value has no row.
    """
    rows = []
    for _, group in evaluation.groupby(GROUP, sort=True):
        for metric in ordered_metrics(group):
            best = best_row(group, metric)
            if best is not None:
                kept = {name: best[name] for name in BEST_COLUMNS if name in best}
                measured = {"metric": metric.column, "value": best[metric.column]}
                kept["warning"] = SEPARATOR.join(warnings_about([best["warning"]], [metric.column]))
                rows.append(kept | measured | {"std": best[metric.std] if metric.std else None})
    return typed(pd.DataFrame(rows, columns=BEST_COLUMNS))


def best_row(rows: pd.DataFrame, metric: Metric) -> pd.Series | None:
    """Return the row with the best value of a metric, the earliest of equal ones; None without
    values."""
    measured = rows.dropna(subset=[metric.column]).sort_values(
        [metric.column, "training_step"], ascending=[metric.lower_is_better, True], kind="stable"
    )
    return None if measured.empty else measured.iloc[0]


def best_rows(rows: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return the rows to mark as the best by a metric: all of equal ones.

    None is marked where all of several values are equal: nothing is better than anything else.
    """
    values = rows[metric.column].dropna()
    best = values.min() if metric.lower_is_better else values.max()
    return (
        rows[0:0]
        if len(values) > 1 and (values == best).all()
        else rows.loc[values.index[values == best]]
    )


def reference_is_small(rows: pd.DataFrame) -> bool:
    """Return True if FID's reference has fewer images than its features have dimensions.

    KID is then read first. The number of images behind published statistics is not known.
    """
    own = rows["fid_reference"] == rows["reference"]
    return bool((own & (rows["images_reference"] < rows["feature_dimensions"])).any())


def deviation_is_rough(rows: pd.DataFrame, metric: Metric) -> bool:
    """Return True if the metric is FID, and its standard deviation in one of the rows is rough."""
    if metric.column != "fid":
        return False
    measured = rows.dropna(subset=["fid_std"])
    return any(
        fid_std_is_rough(
            row["images_generated"],
            row["images_reference"] if row["fid_reference"] == row["reference"] else None,
            row["feature_dimensions"],
        )
        for _, row in measured.iterrows()
    )


def ordered_metrics(rows: pd.DataFrame) -> list[Metric]:
    """Return all metrics in the order in which rows of one group are read."""
    first = ["kid_mean"] if reference_is_small(rows) else []
    return [METRICS[column] for column in dict.fromkeys([*first, *METRICS])]


@dataclass(frozen=True)
class Kinds:
    """The names of columns that hold numbers or flags; all others hold text."""

    floats: frozenset[str]
    integers: frozenset[str]
    flags: frozenset[str]

    def value(self, column: str, text: str) -> object:
        """Return the value of a CSV field.

        Python's own float() is exact, which the parser of a table library need not be.
        """
        if column in self.floats | self.integers:
            return (float if column in self.floats else int)(text) if text else None
        return text == "True" if column in self.flags else text


OF_SCORES = Kinds(
    frozenset(FLOAT_COLUMNS), frozenset(INTEGER_COLUMNS), frozenset({"channels_repeated"})
)


def typed(table: pd.DataFrame, kinds: Kinds = OF_SCORES) -> pd.DataFrame:
    """Return the table with a fixed type for each column, even if it is empty; no text is null."""
    table = table.copy()
    for name in table.columns:
        if name in kinds.floats:
            table[name] = table[name].astype("float64")
        elif name in kinds.integers:
            table[name] = table[name].astype("Int64")
        elif name in kinds.flags:
            table[name] = table[name].astype("object").fillna(False).astype("bool")
        else:
            table[name] = table[name].astype("object").fillna("").astype("str")
    return table


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a tidy CSV, atomically; floats in their shortest text that reads back exactly.

    Its checksum is written beside it.
    """
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
        write_checksum(path, temporary)


def read_table(path: Path, columns: list[str], kinds: Kinds = OF_SCORES) -> pd.DataFrame:
    """Read a CSV of `write_table`; floats are restored bit for bit, names such as "NA" are text.

    Raises UserError if the file is damaged, cannot be read or has other columns.
    """
    check_file(path)
    try:
        if not path.read_bytes().endswith(b"\n"):
            raise ValueError("its last row is not whole")
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns) != columns:
            differing = sorted(set(table.columns) ^ set(columns)) or "another order"
            raise UserError(
                f"{path}: its columns are not those of this version ({differing}); "
                "delete it and run snakemake again"
            )
        for name in columns:
            values = [kinds.value(name, text) for text in table[name]]
            table[name] = pd.Series(values, dtype=object)
        return typed(table, kinds)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as a table ({error}); delete it and run snakemake again"
        ) from None


def join_tables(files: list[Path], columns: list[str]) -> pd.DataFrame:
    """Return the rows of several tables, concatenated; an empty table for no files."""
    tables = [table for path in files if not (table := read_table(path, columns)).empty]
    if not tables:
        return typed(pd.DataFrame(columns=columns))
    return typed(pd.concat(tables, ignore_index=True))


def metric_label(row: pd.Series, metric: Metric) -> str:
    """Return a metric's full name, like "FID (Inception features, pytorch-fid, against
    cifar10-train)"."""
    parts = [feature_space_label(row["feature_space"])]
    if metric.column == "fid":
        if row["fid_backend"] == "pytorch-fid":
            parts.append("pytorch-fid")
        if row["fid_reference"] != row["reference"]:
            parts.append(f"against {row['fid_reference']}")
    return f"{metric.name} ({', '.join(parts)})"
