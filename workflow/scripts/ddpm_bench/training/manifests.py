"""Reading of the checkpoints that manifests of training jobs name."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256
from ddpm_bench.records.json_record import read_record
from ddpm_bench.records.layout import average_name


def read_thinned(record: Path) -> dict[str, dict[str, Any]]:
    """Return the checkpoints that `keep` has removed, by file name; {} where there is no record."""
    remedy = "put back a copy of it: without it, what `keep` has removed would be trained again"
    return read_record(record, remedy=remedy) if record.exists() else {}


def current_fingerprint(training: Path) -> str:
    """Return the fingerprint of the training that an experiment shows, by current.json.

    Without that file it is the training that all manifests are of. Raises UserError if there are
    several, or current.json is damaged.
    """
    marker = training / "current.json"
    if marker.exists():
        return str(read_record(marker, "fingerprint")["fingerprint"])
    manifests = sorted(training.glob("job-*.json"))
    found = {read_record(path, "fingerprint")["fingerprint"] for path in manifests}
    if len(found) != 1:
        last = manifests[-1] if manifests else training / "job-*.json"
        raise UserError(
            f"{marker}: missing, and the jobs here are of {len(found)} trainings; delete {last} "
            "and run snakemake again, which writes both without training a step again"
        )
    return str(found.pop())


def checkpoint_entry(
    manifest_path: Path, step: int, sigma_rel: float | None = None
) -> dict[str, Any]:
    """Return a manifest's entry of a step's averaged weights: step, file, sha256.

    Raises UserError when it has no such checkpoint.
    """
    entries = {
        entry["step"]: entry
        for entry in read_record(manifest_path, "checkpoints")["checkpoints"]
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
    if not path.exists():
        if is_thinned(manifest_path, step, sigma_rel):
            raise UserError(_thinned_away(path, step, sigma_rel))
        raise UserError(f"{path}: this checkpoint is missing; {_remedy(manifest_path, entry)}")
    if sha256(path) != entry["sha256"]:
        raise UserError(
            f"{path}: not the weights that its manifest names (sha256 differs); "
            f"{_remedy(manifest_path, entry)}"
        )
    return path


def _remedy(manifest_path: Path, entry: dict[str, Any]) -> str:
    """Return the way back to weights that are missing or damaged where they are published.

    The published file is in most cases a hard link of the training folder's, and damaged with it.
    """
    kept = _training_folder(manifest_path) / "checkpoints" / Path(entry["file"]).name
    if kept.exists() and sha256(kept) == entry["sha256"]:
        return f"delete {manifest_path} and run snakemake again: it comes back from {kept}"
    going = f"{kept} and {manifest_path}" if kept.exists() else str(manifest_path)
    return f"delete {going} and run snakemake again: it is trained again from the state before it"


def _training_folder(manifest_path: Path) -> Path:
    """Return the folder of the training that a manifest is of."""
    return manifest_path.parent / read_record(manifest_path, "fingerprint")["fingerprint"]


def is_thinned(manifest_path: Path, step: int, sigma_rel: float | None = None) -> bool:
    """Return True if `keep` has removed the weights that a manifest names for a step."""
    name = Path(checkpoint_entry(manifest_path, step, sigma_rel)["file"]).name
    return name in read_thinned(_training_folder(manifest_path) / "thinned.json")


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
