"""Reading of a training's losses from metrics.csv."""

import io
from pathlib import Path

import pandas as pd

from ddpm_bench.errors import UserError

COLUMNS = ["step", "images_seen", "loss", "learning_rate"]
SKIPPED = "skipped_steps"  # total so far; older tables of losses lack this column


def read_losses(path: Path) -> pd.DataFrame:
    """Read metrics.csv of a training, which may be running: an incomplete last line is left out.

    Returns float64 columns: COLUMNS, and SKIPPED if the file has it. Raises UserError if the file
    cannot be read or lacks columns.
    """
    try:
        complete, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        losses = pd.read_csv(io.StringIO(complete))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a training's metrics ({error})") from None
    lacking = [name for name in COLUMNS if name not in losses.columns]
    if lacking:
        raise UserError(
            f"{path}: lacks the columns {', '.join(lacking)}; give the metrics.csv of a training"
        )
    known = [*COLUMNS, *(name for name in (SKIPPED,) if name in losses.columns)]
    return losses[known].apply(pd.to_numeric, errors="coerce").astype("float64")
