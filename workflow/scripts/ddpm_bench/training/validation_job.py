"""The validation of a training job's checkpoints: from its manifest to a table of losses."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ddpm_bench.config.training import TrainRun, ValidateStage
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.records.checksums import open_array
from ddpm_bench.records.json_record import read_record


@dataclass(frozen=True)
class ValidationRequest:
    """The arguments of validate.py. eval, train: images of a split, uint8 [N, H, W, C], .npy."""

    what: ValidateStage
    how: TrainRun
    manifest: Path
    eval: Path
    train: Path
    output: Path


def validate(request: ValidationRequest) -> None:
    """Measure the losses of a training job's checkpoints and write them, one row each, as CSV.

    The table of a training that failed before its first checkpoint is empty, and so is that of a
    split without images. Checkpoints that are thinned are left out.
    """
    if not read_record(request.manifest, "checkpoints")["checkpoints"]:
        _write_losses(request.output, [])
        return
    with lease(1):
        _write_losses(request.output, _losses(request))


def _write_losses(path: Path, rows: list[dict[str, float]]) -> None:
    """Write rows of losses as a table."""
    import pandas as pd

    from ddpm_bench.report.tables.score_tables import VALIDATION_COLUMNS, write_table

    write_table(path, pd.DataFrame(rows, columns=VALIDATION_COLUMNS))


def _losses(request: ValidationRequest) -> list[dict[str, float]]:
    """Return a row of losses for each checkpoint that is not thinned."""
    # torch is imported after the lease, which decides the GPUs that it sees.
    from ddpm_bench.config.training import VALIDATION_BATCH
    from ddpm_bench.machine.compute_device import compute_device
    from ddpm_bench.training.manifests import is_thinned, load_checkpoint
    from ddpm_bench.training.validation import Validator

    manifest, run = request.manifest, request.how
    device = compute_device(run.cpus)
    paths = (request.eval, request.train)
    splits = [open_array(path) for path in paths]
    batch_size = min(VALIDATION_BATCH, run.micro_batch_size or VALIDATION_BATCH)
    validator = Validator(request.what, *splits, device, batch_size)
    images, wanted = validator.images, request.what.validation.images
    if images < wanted:
        print(f"{images} images of each split, not {wanted}: one has no more", file=sys.stderr)

    checkpoints = read_record(manifest, "checkpoints")["checkpoints"]
    steps = [entry["step"] for entry in checkpoints if "ema_sigma_rel" not in entry]
    steps = steps if images else []  # nothing to measure, and nothing to draw
    if gone := [step for step in steps if is_thinned(manifest, step)]:
        print(f"left out, as `keep` has removed their weights: steps {gone}", file=sys.stderr)
        steps = [step for step in steps if step not in gone]
    name = f"validate {request.output.absolute().parent.parent.name}"
    with tqdm(total=len(steps) * images, desc=name, unit="image", dynamic_ncols=True) as bar:
        return [validator.row(step, load_checkpoint(manifest, step), bar.update) for step in steps]
