"""Scores equal the field's on the same images and weights, and say so when they cannot be had."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from inception_weights import calibrated_weights, photographs
from labelled_digits import digits, write_digits
from pytorch_fid.fid_score import calculate_frechet_distance

from ddpm_bench.config.scoring import FeatureStage, Measuring, ScoreRun, ScoreStage
from ddpm_bench.metrics import SCORE_NAMES, frechet_distance, measure
from ddpm_bench.program import UserError
from ddpm_bench.references import (
    Reference,
    feature_statistics,
    read_reference,
    reference_features,
    write_reference,
)
from ddpm_bench.scoring import score_samples

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
GENERATED, REAL = 30, 24  # photographs; different counts, so that no mix-up goes unseen


class Photographs(torch.utils.data.Dataset):
    """uint8 [N, H, W, C] as torch-fidelity takes images: one uint8 tensor [C, H, W] each."""

    def __init__(self, images):
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


# Against torch-fidelity and pytorch-fid


def noisier_and_noisier(images: np.ndarray) -> np.ndarray:
    """Untouched first, three fifths noise last: far enough from photographs for every score."""
    noise = np.random.default_rng(0).integers(0, 256, images.shape)
    share = np.linspace(0, 0.6, len(images))[:, None, None, None]
    return (images * (1 - share) + noise * share).astype(np.uint8)


@pytest.fixture(scope="module")
def inception_scores(sysu_shape, tmp_path_factory):
    """Ours and torch-fidelity's scores of noisy cars against aeroplanes and bicycles."""
    folder = tmp_path_factory.mktemp("inception")
    content = calibrated_weights(sysu_shape)
    weights = folder / "untrained.pth"
    weights.write_bytes(content)
    generated = noisier_and_noisier(photographs(sysu_shape / "car", GENERATED))
    real = np.concatenate(
        [photographs(sysu_shape / name, REAL // 2) for name in ("airplane", "bicycle")]
    )
    samples = [folder / "images-000000-000019.npy", folder / "images-000020-000029.npy"]
    np.save(samples[0], generated[:20])
    np.save(samples[1], generated[20:])
    np.save(folder / "train.npy", real)
    stage = ScoreStage(
        version=1,
        images=GENERATED,
        reference="train",
        features=FeatureStage(
            version=1,
            features="inception",
            weights_sha256=hashlib.sha256(content).hexdigest(),
            weights_name="untrained",
        ),
    )
    run = ScoreRun(cpus=1, batch_size=16)
    reference = reference_features(stage.features, [folder / "train.npy"], weights, run)
    write_reference(folder / "train.npz", reference)
    ours = score_samples(stage, samples, folder / "train.npz", weights, run)
    theirs = torch_fidelity.calculate_metrics(
        input1=Photographs(generated),
        input2=Photographs(real),
        cuda=False,
        batch_size=16,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        kid_subset_size=REAL,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    return ours, theirs


@pytest.mark.parametrize(
    ("name", "their_name"),
    [
        ("fid", "frechet_inception_distance"),
        ("is_mean", "inception_score_mean"),
        ("is_std", "inception_score_std"),
        ("kid_mean", "kernel_inception_distance_mean"),
        ("kid_std", "kernel_inception_distance_std"),
        ("precision", "precision"),
        ("recall", "recall"),
    ],
)
def test_scores_equal_torch_fidelitys(inception_scores, name, their_name):
    ours, theirs = inception_scores
    assert ours[name] == pytest.approx(theirs[their_name], rel=1e-5)


def test_the_scores_compared_are_those_of_a_network_that_sees(inception_scores):
    _, theirs = inception_scores
    assert theirs["frechet_inception_distance"] > 1
    assert theirs["inception_score_mean"] > 1.1
    assert theirs["kernel_inception_distance_mean"] > 0.1
    assert 0 < theirs["precision"] < 1
    assert 0 < theirs["recall"] < 1
    assert theirs["precision"] != theirs["recall"]


def test_scores_say_what_they_are_of(inception_scores):
    ours, _ = inception_scores
    assert ours["feature_space"] == "inception-untrained"
    assert ours["feature_dimensions"] == 2048
    assert (ours["images_generated"], ours["images_reference"]) == (GENERATED, REAL)
    assert ours["kid_subset_size"] == REAL
    assert ours["classifier_accuracy"] is None and ours["channels_repeated"] is False
    assert "weights untrained are not the published Inception's" in ours["warning"]
    assert "the reference has 24 images for 2048 dimensions" not in ours["warning"]
    assert "the reference has 24 and the set of samples has 30 images" in ours["warning"]


@pytest.mark.parametrize("dimensions", [2, 64, 200])
def test_the_frechet_distance_equals_pytorch_fids(dimensions):
    random = np.random.default_rng(dimensions)
    statistics = []
    for _ in range(2):
        factor = random.normal(size=(dimensions, dimensions))
        statistics += [random.normal(size=dimensions), factor @ factor.T + np.eye(dimensions)]
    expected = calculate_frechet_distance(*statistics)
    assert expected > 1
    assert frechet_distance(*statistics) == pytest.approx(expected, rel=1e-5)


# Which side is which


def points(seed: int, count: int, spread: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, (count, 8)).astype(np.float32)


def reference_of(features: np.ndarray) -> Reference:
    return Reference(features, *feature_statistics(features), weights_sha256="a" * 64)


def scores_of(generated, real, **keys):
    logits = points(5, len(generated), 2.0)
    return measure(generated, logits, reference_of(real), Measuring(**keys))


def test_samples_of_one_mode_are_precise_and_recall_little():
    scores, _ = scores_of(generated=points(0, 200, 0.1), real=points(1, 300, 1.0))
    assert scores["precision"] > 0.95
    assert scores["recall"] < 0.05


def test_samples_wider_than_the_dataset_are_imprecise_and_recall_all():
    scores, _ = scores_of(generated=points(0, 200, 1.0), real=points(1, 300, 0.1))
    assert scores["precision"] < 0.05
    assert scores["recall"] > 0.95


# Few images, and scores that cannot be had


def test_kid_subsets_are_1000_images_where_there_are_so_many():
    scores, _ = scores_of(points(0, 1100, 1.0), points(1, 1200, 1.0), kid_subsets=2)
    assert scores["kid_subset_size"] == 1000


def test_kid_subsets_are_the_smaller_side_where_there_are_fewer():
    scores, _ = scores_of(points(0, 40, 1.0), points(1, 30, 1.0), kid_subsets=2)
    assert scores["kid_subset_size"] == 30


def test_a_kid_subset_larger_than_either_side_names_the_largest_that_fits():
    with pytest.raises(UserError, match=r"kid_subset_size = 31 .* set it to 30"):
        scores_of(points(0, 40, 1.0), points(1, 30, 1.0), kid_subset_size=31)


@pytest.mark.parametrize(
    ("generated", "missing"),
    [
        (1, set(SCORE_NAMES)),
        (2, {"is_mean", "is_std", "precision", "recall"}),
        (3, {"is_mean", "is_std", "precision", "recall"}),
        (4, {"is_mean", "is_std"}),
        (9, {"is_mean", "is_std"}),
        (10, set()),
    ],
)
def test_few_samples_give_nulls_with_a_reason_and_never_a_crash(generated, missing):
    scores, warnings = scores_of(points(0, generated, 1.0), points(1, 30, 1.0))
    assert {name for name, value in scores.items() if value is None} == missing
    assert all(word in "; ".join(warnings) for word in _words_of(missing))


def _words_of(missing):
    words = {"fid": "FID and KID need 2", "is_mean": "IS in 10 parts", "recall": "prc_neighborhood"}
    return [word for name, word in words.items() if name in missing]


def test_features_that_are_not_finite_give_nulls_with_a_reason():
    generated = points(0, 40, 1.0)
    generated[3, 2] = np.nan
    scores, warnings = scores_of(generated, points(1, 30, 1.0))
    assert set(scores.values()) == {None}
    assert warnings == ["features are not finite, so there are no scores: the weights are broken"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_score_that_overflows_is_null_and_the_others_stand():
    scores, warnings = scores_of(points(0, 40, 1e17), points(1, 30, 1e17))
    assert scores["kid_mean"] is None and scores["fid"] > 0
    assert any("kid_mean is left out" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("generated", "real", "said"),
    [
        (20, 7, "the reference has 7 images for 8 dimensions"),
        (7, 20, "the set of samples has 7 images for 8 dimensions"),
        (20, 20, ""),
    ],
)
def test_a_side_of_fewer_images_than_dimensions_warns_of_a_biased_fid(generated, real, said):
    _, warnings = scores_of(points(0, generated, 1.0), points(1, real, 1.0), isc_splits=2)
    assert "; ".join(warnings).startswith(said)
    assert bool(said) == ("FID is biased upwards" in "; ".join(warnings))


# The programs, one after the other


def run_program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPTS / f"{name}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def scored_digits(tmp_path_factory):
    """The folder in which the three programs ran on digits, real digits standing for samples."""
    folder = tmp_path_factory.mktemp("results")
    dataset = write_digits(folder / "digits", train=200, held_out=40)
    images, _ = digits()
    np.save(folder / "images-000000-000063.npy", images[300:364])
    classifier = '{"version": 1, "classifier": {"steps": 20, "batch_size": 32}}'
    features = {"version": 1, "features": "classifier"}
    scoring = {"version": 1, "images": 64, "reference": "train", "features": features}
    weights = folder / "classifier" / "classifier.safetensors"
    steps = [
        run_program(
            *("train_classifier", "--what", classifier),
            *("--dataset", dataset, "--output", folder / "classifier"),
        ),
        run_program(
            *("reference_features", "--what", json.dumps(features)),
            *("--images", dataset / "train.npy", "--how", '{"cpus": 1}'),
            *("--weights", weights, "--output", folder / "train.npz"),
        ),
        run_program(
            *("score", "--what", json.dumps(scoring), "--reference", folder / "train.npz"),
            *("--samples", folder / "images-000000-000063.npy", "--weights", weights),
            *("--output", folder / "scores" / "step-00000300.json", "--how", '{"cpus": 1}'),
        ),
    ]
    assert [step.returncode for step in steps] == [0, 0, 0], [step.stderr for step in steps]
    return folder


def test_the_programs_score_samples_with_classifier_features(scored_digits):
    scores = json.loads((scored_digits / "scores" / "step-00000300.json").read_text())
    summary = json.loads((scored_digits / "classifier" / "summary.json").read_text())
    assert set(scores) == {
        *SCORE_NAMES,
        *("feature_space", "feature_dimensions", "weights_sha256", "classifier_accuracy"),
        *("channels_repeated", "reference", "images_generated", "images_reference", "warning"),
    }
    assert scores["feature_space"] == "classifier" and scores["reference"] == "train"
    assert scores["weights_sha256"] == summary["classifier_sha256"]
    assert scores["classifier_accuracy"] == summary["accuracy_eval"]
    assert (scores["images_generated"], scores["images_reference"]) == (64, 200)
    assert scores["warning"] == ""
    assert all(isinstance(scores[name], float | int) for name in SCORE_NAMES)


def score_again(folder: Path, reference: Path, images: int) -> None:
    stage = ScoreStage(
        version=1,
        images=images,
        reference="train",
        features=FeatureStage(version=1, features="classifier"),
    )
    weights = folder / "classifier" / "classifier.safetensors"
    samples = [folder / "images-000000-000063.npy"]
    score_samples(stage, samples, reference, weights, ScoreRun(cpus=1))


def test_too_few_samples_are_refused(scored_digits):
    with pytest.raises(UserError, match="65 samples are asked for and 64 are given; draw the rest"):
        score_again(scored_digits, scored_digits / "train.npz", images=65)


def test_a_reference_of_other_weights_is_refused(scored_digits, tmp_path):
    reference = read_reference(scored_digits / "train.npz")
    other = Reference(reference.features, reference.mu, reference.sigma, weights_sha256="0" * 64)
    write_reference(tmp_path / "train.npz", other)
    with pytest.raises(UserError, match="make the reference again"):
        score_again(scored_digits, tmp_path / "train.npz", images=64)
