"""The tables of scores: all of them, the best checkpoints, and the one for the terminal; and of
validation losses."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ValidationError

from .config.keys import Keys
from .files import replacing
from .program import UserError


class ScoreRecord(Keys):
    """The JSON file of one score: one set of samples of one checkpoint; null: not measurable."""

    feature_space: str
    reference: Literal["train", "eval", "all"]
    fid_reference: str  # `reference`, or the name of published statistics
    fid_backend: Literal["torch-fidelity", "pytorch-fid"]
    images_generated: int
    images_reference: int
    fid: float | None
    fid_std: float | None  # over bootstrap resamples
    is_mean: float | None
    is_std: float | None
    kid_mean: float | None
    kid_std: float | None
    kid_subset_size: int | None
    precision: float | None
    recall: float | None
    density: float | None
    coverage: float | None
    # Distances to the nearest training image in feature space: medians; the probability that a
    # generated image is closer than a held-out one; the share of generated images that are closer
    # than 95% of the held-out ones.
    nearest_generated: float | None
    nearest_heldout: float | None
    closer_than_heldout: float | None
    memorised_share: float | None
    feature_dimensions: int
    weights_sha256: str | None
    classifier_accuracy: float | None
    channels_repeated: bool
    warning: str | None


@dataclass(frozen=True)
class Metric:
    """How the values of a column are named, compared and printed."""

    column: str
    name: str
    lower_is_better: bool
    std: str | None  # column of its standard deviation
    decimals: int  # in the terminal's table


METRICS = {
    metric.column: metric
    for metric in (
        Metric("fid", "FID", lower_is_better=True, std=None, decimals=2),
        Metric("kid_mean", "KID", lower_is_better=True, std="kid_std", decimals=5),
        Metric("is_mean", "IS", lower_is_better=False, std="is_std", decimals=2),
        Metric("precision", "precision", lower_is_better=False, std=None, decimals=3),
        Metric("recall", "recall", lower_is_better=False, std=None, decimals=3),
    )
}

# A group is scored alike: within it, and nowhere else, are values compared.
GROUP = ["experiment", "dataset", "samples", "score", "feature_space", "reference"]
EVALUATION_COLUMNS = [
    *GROUP,
    "training_step",
    *(name for name in ScoreRecord.model_fields if name not in GROUP),
]
BEST_COLUMNS = [
    *GROUP,
    "metric",
    "value",
    "training_step",
    "images_generated",
    "images_reference",
    "classifier_accuracy",
    "warning",
]
VALIDATION_COLUMNS = ["step", "images", "eval_loss", "train_loss", "gap_standard_error"]
FLOAT_COLUMNS = {
    *("fid", "is_mean", "is_std", "kid_mean", "kid_std", "precision", "recall"),
    *("classifier_accuracy", "value"),
    *("eval_loss", "train_loss", "gap_standard_error"),
}
INTEGER_COLUMNS = {
    *("training_step", "images_generated", "images_reference"),
    *("kid_subset_size", "feature_dimensions"),
    *("step", "images"),
}

_SCORE_PATH = re.compile(
    r"(?P<experiment>[^/]+)/scores/(?P<score>[^/]+)/(?P<samples>[^/]+)/step-(?P<step>\d{8})\.json$"
)


def evaluation_table(files: list[Path], *, experiment: str, dataset: str) -> pd.DataFrame:
    """All scores of an experiment: a row per way to score, set of samples and checkpoint.

    Raises UserError that names the file when one is no score of this experiment.
    """
    return table_of([score_row(path, experiment=experiment, dataset=dataset) for path in files])


def table_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    """The evaluation table of rows of `score_row`, sorted."""
    return typed(pd.DataFrame(rows, columns=EVALUATION_COLUMNS)).sort_values(
        ["experiment", "samples", "score", "training_step"], ignore_index=True
    )


def score_row(path: Path, *, experiment: str, dataset: str) -> dict[str, object]:
    """One row of the evaluation table: what the path of a score says, and what its file says."""
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
        record = ScoreRecord.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); score it again") from None
    except ValidationError as error:
        wrong = "; ".join(_problems(error))
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


def _problems(error: ValidationError) -> list[str]:
    """What is wrong with a score's file: its missing keys, its unknown ones, its wrong values."""
    kinds: dict[str, list[str]] = {"missing": [], "extra_forbidden": []}
    others = []
    for problem in error.errors():
        name = ".".join(map(str, problem["loc"])) or "the file"
        if problem["type"] in kinds:
            kinds[problem["type"]].append(name)
        else:
            others.append(f"{name}: {problem['msg']}")
    missing, unknown = kinds.values()
    texts = [f"lacks {', '.join(missing)}"] if missing else []
    texts += [f"has unknown keys {', '.join(unknown)}"] if unknown else []
    return texts + others


def best_scores(evaluation: pd.DataFrame) -> pd.DataFrame:
    """The best checkpoint of each group by each metric; of equal ones the earliest.

    A metric that was measured at no checkpoint has no row.
    """
    rows = []
    for _, group in evaluation.groupby(GROUP, sort=True):
        for metric in METRICS.values():
            best = best_row(group, metric)
            if best is not None:
                kept = {name: best[name] for name in BEST_COLUMNS if name in best}
                rows.append(kept | {"metric": metric.column, "value": best[metric.column]})
    return typed(pd.DataFrame(rows, columns=BEST_COLUMNS))


def best_row(rows: pd.DataFrame, metric: Metric) -> pd.Series | None:
    """The row with the best value of a metric, the earliest of equal ones; None without values."""
    measured = rows.dropna(subset=[metric.column]).sort_values(
        [metric.column, "training_step"], ascending=[metric.lower_is_better, True], kind="stable"
    )
    return None if measured.empty else measured.iloc[0]


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a fixed type for each column, also where it is empty; no text is null."""
    table = table.copy()
    for name in table.columns:
        if name in FLOAT_COLUMNS:
            table[name] = table[name].astype("float64")
        elif name in INTEGER_COLUMNS:
            table[name] = table[name].astype("Int64")
        elif name == "channels_repeated":
            table[name] = table[name].astype("bool")
        else:
            table[name] = table[name].fillna("").astype("str")
    return table


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a tidy CSV, atomically; floats as their shortest text that reads back the same."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV of `write_table`; floats come back bit for bit, names such as "NA" as text.

    Raises UserError when the file cannot be read or has other columns.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns) != columns:
            differing = sorted(set(table.columns) ^ set(columns)) or "another order"
            raise UserError(
                f"{path}: its columns are not those of this version ({differing}); "
                "delete it and run snakemake again"
            )
        for name in columns:
            table[name] = pd.Series([_value(name, text) for text in table[name]], dtype=object)
        return typed(table)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a table ({error})") from None


def _value(column: str, text: str) -> object:
    """A cell's value; Python's own float() is exact, which a parser of tables need not be."""
    if column in FLOAT_COLUMNS:
        return float(text) if text else None
    if column in INTEGER_COLUMNS:
        return int(text) if text else None
    return text == "True" if column == "channels_repeated" else text


def join_tables(files: list[Path], columns: list[str]) -> pd.DataFrame:
    """The rows of several tables, one after the other; an empty table for no files."""
    tables = [table for path in files if not (table := read_table(path, columns)).empty]
    if not tables:
        return typed(pd.DataFrame(columns=columns))
    return typed(pd.concat(tables, ignore_index=True))


def feature_space_label(feature_space: str) -> str:
    """What axes and tables call a feature space, so that no two are taken for each other."""
    if feature_space == "classifier":
        return "classifier features"
    if feature_space == "inception":
        return "Inception features"
    name = feature_space.removeprefix("inception-")
    return f"Inception features, weights '{name}', not comparable"


def score_table(evaluation: pd.DataFrame, best: pd.DataFrame) -> str:
    """The scores as text for a terminal: a block per group, the best of each column starred."""
    blocks = []
    for names, group in evaluation.groupby(GROUP, sort=True):
        _, _, samples, score, feature_space, reference = names
        chosen = best[(best[GROUP] == list(names)).all(axis=1)]
        stars = set(zip(chosen["metric"], chosen["training_step"], strict=True))
        head = (
            f"samples {samples}, score {score}: {feature_space_label(feature_space)}, "
            f"{counts(group['images_generated'])} generated against "
            f"{counts(group['images_reference'])} reference images ({reference})"
        )
        accuracy = group["classifier_accuracy"].dropna()
        if len(accuracy):
            head += f", classifier accuracy {accuracy.iloc[0]:.1%}"
        warnings = [f"warning: {text}" for text in group["warning"].unique() if text]
        blocks.append("\n".join([head, *_table_lines(group, stars), *warnings]))
    return "\n\n".join(blocks)


def _table_lines(group: pd.DataFrame, stars: set[tuple[str, int]]) -> list[str]:
    """Aligned lines of one group's values by training step."""
    lines = [["step", *(metric.name + " " for metric in METRICS.values())]]
    for _, row in group.sort_values("training_step").iterrows():
        cells = [f"{row['training_step']:,}"]
        for metric in METRICS.values():
            star = "*" if (metric.column, row["training_step"]) in stars else " "
            cells.append(value_text(row, metric) + star)
        lines.append(cells)
    return aligned(lines)


def best_table(best: pd.DataFrame) -> str:
    """The best checkpoints as text for a terminal."""
    lines = [["samples", "score", "metric", "best", "step"]]
    for _, row in best.iterrows():
        metric = METRICS[row["metric"]]
        value = f"{row['value']:.{metric.decimals}f}"
        lines.append(
            [row["samples"], row["score"], metric.name, value, f"{row['training_step']:,}"]
        )
    return "\n".join(aligned(lines, names=3))


def aligned(lines: list[list[str]], names: int = 0) -> list[str]:
    """Cells as indented lines: the first `names` columns begin, the others end, at one place."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [
            cell.ljust(width) if column < names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return ["  " + "   ".join(cells).rstrip() for cells in padded]


def value_text(row: pd.Series, metric: Metric) -> str:
    """A value with its standard deviation, where the metric has one; "-" when not measured."""
    if pd.isna(row[metric.column]):
        return "-"
    text = f"{row[metric.column]:.{metric.decimals}f}"
    if metric.std and not pd.isna(row[metric.std]):
        text += f" ± {row[metric.std]:.{metric.decimals}f}"
    return text


def counts(numbers: pd.Series) -> str:
    """Counts of images as text: 512, or 512 to 2,000 where they differ."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
