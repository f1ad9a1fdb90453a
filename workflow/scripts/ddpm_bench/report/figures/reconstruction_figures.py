"""Figures and a table of an autoencoder's reconstruction errors and code use."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json
from ddpm_bench.images.grid import spread
from ddpm_bench.images.sample_files import open_sample_file
from ddpm_bench.records.checksums import open_array
from ddpm_bench.report.figures.axes import PlainNumbers, label_plainly, scale_steps
from ddpm_bench.report.figures.sample_pictures import tiled
from ddpm_bench.report.figures.style import (
    COLOURS,
    PANEL_WIDTH,
    house_style,
    new_figure,
    write_notes,
)
from ddpm_bench.report.text import number

COLUMNS = [
    *("autoencoder", "training_step", "images", "mse", "psnr_db"),
    *("codebook", "codes", "used_share", "perplexity", "warning"),
]
PAIRS = 12  # images in a row of reconstructions
ROWS = 2
HEIGHT = 4.4  # inches of each panel
MOST_MARKERS = 30


def read_summaries(files: list[Path]) -> list[dict[str, Any]]:
    """Read the summary.json of each checkpoint, by training step. Raises UserError for another
    file."""
    summaries = []
    for path in files:
        try:
            summary = read_json(path)
            summaries.append({key: summary[key] for key in ("step", "images", "mse", "psnr_db")})
            summaries[-1] |= {key: summary[key] for key in ("codebooks", "warning")}
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path}: cannot be read as a summary of reconstructions ({error}); delete it and "
                "run snakemake again"
            ) from None
    return sorted(summaries, key=lambda summary: summary["step"])


def use_table(summaries: list[dict[str, Any]], autoencoder: str) -> pd.DataFrame:
    """Return a row per checkpoint and codebook; columns: COLUMNS."""
    rows = [
        {
            "autoencoder": autoencoder,
            "training_step": summary["step"],
            **{key: summary[key] for key in ("images", "mse", "psnr_db", "warning")},
            "codebook": number,
            **{key: codebook[key] for key in ("codes", "used_share", "perplexity")},
        }
        for summary in summaries
        for number, codebook in enumerate(summary["codebooks"], 1)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def use_figure(summaries: list[dict[str, Any]], autoencoder: str) -> Figure:
    """Draw errors and perplexities against training steps, and the latest use of each code."""
    table, last = use_table(summaries, autoencoder), summaries[-1]
    with house_style():
        title = f"{autoencoder}: {last['images']:,} images reconstructed"
        figure = new_figure(title, PANEL_WIDTH, 3 * HEIGHT + 0.8, hspace=0.05)
        errors, use, counts = figure.subplots(3)
        draw_errors(errors, table)
        draw_perplexity(use, table)
        draw_counts(counts, last)
        if last["warning"]:
            write_notes(counts, [f"Warning: {last['warning']}"])
    return figure


def draw_errors(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the PSNR of each checkpoint."""
    rows = table.drop_duplicates("training_step").dropna(subset=["psnr_db"])
    line(axes, rows, "psnr_db", COLOURS[0], "")
    best = rows.loc[rows["psnr_db"].idxmax()] if len(rows) else None
    if best is not None:
        axes.set_title(
            f"best {best['psnr_db']:.2f} dB (mean squared error {number(best['mse'])}) at step "
            f"{best['training_step']:,}",
            fontsize=15,
        )  # fmt: skip
    axes.set_ylabel("PSNR, dB")
    axes.yaxis.set_major_formatter(PlainNumbers(0))
    scale_steps(axes, table["training_step"])
    axes.set_xlabel("training steps")


def draw_perplexity(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the perplexity of each codebook, and the number of codes as a line."""
    several = table["codebook"].nunique() > 1
    for index, (codebook, rows) in enumerate(table.groupby("codebook")):
        latest = rows.iloc[-1]
        name = f"codebook {codebook}: " if several else ""
        name += f"{latest['perplexity']:.0f} of {latest['codes']:,} codes, "
        name += f"{latest['used_share']:.0%} used at least once"
        line(axes, rows, "perplexity", COLOURS[index % len(COLOURS)], name)
    most = table["codes"].max()
    axes.axhline(most, color="0.25", linewidth=1.8, linestyle=(0, (5, 3)), zorder=1)
    axes.annotate(
        f"{most:,} codes", (0, most), xytext=(4, -4), xycoords=axes.get_yaxis_transform(),
        textcoords="offset points", va="top", fontsize=13, color="0.25",
    )  # fmt: skip
    axes.set_ylim(0, 1.08 * most)
    axes.set_ylabel("perplexity of the codes")
    axes.set_xlabel("training steps")
    label_plainly(axes.yaxis, whole=True)
    scale_steps(axes, table["training_step"])
    axes.legend(loc="lower right", fontsize=13)


def draw_counts(axes: Axes, summary: dict[str, Any]) -> None:
    """Draw the share of latents of each code at the last checkpoint, the most used code first."""
    several = len(summary["codebooks"]) > 1
    for index, codebook in enumerate(summary["codebooks"]):
        counts = np.sort(np.array(codebook["counts"]))[::-1] / max(codebook["chosen"], 1)
        axes.step(
            np.arange(1, len(counts) + 1), counts, where="mid", linewidth=2.2,
            color=COLOURS[index % len(COLOURS)], label=f"codebook {index + 1}",
        )  # fmt: skip
        even = 1 / len(counts)
    axes.axhline(even, color="0.25", linewidth=1.8, linestyle=(0, (5, 3)), zorder=1)
    axes.annotate(
        "all equally often", (1, even), xytext=(-4, 4), xycoords=axes.get_yaxis_transform(),
        textcoords="offset points", ha="right", fontsize=13, color="0.25",
    )  # fmt: skip
    axes.set_xlabel(f"codes at step {summary['step']:,}, the most used first")
    axes.set_ylabel("share of latents")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2%}")
    if several:
        axes.legend(loc="upper right", fontsize=13)


def line(axes: Axes, rows: pd.DataFrame, column: str, colour: Any, label: str) -> None:
    """Draw one column of a table against training steps."""
    axes.plot(
        rows["training_step"], rows[column], color=colour, linewidth=2.2, marker="o",
        markersize=7 if len(rows) <= MOST_MARKERS else 0, label=label,
    )  # fmt: skip


def pairs_figure(images: Path, reconstructions: Path, step: int, autoencoder: str) -> Figure:
    """Draw images, evenly spread over the file, above their reconstructions."""
    reconstructed = open_sample_file(reconstructions)
    original = open_array(images)[: len(reconstructed)]
    shown = spread(len(reconstructed), PAIRS * ROWS)
    rows = [shown[start : start + PAIRS] for start in range(0, len(shown), PAIRS)]
    with house_style():
        figure = Figure((PANEL_WIDTH, 2.25 * len(rows) + 0.7), layout="constrained")
        figure.get_layout_engine().set(hspace=0.02)
        figure.suptitle(
            f"{autoencoder}: images (above) and their reconstructions (below), "
            f"step {step:,}",
            fontsize=17, fontweight="bold",
        )  # fmt: skip
        for axes, row in zip(figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True):
            pairs = [np.stack([original[index], reconstructed[index]]) for index in row]
            canvas, _ = tiled(pairs)
            axes.imshow(canvas, interpolation="none")
            axes.axis("off")
    return figure
