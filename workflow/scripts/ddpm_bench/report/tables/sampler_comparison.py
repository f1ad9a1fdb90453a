"""Tables that compare samplers at one checkpoint: scores against seconds per image.

A sampler is the set of all keys that determine a set's images, except the number of steps, seed and
batch size.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from ddpm_bench.config.messages import described
from ddpm_bench.config.sampling import Drawing
from ddpm_bench.errors import UserError
from ddpm_bench.records.samples import SampleTiming
from ddpm_bench.records.scores import METRICS

QUALITIES = ("fid", "kid_mean")
WITHIN = 0.05  # share of a sampler's best value within which another is as good

# A sampler's options, as columns of the table.
OPTIONS = [
    "scheduler", "solver_order", "karras_sigmas", "eta", "variance", "timestep_spacing",
    "timesteps", "ema_sigma_rel", "batch_size", "seed",
]  # fmt: skip
SCORES = [
    *dict.fromkeys(
        column
        for metric in METRICS.values()
        for column in (metric.column, metric.std)
        if column is not None
    )
]
SCORED = ["score", "feature_space", "reference", "fid_backend", "fid_reference"]
COLUMNS = [
    *("experiment", "dataset", "training_step", "samples", "sampler", "steps"),
    *OPTIONS,
    *("sampling_precision", "network_evaluations", "seconds_per_image", "device"),
    *SCORED,
    *("images_generated", "images_reference", "feature_dimensions"),
    *SCORES,
    *(f"on_pareto_front_{column}" for column in QUALITIES),
    "warning",
]
# Values and seconds are comparable within a group of equal values of these columns.
COMPARED = [*SCORED, "device"]
STEPS_COLUMNS = [
    *("experiment", "dataset", "training_step", "sampler", *COMPARED),
    *("metric", "best_value", "best_steps", "value", "steps", "seconds_per_image"),
    "step_counts",
]

_TIMING_PATH = re.compile(r"/samples/(?P<samples>[^/]+)/step-\d{8}/images-\d+-\d+\.json$")


def read_timings(files: list[Path]) -> pd.DataFrame:
    """Return a row per set of samples with its time per image.

    Columns: samples, seconds_per_image, device, sampling_precision, network_evaluations. A set
    drawn on several devices has all their names, since its seconds belong to no single one. Raises
    UserError for a file that is no timing.
    """
    parts: dict[str, list[SampleTiming]] = {}
    for path in files:
        place = _TIMING_PATH.search(path.absolute().as_posix())
        if place is None:
            raise UserError(
                f"{path}: is not named as the timing of samples is; give files named "
                "<experiment>/samples/<set>/step-<8 digits>/images-<first>-<last>.json"
            )
        try:
            timing = SampleTiming.read(path)
        except (OSError, ValidationError) as error:
            raise UserError(
                f"{path}: cannot be read as a timing of samples ({described(error)}); "
                "draw them again"
            ) from None
        parts.setdefault(place["samples"], []).append(timing)
    rows = [
        {
            "samples": name,
            "seconds_per_image": sum(one.seconds for one in timings)
            / sum(one.images for one in timings),
            "device": " and ".join(sorted({one.device for one in timings})),
            "sampling_precision": timings[0].precision,
            "network_evaluations": timings[0].network_evaluations,
        }
        for name, timings in parts.items()
    ]
    columns = ["samples", "seconds_per_image", "device", "sampling_precision"]
    return pd.DataFrame(rows, columns=[*columns, "network_evaluations"])


def sampler_name(drawing: Drawing) -> str:
    """Return a sampler in words, like "dpmsolver++ order 3, Karras".

    Two have the same name if all of their keys except steps, seed and batch_size are equal.
    """
    parts = [drawing.scheduler]
    if drawing.solver_order is not None:
        parts[0] += f" order {drawing.solver_order}"
    if drawing.karras_spaced():
        parts.append("Karras")
    if drawing.eta:
        parts.append(f"eta {drawing.eta:g}")
    if drawing.variance == "fixed-large":  # the other is the default
        parts.append(drawing.variance)
    if drawing.timesteps is not None:
        parts.append(f"at {timesteps_label(drawing)}")
    elif drawing.timestep_spacing != Drawing().timestep_spacing:
        parts.append(drawing.timestep_spacing)
    if drawing.ema_sigma_rel is not None:
        parts.append(f"EMA {drawing.ema_sigma_rel:g}")
    if drawing.precision != Drawing().precision:
        parts.append(drawing.precision)
    return ", ".join(parts)


def timesteps_label(drawing: Drawing) -> str:
    """Return a set's own timesteps in a line, like "999-219/20 199-0/1"; empty if it has none."""
    items = json.loads(drawing.model_dump_json(by_alias=True))["timesteps"] or []
    return " ".join(
        str(item) if isinstance(item, int) else f"{item['from']}-{item['to']}/{item['every']}"
        for item in items
    )


def comparison_table(
    evaluation: pd.DataFrame, timings: pd.DataFrame, sets: dict[str, Drawing], step: int
) -> pd.DataFrame:
    """Return a row per set with timings and way to score, at the checkpoint of a training step.

    evaluation: a `score_tables.evaluation_table` of one experiment.
    """
    options = pd.DataFrame(
        [{"samples": name, **options_of(drawing)} for name, drawing in sets.items()],
        columns=["samples", "sampler", "steps", *OPTIONS],
    )
    rows = evaluation[evaluation["training_step"] == step]
    rows = rows.merge(timings, on="samples").merge(options, on="samples")
    for column in QUALITIES:
        rows[f"on_pareto_front_{column}"] = False
        for _, group in rows.groupby(COMPARED):
            rows.loc[group.index, f"on_pareto_front_{column}"] = on_pareto_front(
                group["seconds_per_image"].to_numpy(), group[column].to_numpy()
            )
    return rows.sort_values([*COMPARED, "sampler", "steps", "samples"])[COLUMNS].reset_index(
        drop=True
    )


def options_of(drawing: Drawing) -> dict[str, Any]:
    """Return a set's keys by column of the table; keys that are not set are empty."""
    keys = drawing.model_dump(mode="json")
    return {
        "sampler": sampler_name(drawing),
        "steps": drawing.solver_steps(),
        **{name: keys[name] for name in OPTIONS},
        "karras_sigmas": drawing.karras_spaced(),
        "timesteps": timesteps_label(drawing),
    }


def on_pareto_front(seconds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return True for each point that no other beats: none is as good in both and better in one.

    Lower is better in both. Arrays are float64 [N]; a point without a value (NaN) is never on the
    front.
    """
    no_slower = seconds[None] <= seconds[:, None]
    no_worse = values[None] <= values[:, None]
    better = (seconds[None] < seconds[:, None]) | (values[None] < values[:, None])
    return ~np.isnan(values) & ~(no_slower & no_worse & better).any(axis=1)


def steps_to_quality(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the fewest steps of each sampler that come within 5% of its best value.

    A row per sampler, way to score and metric; compared: a `comparison_table`.
    """
    rows = []
    same = ["experiment", "dataset", "training_step", "sampler", *COMPARED]
    for names, group in compared.groupby(same, sort=True):
        for column in QUALITIES:
            measured = group.dropna(subset=[column]).sort_values(["steps", column])
            if measured.empty:
                continue
            best = measured.loc[measured[column].idxmin()]
            near = best[column] + WITHIN * abs(best[column])
            first = measured[measured[column] <= near].iloc[0]
            rows.append(
                {
                    **dict(zip(same, names, strict=True)),
                    "metric": column,
                    "best_value": best[column],
                    "best_steps": best["steps"],
                    "value": first[column],
                    "steps": first["steps"],
                    "seconds_per_image": first["seconds_per_image"],
                    "step_counts": measured["steps"].nunique(),
                }
            )
    return pd.DataFrame(rows, columns=STEPS_COLUMNS)
