"""Part "scores": features of the GPU against the CPU's, and all scores of them.

Metrics are computed on the CPU, from features that have come from the GPU.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ddpm_bench.config.scoring import ScoreRun, ScoreSettings
from ddpm_bench.gpu_check.compared_scores import (
    FEATURES_LIMIT,
    SAME_LIMIT,
    SCORES_LIMIT,
    SHARES_LIMIT,
    feature_difference,
    largest,
    score_differences,
    too_large,
)
from ddpm_bench.gpu_check.feature_inputs import SpaceInputs, space_inputs
from ddpm_bench.gpu_check.part import Check, Setting, last_lines
from ddpm_bench.machine.compute_device import compute_device
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.references import Reference, feature_statistics
from ddpm_bench.scoring.features.spaces import open_feature_space
from ddpm_bench.scoring.metrics.all_metrics import References, measure

MEASURING = ScoreSettings(kid_subset_size=48, kid_subsets=20)
RUN = ScoreRun(cpus=16)
OTHER_BATCH = 5  # images, of the stand-in for a GPU, which adds in another order than the CPU
# Root mean square of the error over that of the values: TF32 has about 3e-4, float32 below 1e-6.
MOST_FLOAT32_ERROR = 2e-5
LEAST_FID = 1e-3  # of images with noise against images without
CPU = torch.device("cpu")
LOG = "run it alone and read its log: --parts scores --keep FOLDER"
REPORT = "and report the GPU, driver, torch and cuDNN"


@dataclass(frozen=True)
class Extracted:
    """Features float32 [N, D] of each set of images on one device, and logits of the generated."""

    generated: np.ndarray
    logits: np.ndarray | None
    reference: np.ndarray | None
    heldout: np.ndarray | None


def check_scores(setting: Setting) -> Iterator[Check]:
    """Yield checks of features and scores in each feature space that needs no download."""
    device = compute_device(RUN.cpus)
    yield from _guarded("float32", lambda: iter([float32_check(float32_errors(device))]))
    for name, inputs in space_inputs(setting).items():
        yield from _guarded(name, lambda make=inputs: _space_checks(make(), device))


def _guarded(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield checks; an error becomes a failed one, so that those of other spaces follow."""
    try:
        yield from checks()
    except Exception as error:  # of whatever kind
        traceback.print_exc()
        yield Check(name, "fail", f"{type(error).__name__}: {last_lines(str(error))}", LOG)


def _space_checks(inputs: SpaceInputs, device: torch.device) -> Iterator[Check]:
    """Yield the checks of a feature space."""
    space = inputs.stage.feature_space
    cpu = extracted(inputs, CPU, RUN.batch_size)
    size = RUN.batch_size if device.type == "cuda" else OTHER_BATCH
    gpu = extracted(inputs, device, size)
    yield feature_check(space, feature_difference(gpu.generated, cpu.generated))
    if inputs.reference is None:
        return
    ours = scores_of(gpu)
    yield same_scores_check(space, ours, fidelity_scores(gpu))
    yield scores_check(space, score_differences(ours, scores_of(cpu)))


def extracted(inputs: SpaceInputs, device: torch.device, batch_size: int) -> Extracted:
    """Compute the features of all images on a device."""
    space = open_feature_space(inputs.stage, inputs.weights, device)

    def features(images: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
        if images is None:
            return None, None
        return extract(space, [images], len(images), batch_size, device)

    generated, logits = features(inputs.generated)
    assert generated is not None
    return Extracted(generated, logits, features(inputs.reference)[0], features(inputs.heldout)[0])


def scores_of(features: Extracted) -> Mapping[str, float | None]:
    """Compute all scores as score.py does."""
    assert features.reference is not None
    real = Reference(features.reference, *feature_statistics(features.reference), None)
    against = References(real, real, features.reference, features.heldout)
    return measure(features.generated, features.logits, against, MEASURING).scores


def fidelity_scores(features: Extracted) -> dict[str, float]:
    """Compute the scores that torch-fidelity has, by its own functions."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    assert features.reference is not None
    assert features.logits is not None
    pair = torch.from_numpy(features.generated), torch.from_numpy(features.reference)
    keys: dict[str, Any] = {"verbose": False, "rng_seed": MEASURING.seed}
    keys |= {"kid_subset_size": MEASURING.kid_subset_size, "kid_subsets": MEASURING.kid_subsets}
    found = {
        **fid_statistics_to_metric(*map(fid_features_to_statistics, pair), verbose=False),
        **isc_features_to_metric(
            torch.from_numpy(features.logits),
            splits=MEASURING.isc_splits,
            shuffle=True,
            rng_seed=MEASURING.seed,
        ),
        **kid_features_to_metric(*pair, **keys),
        **prc_features_to_metric(*pair, prc_neighborhood=MEASURING.prc_neighborhood, verbose=False),
    }
    names = {
        "fid": "frechet_inception_distance",
        "is_mean": "inception_score_mean",
        "is_std": "inception_score_std",
        "kid_mean": "kernel_inception_distance_mean",
        "kid_std": "kernel_inception_distance_std",
        "precision": "precision",
        "recall": "recall",
    }
    return {ours: float(found[theirs]) for ours, theirs in names.items()}


def feature_check(space: str, difference: float) -> Check:
    """Check the largest relative difference of a feature between GPU and CPU."""
    name = f"{space}: features"
    found = f"{difference:.1e} from the CPU's: the feature that differs most, over its own size"
    numbers = {"feature_difference_relative": difference}
    if difference <= FEATURES_LIMIT:
        return Check(name, "pass", found, numbers=numbers)
    remedy = f"score on the CPU (CUDA_VISIBLE_DEVICES= score.py ...), {REPORT}"
    return Check(name, "fail", f"{found}; at most {FEATURES_LIMIT:g}", remedy, numbers)


def same_scores_check(
    space: str, ours: Mapping[str, float | None], theirs: Mapping[str, float | None]
) -> Check:
    """Check scores of the GPU's features against torch-fidelity's of the same features."""
    differences = score_differences(ours, theirs)
    wrong = too_large(differences, SAME_LIMIT, SAME_LIMIT)
    found = (
        f"FID {ours.get('fid') or 0:.4g}, KID {ours.get('kid_mean') or 0:.4g}; all that "
        f"torch-fidelity has differ from its by {max(differences.values()):.1e} at most"
    )
    numbers = {f"{key}_difference": value for key, value in differences.items()}
    name = f"{space}: scores of the same features"
    if (theirs.get("fid") or 0) < LEAST_FID:
        remedy = f"features do not depend on the image: score on the CPU, {REPORT}"
        return Check(name, "fail", f"{found}; noise changes nothing", remedy, numbers)
    if not wrong:
        return Check(name, "pass", found, numbers=numbers)
    remedy = "install the torch-fidelity of envs/requirements.lock, or report its version"
    return Check(name, "fail", f"{', '.join(wrong)} differ; {found}", remedy, numbers)


def scores_check(space: str, differences: Mapping[str, float]) -> Check:
    """Check scores of the GPU's features against scores of the CPU's features."""
    wrong = too_large(differences, SCORES_LIMIT, SHARES_LIMIT)
    found = (
        f"{largest(differences, shares=False):.1e} (relative) from those of the CPU's features, "
        f"{largest(differences, shares=True):.4f} (absolute) where they count images"
    )
    numbers = {f"{key}_difference": value for key, value in differences.items()}
    name = f"{space}: scores, GPU and CPU"
    if not wrong:
        return Check(name, "pass", found, numbers=numbers)
    remedy = f"score on the CPU (CUDA_VISIBLE_DEVICES= score.py ...), {REPORT}"
    return Check(name, "fail", f"{', '.join(wrong)} differ; {found}", remedy, numbers)


@torch.inference_mode()
def float32_errors(device: torch.device) -> dict[str, float]:
    """Return relative errors of a convolution and a matrix product in float32 on a device.

    The root mean square of the difference from float64 on the CPU, over that of the values.
    """
    random = torch.Generator().manual_seed(0)
    images, kernel = (
        torch.randn(*shape, generator=random) for shape in ((4, 64, 32, 32), (64, 64, 3, 3))
    )
    rows, matrix = (torch.randn(*shape, generator=random) for shape in ((256, 2048), (2048, 512)))
    pairs = {
        "convolution": (functional.conv2d, images, kernel),
        "matrix product": (torch.matmul, rows, matrix),
    }
    errors = {}
    for name, (operation, one, other) in pairs.items():
        exact = operation(one.double(), other.double())
        difference = operation(one.to(device), other.to(device)).cpu() - exact
        errors[name] = float(difference.square().mean().sqrt() / exact.square().mean().sqrt())
    return errors


def float32_check(errors: Mapping[str, float]) -> Check:
    """Check that features are computed in float32, and not in TF32."""
    found = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    numbers = {f"{name.replace(' ', '_')}_error_relative": error for name, error in errors.items()}
    name = "features are computed in float32"
    if all(error <= MOST_FLOAT32_ERROR for error in errors.values()):
        return Check(name, "pass", f"relative errors: {found}", numbers=numbers)
    remedy = "TF32 is on, which NVIDIA_TF32_OVERRIDE=1 forces: unset it, or score on the CPU"
    return Check(name, "fail", f"relative errors: {found}", remedy, numbers)
