"""Scores of a set of samples, from files or from open arrays."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_bench.config.scoring import FeatureStage, ScoreRun, ScoreStage
from ddpm_bench.errors import UserError
from ddpm_bench.files import write_record
from ddpm_bench.images.sample_files import open_images, open_samples
from ddpm_bench.machine.compute_device import compute_device
from ddpm_bench.records.failures import failure_of_samples
from ddpm_bench.records.nearest import Nearest, write_nearest
from ddpm_bench.records.score_warnings import SEPARATOR
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.references import read_reference, read_statistics
from ddpm_bench.scoring.features.spaces import FeatureSpace, open_feature_space, repeats_channels
from ddpm_bench.scoring.metrics.all_metrics import (
    SCORE_NAMES,
    References,
    check_kid_subsets,
    measure,
)


@dataclass(frozen=True)
class ScoreFiles:
    """Files that one set of samples is scored from."""

    samples: Sequence[Path]  # images-<first>-<last>.npy
    reference: Sequence[Path]  # of reference_features.py; of `all`: train's and eval's
    weights: Path
    fid_reference: Sequence[Path] = ()  # features of pytorch-fid's pass, or one file of statistics
    train: Path | None = None  # features of the training images
    heldout: Path | None = None  # features of the held-out images


@dataclass(frozen=True)
class Scored:
    """Record of a set's scores, and the distances that its figures need."""

    record: dict[str, Any]  # as `records.scores.ScoreRecord` reads it
    nearest: Nearest | None


def write_scores(
    stage: ScoreStage, files: ScoreFiles, run: ScoreRun, output: Path, nearest: Path | None
) -> None:
    """Score a set of samples into `output`, JSON, and its distances into `nearest`, .npz.

    A set whose drawing failed gets a record without scores, with the failure as the reason.
    """
    failed = failure_of_samples(files.samples)
    if failed is None:
        scored = score_samples(stage, files, run)
    else:
        print(f"nothing to score: {failed.in_words()}", file=sys.stderr)
        scored = without_scores(stage, files, f"no images: {failed.in_words()}")
    if nearest is not None:
        write_nearest(nearest, scored.nearest)
    write_record(output, scored.record)


def score_samples(stage: ScoreStage, files: ScoreFiles, run: ScoreRun) -> Scored:
    """Score the first `stage.images` samples, or all, against references in the same feature space.

    A score that cannot be computed is None, with the reason in `warning`. Raises UserError, before
    the network runs, when the samples are too few or of another shape than the reference, a
    reference was made with other weights, or KID's subset exceeds either side.
    """
    if stage.images is None:
        samples = open_images(files.samples)
        stage = stage.model_copy(update={"images": sum(map(len, samples))})
    else:
        samples = open_samples(files.samples, stage.images)
    against = read_references(stage, files)
    name = f"{files.samples[0]}, ..." if len(files.samples) > 1 else str(files.samples[0])
    return score(stage, samples, name, against, files.weights, run)


def without_scores(stage: ScoreStage, files: ScoreFiles, reason: str) -> Scored:
    """Return the record of a set without images: every score is null, `reason` is its warning."""
    reference = read_reference(files.reference)
    record = {
        "feature_space": stage.features.feature_space,
        "feature_dimensions": len(reference.mu),
        "weights_sha256": reference.weights_sha256,
        "classifier_accuracy": None,
        "channels_repeated": False,
        "images_generated": 0,
        "images_reference": reference.images,
        **_reference_names(stage),
        **dict.fromkeys(SCORE_NAMES),
        "warning": reason,
    }
    return Scored(record, None)


def read_references(stage: ScoreStage, files: ScoreFiles) -> References:
    """Read the references of a set of samples from their files."""
    reference = read_reference(files.reference)
    # In most cases one of these is the reference, which may be large: it is read once.
    held = {files.reference[0]: reference} if len(files.reference) == 1 else {}
    train, heldout = (
        None if path is None else (held.get(path) or read_reference([path])).features
        for path in (files.train, files.heldout)
    )
    fid = reference
    if stage.fid_statistics is not None:
        fid = read_statistics(files.fid_reference[0])
    elif stage.measuring.fid_backend == "pytorch-fid":
        fid = read_reference(files.fid_reference, "pytorch-fid")
    return References(
        reference, fid, train, heldout if heldout is not None and len(heldout) else None
    )


def score(
    stage: ScoreStage,
    samples: Sequence[np.ndarray],
    name: str,
    against: References,
    weights: Path,
    run: ScoreRun,
) -> Scored:
    """Score the first `stage.images` of `samples`, arrays of uint8 images [N, H, W, C].

    name: the name of the samples in error messages. Raises UserError as `score_samples` does.
    """
    check_comparable(stage, samples, name, against.reference.image_shape, against.reference.images)
    device = compute_device(run.cpus)
    space = open_feature_space(stage.features, weights, device)
    _check_space(space, against)
    generated, logits = extract(space, samples, stage.images, run.batch_size, device)
    record = {
        "feature_space": space.name,
        "feature_dimensions": space.dimensions,
        "weights_sha256": space.weights_sha256,
        "classifier_accuracy": space.classifier_accuracy,
        "channels_repeated": repeats_channels(stage.features) and samples[0].shape[3] == 1,
        "images_generated": stage.images,
        "images_reference": against.reference.images,
        **_reference_names(stage),
    }
    fid_generated = None
    if stage.measuring.fid_backend == "pytorch-fid":
        del space  # makes room for the second network
        fid_generated = _second_pass(stage, samples, weights, run, device)
    measured = measure(generated, logits, against, stage.measuring, fid_generated)
    warnings = _warnings_of_space(stage.features) + measured.warnings
    record |= {**measured.scores, "warning": SEPARATOR.join(warnings)}
    return Scored(record, measured.nearest)


def _reference_names(stage: ScoreStage) -> dict[str, str]:
    """Return the part of a record that names the reference."""
    return {
        "reference": stage.reference,
        "fid_reference": stage.fid_statistics or stage.reference,
        "fid_backend": stage.measuring.fid_backend,
    }


def _second_pass(
    stage: ScoreStage,
    samples: Sequence[np.ndarray],
    weights: Path,
    run: ScoreRun,
    device: torch.device,
) -> np.ndarray:
    """Compute the features of pytorch-fid's pass over the same images."""
    second = stage.features.model_copy(update={"features": "pytorch-fid"})
    space = open_feature_space(second, weights, device)
    features, _ = extract(space, samples, stage.images, run.batch_size, device)
    return features


def _warnings_of_space(stage: FeatureStage) -> list[str]:
    """Return the warnings about a feature space of unpublished weights."""
    if stage.weights_name is None or stage.features == "dinov2":
        return []
    return [
        f"weights {stage.weights_name} are not the published Inception's: compare with no paper"
    ]


# Checks


def check_comparable(
    stage: ScoreStage,
    samples: Sequence[np.ndarray],
    name: str,
    image_shape: tuple[int, ...] | None,
    images: int | None,
) -> None:
    """Raise UserError if the samples cannot be compared with a reference of this shape and number.

    Needs no network. image_shape, images: None if the reference's are not known.
    """
    shape = samples[0].shape[1:]
    if image_shape is not None and shape != image_shape:
        raise UserError(
            f"{name}: images are {list(shape)} (H, W, C) and the reference's are "
            f"{list(image_shape)}; score images of one shape"
        )
    if images is None:
        return
    if images < 2:
        raise UserError(
            f"the reference ({stage.reference}) has {images} images and needs two or more: add "
            "images, or take another split"
        )
    check_kid_subsets(stage.measuring, stage.images, images)


def _check_space(space: FeatureSpace, against: References) -> None:
    """Raise UserError if a reference was made with another network."""
    for reference in (against.reference, against.fid):
        if reference.weights_sha256 not in (None, space.weights_sha256):
            raise UserError(
                f"the reference was made with weights {reference.weights_sha256} and the samples' "
                f"are {space.weights_sha256}; make the reference again (reference_features.py)"
            )
        if len(reference.mu) != space.dimensions:
            raise UserError(
                f"the reference has {len(reference.mu)} dimensions and {space.name} features have "
                f"{space.dimensions}; give statistics of the same features"
            )
