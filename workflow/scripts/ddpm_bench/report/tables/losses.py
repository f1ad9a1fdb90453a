"""Reading of a training's losses from metrics.csv."""

import io
from pathlib import Path

import pandas as pd

from ddpm_bench.errors import UserError
from ddpm_bench.files import read_if_there, sha256
from ddpm_bench.records.json_record import read_record
from ddpm_bench.records.layout import state_folder

COLUMNS = ["step", "images_seen", "loss", "learning_rate"]
SKIPPED = "skipped_steps"  # total so far; older tables of losses lack this column


def read_losses(path: Path) -> pd.DataFrame:
    """Read metrics.csv of a training, which may be running: an incomplete last line is left out.

    Returns float64 columns: COLUMNS, and SKIPPED if the file has it. Raises UserError if the file
    is damaged, cannot be read or lacks columns.
    """
    _check(path)
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


def _check(path: Path) -> None:
    """Raise UserError if the published metrics.csv of a training is that of none of its states.

    Each saved state has the rows so far with their checksum, and they are published with it. A
    table without rows, of a training that failed before its first state, passes.
    """
    current = path.parent / "training" / "current.json"
    if not (path.exists() and current.exists()) or path.read_bytes().count(b"\n") == 1:
        return
    # Before the states are listed: a running training may save another one meanwhile.
    published = sha256(path)
    name = read_record(current, "fingerprint")["fingerprint"]
    states = state_folder(path.parent.parent, path.parent.name, name).parent
    saved = {
        folder: description["sha256"]["metrics.csv"]
        for folder in sorted(states.glob("step-*"), reverse=True)
        if (description := read_if_there(folder / "state.json")) is not None
    }
    if not saved or published in saved.values():
        return
    whole = [
        folder
        for folder, expected in saved.items()
        if (folder / "metrics.csv").exists() and sha256(folder / "metrics.csv") == expected
    ]
    remedy = f"copy {whole[0] / 'metrics.csv'} to its place" if whole else "train again"
    raise UserError(f"{path}: damaged (it is that of no saved state of its training); {remedy}")
