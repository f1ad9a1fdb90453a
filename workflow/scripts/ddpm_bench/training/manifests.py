"""Reading of the checkpoints that manifests of training jobs name."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, sha256


def average_name(sigma_rel: float | None) -> str:
    """Return the name of an average in files: ema, or ema-0.05 for a power-function one.

    sigma_rel: the width of the power-function average; None for the one of train.ema_decay.
    """
    return "ema" if sigma_rel is None else f"ema-{sigma_rel:g}"


def read_thinned(record: Path) -> dict[str, dict[str, Any]]:
    """Return the checkpoints that `keep` has removed, by file name; {} where there is no record."""
    return read_json(record) if record.exists() else {}


def checkpoint_entry(
    manifest_path: Path, step: int, sigma_rel: float | None = None
) -> dict[str, Any]:
    """Return a manifest's entry of a step's averaged weights: step, file, sha256.

    Raises UserError when it has no such checkpoint.
    """
    entries = {
        entry["step"]: entry
        for entry in read_json(manifest_path)["checkpoints"]
        if entry.get("ema_sigma_rel") == sigma_rel
    }
    if step not in entries:
        average = "" if sigma_rel is None else f" and ema_sigma_rel {sigma_rel:g}"
        raise UserError(
            f"{manifest_path}: has no checkpoint of step {step}{average}; it has "
            f"{', '.join(map(str, entries)) or 'none'}"
        )
    return entries[step]


def load_checkpoint(
    manifest_path: Path, step: int, sigma_rel: float | None = None
) -> dict[str, torch.Tensor]:
    """Return the averaged weights that a manifest names for a step: float32, by name, on the CPU.

    Raises UserError as `checkpoint_file` does.
    """
    return load_file(checkpoint_file(manifest_path, step, sigma_rel))


def checkpoint_file(manifest_path: Path, step: int, sigma_rel: float | None = None) -> Path:
    """Return the file of averaged weights that a manifest names for a step; check its sha256.

    sigma_rel: the width of the average; None for the one of train.ema_decay. Raises UserError when
    the manifest has no such checkpoint, or the file is thinned, missing or changed.
    """
    entry = checkpoint_entry(manifest_path, step, sigma_rel)
    path = manifest_path.parent.parent / entry["file"]
    remedy = (
        f"delete {manifest_path} and run snakemake again: it comes back from the training folder"
    )
    if not path.exists():
        if is_thinned(manifest_path, step, sigma_rel):
            raise UserError(_thinned_away(path, step, sigma_rel))
        raise UserError(f"{path}: this checkpoint is missing; {remedy}")
    if sha256(path) != entry["sha256"]:
        raise UserError(
            f"{path}: not the weights that its manifest names (sha256 differs); {remedy}"
        )
    return path


def is_thinned(manifest_path: Path, step: int, sigma_rel: float | None = None) -> bool:
    """Return True if `keep` has removed the weights that a manifest names for a step."""
    name = Path(checkpoint_entry(manifest_path, step, sigma_rel)["file"]).name
    training = manifest_path.parent / read_json(manifest_path)["fingerprint"]
    return name in read_thinned(training / "thinned.json")


def _thinned_away(path: Path, step: int, sigma_rel: float | None) -> str:
    """Return the error of weights that `keep` has removed, with the steps that are left."""
    average = "" if sigma_rel is None else f".{average_name(sigma_rel)}"
    there = [
        str(int(found.name.removeprefix("step-")[:8]))
        for found in sorted(path.parent.glob(f"step-{'[0-9]' * 8}{average}.safetensors"))
    ]
    return (
        f"{path}: the weights of step {step} were removed by `keep` and do "
        f"not come back; there are those of steps {', '.join(there)}. Let the set of samples ask "
        f"for these only (checkpoints: [{', '.join(there)}]), or train again under another "
        "results_dir, without `keep`"
    )
