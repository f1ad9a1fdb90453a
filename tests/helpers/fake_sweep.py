"""Files of a sweep without a training: scores, losses and failures of its members."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from fake_results import score, write_losses, write_score

from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.config.sweep_members import members
from ddpm_bench.records.scores import METRICS
from ddpm_bench.report.tables import score_tables

KEYS = {
    "model.dim": [16, 24, 32],
    "train.learning_rate": [0.0005, 0.001, 0.002],
    "train.seed": [0, 1, 2],
}
OUT_OF_MEMORY = {
    "status": "out of memory",
    "reason": "3.2 GB more could not be had; a process may take 2,000 MB: lower batch_size",
    "step": 0,
    "how": {},
}
# What values of keys add to FID.
EFFECTS = {"16": 4.0, "24": 1.0, "32": 0.0, "0.0005": 3.0, "0.001": 0.0, "0.002": 0.4}


def stage_of(keys: dict[str, list[Any]] | None = None, **swept: Any) -> SweepStage:
    return SweepStage.model_validate(
        {"version": 1, "sweep": "digits", "swept": {"keys": keys or KEYS, **swept}}
    )


def write_member(
    results: Path,
    name: str,
    values: dict[str, Any],
    failed: dict[str, Any] | None = None,
    checkpoints: int = 4,
    made: int | None = None,
    **changed: Any,
) -> None:
    """A member's tables, loss and manifest. made: checkpoints before it failed."""
    noise = np.random.default_rng(sum(map(ord, name)))
    made = (0 if failed else checkpoints) if made is None else made
    worse = sum(EFFECTS.get(json.dumps(value), 0.0) for value in values.values())
    files = []
    for number in range(1, checkpoints + 1):
        record = score(number / checkpoints, worse + noise.normal(0, 0.5), **changed)
        if number > made:
            record |= dict.fromkeys(METRICS)
            record |= {"fid_std": None, "kid_std": None, "is_std": None, "images_generated": 0}
            record["warning"] = f"no images: {OUT_OF_MEMORY['status']}: {OUT_OF_MEMORY['reason']}"
        files.append(write_score(results, name, "dpm20", "classifier", 300 * number, record))
    evaluation = score_tables.evaluation_table(files, experiment=name, dataset="digits-16")
    score_tables.write_table(results / name / "report" / "evaluation_results.csv", evaluation)
    write_losses(results / name / "metrics.csv", rows=30 * made, worse=worse + noise.normal(0, 0.2))
    manifest = results / name / "training" / "job-00000000-00001200.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"checkpoints": []} | ({"failed": failed} if failed else {})))
    if made:
        events = [
            {"time": "2026-01-01T00:00:00+00:00", "event": "started", "step": 0},
            {"time": f"2026-01-01T00:0{math.ceil(made / 2)}:00+00:00", "event": "job ended",
             "step": 300 * made},
        ]  # fmt: skip
        lines = "".join(json.dumps(event) + "\n" for event in events)
        (results / name / "progress.jsonl").write_text(lines)


def write_sweep_results(
    results: Path, stage: SweepStage, failing: dict[str, Any] | None = None, **changed: Any
) -> list[str]:
    """All members; those that have all the values of `failing` have run out of memory."""
    found = members(stage.sweep, stage.swept)
    for name, values in found.items():
        fails = bool(failing) and all(values[path] == value for path, value in failing.items())
        write_member(results, name, values, OUT_OF_MEMORY if fails else None, **changed)
    return list(found)
