"""Scoring a set of samples, from files to the record of its scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .config.scoring import FeatureStage, ScoreRun, ScoreStage
from .features import computing_device, extract, open_samples
from .metrics import kid_subset_size, measure
from .program import UserError
from .references import read_reference
from .spaces import open_feature_space


def score_samples(
    stage: ScoreStage,
    samples: Sequence[Path],
    reference_path: Path,
    weights: Path,
    run: ScoreRun,
) -> dict[str, Any]:
    """Score the first `stage.images` samples against a reference in the same feature space.

    Returns what a score's JSON file holds: the scores (None where one cannot be had, with the
    reason in `warning`) and what they are of. Raises UserError, before the network runs, when the
    samples are too few, the reference is of other weights, or KID's subset exceeds either.
    """
    arrays = open_samples(samples, stage.images)
    reference = read_reference(reference_path)
    kid_subset_size(stage.measuring, stage.images, len(reference.features))
    device = computing_device(run)
    space = open_feature_space(stage.features, weights, device)
    if reference.weights_sha256 != space.weights_sha256:
        raise UserError(
            f"{reference_path}: was made with weights {reference.weights_sha256} and {weights} has "
            f"{space.weights_sha256}; make the reference again (reference_features.py)"
        )
    features, logits = extract(space, arrays, stage.images, run.batch_size, device)
    scores, warnings = measure(features, logits, reference, stage.measuring)
    warnings = _warnings_of_space(stage.features) + warnings
    return {
        **scores,
        "feature_space": space.name,
        "feature_dimensions": space.dimensions,
        "weights_sha256": space.weights_sha256,
        "classifier_accuracy": space.classifier_accuracy,
        "channels_repeated": stage.features.features == "inception" and arrays[0].shape[3] == 1,
        "reference": stage.reference,
        "images_generated": stage.images,
        "images_reference": len(reference.features),
        "warning": "; ".join(warnings),
    }


def _warnings_of_space(stage: FeatureStage) -> list[str]:
    if stage.weights_name is None:
        return []
    return [
        f"weights {stage.weights_name} are not the published Inception's: compare with no paper"
    ]
