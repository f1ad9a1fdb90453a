"""Tables of scores as text for a terminal."""

from collections.abc import Iterator

import pandas as pd

from ddpm_bench.records.score_warnings import warnings_about
from ddpm_bench.records.scores import METRICS, ROUGH, feature_space_label
from ddpm_bench.report.tables.score_tables import (
    GROUP,
    best_rows,
    deviation_is_rough,
    metric_label,
    ordered_metrics,
)
from ddpm_bench.report.text import counts, shares, value_text, with_deviation


def score_table(evaluation: pd.DataFrame) -> str:
    """Return all scores as text: a block per group, the best of each column starred."""
    blocks = (
        "\n".join([heading(group), *table_lines(group), *notes(group)])
        for _, group in evaluation.groupby(GROUP, sort=True)
    )
    return "\n\n".join(blocks)


def heading(group: pd.DataFrame) -> str:
    """Return the heading of a group of scores: samples, features, and both image counts."""
    first = group.iloc[0]
    head = (
        f"samples {first['samples']}, score {first['score']}: "
        f"{feature_space_label(first['feature_space'])}, "
        f"{counts(group['images_generated'])} generated against "
        f"{counts(group['images_reference'])} reference images ({first['reference']})"
    )
    accuracy = group["classifier_accuracy"].dropna()
    return head + (f", classifier accuracy {accuracy.iloc[0]:.1%}" if len(accuracy) else "")


def table_lines(group: pd.DataFrame) -> list[str]:
    """Return one group's values by training step in aligned lines; KID comes first if FID is
    biased."""
    metrics = ordered_metrics(group)
    stars = {
        (metric.column, step)
        for metric in metrics
        for step in best_rows(group, metric)["training_step"]
    }
    lines = [["step", *(metric.name + " " for metric in metrics)]]
    for _, row in group.sort_values("training_step").iterrows():
        cells = [f"{row['training_step']:,}"]
        for metric in metrics:
            star = "*" if (metric.column, row["training_step"]) in stars else " "
            cells.append(value_text(row, metric) + star)
        lines.append(cells)
    return aligned(lines, gap=2)  # beside the column of stars


def notes(group: pd.DataFrame) -> Iterator[str]:
    """Yield the caveats of a block of scores."""
    first = group.iloc[0]
    label = metric_label(first, METRICS["fid"])
    if label != f"FID ({feature_space_label(first['feature_space'])})":
        yield f"  {label}"
    if group["fid_std"].notna().any():
        few = f" ({ROUGH})" if deviation_is_rough(group, METRICS["fid"]) else ""
        yield f"  FID ± its standard deviation over the choice of images{few}"
    if group["channels_repeated"].any():
        yield "  grayscale images are repeated to three channels"
    memorised = group.dropna(subset=["memorised_share", "memorised_chance_low"])
    if len(memorised):
        low, high = (
            memorised["memorised_chance_low"].min(),
            memorised["memorised_chance_high"].max(),
        )
        yield (
            f"  memorised: {shares(memorised['memorised_share'])} are nearer to training "
            f"images than 95% of held-out ones; chance: {low:.1%} to {high:.1%}"
        )
    yield from (f"warning: {text}" for text in warnings_about(group["warning"]))


def best_table(best: pd.DataFrame) -> str:
    """Return the best checkpoints as text."""
    lines = [["samples", "score", "metric", "best", "step"]]
    for _, row in best.iterrows():
        metric = METRICS[row["metric"]]
        value = with_deviation(row["value"], row["std"], metric)
        lines.append(
            [row["samples"], row["score"], metric.name, value, f"{row['training_step']:,}"]
        )
    return "\n".join(aligned(lines, names=3))


def aligned(lines: list[list[str]], names: int = 0, gap: int = 3) -> list[str]:
    """Return rows of cells as indented, aligned lines: the first `names` columns left, others
    right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        [
            cell.ljust(width) if column < names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    )
    return ["  " + (" " * gap).join(cells).rstrip() for cells in padded]
