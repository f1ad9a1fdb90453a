"""Figures of a sweep's scores and losses against training steps: a line per setting, a band over
seeds."""

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.config.sweep_members import members
from ddpm_bench.report.figures.axes import (
    PlainNumbers,
    is_wide,
    make_logarithmic,
    scale_losses,
    scale_steps,
)
from ddpm_bench.report.figures.loss_figure import MOST_SMOOTHED, SMOOTHED_SHARE
from ddpm_bench.report.figures.style import (
    COLOURS,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    empty_figure,
    house_style,
    new_figure,
    write_legend,
    write_notes,
)
from ddpm_bench.report.sweeps.sweep_panels import (
    NO_SCORES,
    ScoredAlike,
    failure_notes,
    scored_alike,
    write_title,
)
from ddpm_bench.report.sweeps.sweep_ranking import ranked
from ddpm_bench.report.sweeps.sweep_table import setting_keys, setting_name
from ddpm_bench.report.tables.losses import read_losses
from ddpm_bench.report.tables.score_tables import SCORED

MOST_COLOURS = 8  # the best settings, which have a colour and a legend entry
OTHERS = "0.75"
LONGEST_NAME = 40  # characters of a line of the legend
SMOOTHED_RATIO = 4  # highest over median running mean from which losses are on a log axis


def score_curves_figure(stage: SweepStage, table: pd.DataFrame, evaluation: pd.DataFrame) -> Figure:
    """Draw a panel for each way to score. evaluation: all scores of all members."""
    title = f"{stage.sweep}: scores against training steps"
    panels = [panel for panel in scored_alike(table) if not panel.measured.empty]
    if not panels:
        return empty_figure(title, NO_SCORES)
    settings = settings_of_members(stage)
    height = panel_height(settings.values())
    with house_style():
        figure = new_figure(title, PANEL_WIDTH + 1, len(panels) * height + 0.8, hspace=0.04)
        grid = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, panel in zip(grid, panels, strict=True):
            first = panel.rows.iloc[0]
            same = (evaluation[SCORED] == first[SCORED]).all(axis=1)
            rows = evaluation[same].dropna(subset=[panel.metric.column])
            curves = pd.DataFrame(
                {
                    "setting": rows["experiment"].map(settings),
                    "member": rows["experiment"],
                    "step": rows["training_step"].astype("int64"),
                    "value": rows[panel.metric.column],
                }
            )
            draw_curves(axes, curves, best_first(stage, panel), markers=True)
            scale_scores(axes, curves, panel)
            write_title(axes, panel)
            axes.set(xlabel="training steps", ylabel=panel.label().replace("best checkpoint, ", ""))
            scale_steps(axes, curves["step"])
            write_notes(axes, [*notes_of(curves), *failure_notes(panel.rows)])
    return figure


def loss_curves_figure(stage: SweepStage, table: pd.DataFrame, results: Path) -> Figure:
    """Draw the training losses of all members as running means."""
    title = f"{stage.sweep}: training loss"
    curves = losses(stage, results)
    if curves.empty:
        return empty_figure(title, "No loss has been recorded yet.")
    panels = [panel for panel in scored_alike(table) if not panel.measured.empty]
    order = best_first(stage, panels[0]) if panels else []
    with house_style():
        figure = new_figure(title, PANEL_WIDTH + 1, panel_height(curves["setting"]) + 0.8)
        axes = figure.subplots()
        draw_curves(axes, curves, order, markers=False)
        scale_losses(axes, curves["value"], SMOOTHED_RATIO)
        scale_steps(axes, curves["step"])
        axes.set(xlabel="training steps")
        write_notes(axes, [*notes_of(curves), *comparable(stage), *failure_notes(table)])
    return figure


def panel_height(settings: Iterable[str]) -> float:
    """Return the height of a panel in inches that its legend needs."""
    lines = sorted((legend_name(name).count("\n") + 1 for name in set(settings)), reverse=True)
    return max(PANEL_HEIGHT, 1.0 + 0.28 * sum(lines[:MOST_COLOURS])) + 1.4


def settings_of_members(stage: SweepStage) -> dict[str, str]:
    """Return the name of each member's setting."""
    found = members(stage.sweep, stage.swept)
    return {member: setting_name(stage, values) for member, values in found.items()}


def best_first(stage: SweepStage, panel: ScoredAlike) -> list[str]:
    """Return the names of the settings that have a value, the best mean first."""
    names = settings_of_members(stage)
    measured, keys = panel.measured, setting_keys(stage)
    found = []
    for row in ranked(measured, panel.metric, keys):
        own = measured
        for key in keys:
            own = own[own[key] == row[key]]
        found.append(names[own["member"].iloc[0]])
    return found


def losses(stage: SweepStage, results: Path) -> pd.DataFrame:
    """Return the running mean of each member's loss; columns setting, member, step, value."""
    parts = []
    for member, setting in settings_of_members(stage).items():
        path = results / member / "metrics.csv"
        if not path.exists():
            continue
        rows = read_losses(path).dropna(subset=["loss"]).sort_values("step")
        window = min(max(1, len(rows) // SMOOTHED_SHARE), MOST_SMOOTHED)
        smooth = rows["loss"].rolling(window, center=True, min_periods=1).mean()
        steps = rows["step"].astype("int64")
        parts.append(
            pd.DataFrame({"setting": setting, "member": member, "step": steps, "value": smooth})
        )
    columns = ["setting", "member", "step", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def draw_curves(axes: Axes, curves: pd.DataFrame, order: list[str], markers: bool) -> None:
    """Draw the mean of each setting's members at each step, and a band of one standard deviation.

    There is a band where a setting has several members. The legend has the best settings, all
    others are grey. order: settings, the best first; settings that are not in it follow.
    """
    drawn = list(dict.fromkeys([*order, *curves["setting"]]))
    drawn = [name for name in drawn if name in set(curves["setting"])]
    colours = dict(colours_of(drawn))
    for setting in reversed(drawn):
        colour, grey = colours[setting], colours[setting] == OTHERS
        by_step = curves[curves["setting"] == setting].groupby("step")["value"]
        mean, std, count = by_step.mean(), by_step.std(), by_step.count()
        axes.plot(
            mean.index, mean, color=colour, linewidth=1.2 if grey else 2.4,
            marker="o" if markers else None, markersize=4 if grey else 7,
            zorder=2 if grey else 4,
        )  # fmt: skip
        if (count > 1).any() and not grey:
            spread = std.where(count > 1)
            axes.fill_between(
                mean.index, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0
            )
    style = {"linewidth": 2.4, "marker": "o" if markers else None}
    handles = [
        Line2D([], [], color=colours[name], label=legend_name(name), **style)
        for name in drawn
        if colours[name] != OTHERS
    ]
    if len(drawn) > len(handles):
        label = f"{len(drawn) - len(handles)} other settings"
        handles.append(Line2D([], [], color=OTHERS, linewidth=1.2, label=label))
    write_legend(
        axes, handles, fontsize=12.5, handlelength=2.2, title="best first" if order else None,
        alignment="left", title_fontsize=13,
    )  # fmt: skip


def legend_name(setting: str) -> str:
    """Return the name of a setting, wrapped into lines."""
    return "\n".join(textwrap.wrap(setting, LONGEST_NAME))


def colours_of(settings: list[str]) -> Iterator[tuple[str, object]]:
    """Yield each setting with its colour, from dark to light in their order, then grey."""
    shown = settings[:MOST_COLOURS]
    few = len(shown) <= 4
    for index, setting in enumerate(settings):
        if index >= MOST_COLOURS:
            yield setting, OTHERS
        elif few:
            yield setting, COLOURS[index]
        else:
            yield setting, colormaps["viridis"](0.92 * index / (len(shown) - 1))


def notes_of(curves: pd.DataFrame) -> list[str]:
    """Return a note on lines and bands if a setting has several members."""
    several = curves.groupby("setting")["member"].nunique().max()
    if several < 2:
        return []
    return ["Lines are means over the seeds of a setting, bands one standard deviation."]


def comparable(stage: SweepStage) -> list[str]:
    """Return a note on swept keys that change the meaning of the loss."""
    kinds = ("diffusion.", "train.min_snr_gamma", "train.offset_noise", "dataset", "autoencoder")
    found = [path for path in sorted(stage.swept.keys) if path.startswith(kinds)]
    if not found:
        return []
    return [f"{', '.join(found)} changes what the loss measures: compare scores, not losses."]


def scale_scores(axes: Axes, curves: pd.DataFrame, panel: ScoredAlike) -> None:
    """Make the axis logarithmic for a wide range, else begin it at 0 if none can be negative."""
    low, high = curves["value"].min(), curves["value"].max()
    if panel.metric.lower_is_better and is_wide(low, high):
        make_logarithmic(axes.yaxis)
    else:
        axes.yaxis.set_major_formatter(PlainNumbers(0 if low >= 0 else -np.inf))
        if panel.metric.never_negative:
            axes.set_ylim(bottom=0)
