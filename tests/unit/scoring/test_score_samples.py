"""Scores equal the field's on the same images and weights; other comparisons are refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from feature_spaces import inception_stage, weights_of_pytorch_fid, write_pngs
from inception_weights import calibrated_weights, photographs
from labelled_digits import digits, write_digits
from places import SCRIPTS
from pytorch_fid.fid_score import calculate_fid_given_paths

from ddpm_bench.config.scoring import FeatureStage, ScoreRun, ScoreSettings, ScoreStage
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json
from ddpm_bench.records.scores import ScoreRecord
from ddpm_bench.scoring.features.references import (
    read_reference,
    reference_features,
    write_reference,
)
from ddpm_bench.scoring.score_samples import References, ScoreFiles, score, score_samples

GENERATED, REAL = 30, 24  # photographs; different counts, so that no mix-up goes unseen


class Photographs(torch.utils.data.Dataset):
    """uint8 [N, H, W, C] as torch-fidelity takes images: one uint8 tensor [C, H, W] each."""

    def __init__(self, images):
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


# Equality with torch-fidelity and pytorch-fid


def noisier_and_noisier(images: np.ndarray) -> np.ndarray:
    """Add noise to images: none to the first, three fifths to the last.

    So far from photographs that every score notices.
    """
    noise = np.random.default_rng(0).integers(0, 256, images.shape)
    share = np.linspace(0, 0.6, len(images))[:, None, None, None]
    return (images * (1 - share) + noise * share).astype(np.uint8)


def inception_score(content: bytes, images: int, measuring: ScoreSettings) -> ScoreStage:
    return ScoreStage(
        version=1,
        images=images,
        reference="train",
        features=inception_stage(content),
        measuring=measuring,
    )


@pytest.fixture(scope="module")
def inception_scores(sysu_shape, tmp_path_factory):
    """Compute our and torch-fidelity's scores of noisy cars against aeroplanes and bicycles."""
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
    stage = inception_score(content, GENERATED, ScoreSettings(kid_subset_size=REAL))
    run = ScoreRun(cpus=1, batch_size=16)
    reference = reference_features(stage.features, [folder / "train.npy"], weights, run)
    write_reference(folder / "train.npz", reference)
    files = ScoreFiles(samples, [folder / "train.npz"], weights)
    ours = score_samples(stage, files, run).record
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


@pytest.fixture(scope="module")
def pytorch_fids(sysu_shape, tmp_path_factory):
    """Compute our and pytorch-fid's FID of noisy cars against aeroplanes, from PNG files."""
    folder = tmp_path_factory.mktemp("pytorch-fid")
    content = calibrated_weights(sysu_shape)
    weights = weights_of_pytorch_fid(folder, content)
    generated = noisier_and_noisier(photographs(sysu_shape / "car", 16))
    real = photographs(sysu_shape / "airplane", 12)
    for name, images in (("generated", generated), ("real", real)):
        write_pngs(folder / name, images)
    np.save(folder / "images-000000-000015.npy", generated)
    np.save(folder / "train.npy", real)
    stage = inception_score(content, 16, ScoreSettings(fid_backend="pytorch-fid"))
    run = ScoreRun(cpus=1, batch_size=16)
    references = []
    for features in ("inception", "pytorch-fid"):
        references.append(folder / f"{features}.npz")
        keys = stage.features.model_copy(update={"features": features})
        reference = reference_features(keys, [folder / "train.npy"], weights, run)
        write_reference(references[-1], reference)
    samples = [folder / "images-000000-000015.npy"]
    files = ScoreFiles(samples, references[:1], weights, fid_reference=references[1:])
    ours = score_samples(stage, files, run).record
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TORCH_HOME", str(folder))
        folders = [str(folder / "generated"), str(folder / "real")]
        theirs = calculate_fid_given_paths(folders, 16, "cpu", 2048, num_workers=0)
    return ours, theirs


@pytest.mark.long  # two matrix roots of 2,048 dimensions; test_spaces.py compares features
@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_fid_equals_the_pytorch_fid_programs(pytorch_fids):
    ours, theirs = pytorch_fids
    assert theirs > 1
    assert ours["fid"] == pytest.approx(theirs, rel=1e-5)
    assert ours["fid_backend"] == "pytorch-fid"


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


# The programs, one after the other


def run_program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPTS / f"{name}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def scored_digits(tmp_path_factory):
    """Run the three programs on digits, with real digits in place of samples; return the folder."""
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
            *("--train", folder / "train.npz", "--nearest", folder / "nearest.npz"),
            *("--samples", folder / "images-000000-000063.npy", "--weights", weights),
            *("--output", folder / "scores" / "step-00000300.json", "--how", '{"cpus": 1}'),
        ),
    ]
    assert [step.returncode for step in steps] == [0, 0, 0], [step.stderr for step in steps]
    return folder


def test_the_programs_score_samples_with_classifier_features(scored_digits):
    scores = read_json(scored_digits / "scores" / "step-00000300.json")
    summary = json.loads((scored_digits / "classifier" / "summary.json").read_text())
    assert set(scores) == set(ScoreRecord.model_fields)
    ScoreRecord.model_validate(scores)
    assert scores["feature_space"] == "classifier" and scores["reference"] == "train"
    assert scores["weights_sha256"] == summary["classifier_sha256"]
    assert scores["classifier_accuracy"] == summary["accuracy_eval"]
    assert (scores["images_generated"], scores["images_reference"]) == (64, 200)
    assert scores["warning"] == ""
    assert isinstance(scores["fid"], float) and isinstance(scores["nearest_generated"], float)


def test_the_distances_to_training_images_lie_beside_the_scores(scored_digits):
    with np.load(scored_digits / "nearest.npz") as nearest:
        assert nearest["generated_distance"].shape == (64,)
        assert nearest["generated_distance"].dtype == np.float32
        assert nearest["nearest_train"].dtype == np.int64 and nearest["nearest_train"].max() < 200
        assert nearest["heldout_distance"].shape == (0,)


def digits_score(images: int, statistics: str | None = None, **measuring: int) -> ScoreStage:
    return ScoreStage(
        version=1,
        images=images,
        reference="train",
        fid_statistics=statistics,
        features=FeatureStage(version=1, features="classifier"),
        measuring=ScoreSettings(**measuring),
    )


def score_again(folder, reference, images=64, statistics=None, **measuring):
    stage = digits_score(images, statistics.stem if statistics else None, **measuring)
    files = ScoreFiles(
        [folder / "images-000000-000063.npy"],
        [reference],
        folder / "classifier" / "classifier.safetensors",
        fid_reference=[statistics] if statistics else [],
    )
    return score_samples(stage, files, ScoreRun(cpus=1))


def test_fid_against_published_statistics_is_named_and_the_other_scores_are_not_of_them(
    scored_digits, tmp_path
):
    before = json.loads((scored_digits / "scores" / "step-00000300.json").read_text())
    train = read_reference([scored_digits / "train.npz"])
    np.savez(tmp_path / "published.npz", mu=train.mu, sigma=train.sigma)
    found = score_again(
        scored_digits, scored_digits / "train.npz", statistics=tmp_path / "published.npz"
    ).record
    assert found["fid_reference"] == "published" and found["reference"] == "train"
    assert found["fid"] == pytest.approx(before["fid"]) and found["kid_mean"] == before["kid_mean"]


def test_statistics_alone_give_fid_alone(scored_digits, tmp_path):
    train = read_reference([scored_digits / "train.npz"])
    statistics = dataclasses.replace(train, features=None, image_shape=None)
    against = References(statistics, statistics, None, None)
    samples = [np.load(scored_digits / "images-000000-000063.npy")]
    weights = scored_digits / "classifier" / "classifier.safetensors"
    stage = digits_score(64)
    found = score(stage, samples, "drawn", against, weights, ScoreRun(cpus=1)).record
    assert found["fid"] > 0 and found["is_mean"] > 1
    assert found["images_reference"] is None and found["kid_mean"] is None
    assert found["precision"] is None and found["coverage"] is None


# What is refused, before any image is passed through a network


@pytest.fixture()
def no_pass(monkeypatch):
    monkeypatch.setattr(
        "ddpm_bench.scoring.score_samples.extract", lambda *_, **__: pytest.fail("the network ran")
    )


def test_too_few_samples_are_refused(scored_digits, no_pass):
    with pytest.raises(UserError, match="65 samples are asked for and 64 are given; draw the rest"):
        score_again(scored_digits, scored_digits / "train.npz", images=65)


def test_a_kid_subset_of_more_than_the_samples_is_refused(scored_digits, no_pass):
    with pytest.raises(UserError, match="kid_subset_size = 65 exceeds the 64 samples"):
        score_again(scored_digits, scored_digits / "train.npz", kid_subset_size=65)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights_sha256": "0" * 64}, "make the reference again"),
        ({"image_shape": (32, 32, 1)}, r"\[16, 16, 1\] .* the reference's are \[32, 32, 1\]"),
        ({"features": np.zeros((1, 64), np.float32)}, "has 1 images and needs two or more"),
        ({"mu": np.zeros(7)}, "has 7 dimensions and classifier features have"),
    ],
)
def test_a_reference_of_something_else_is_refused(scored_digits, tmp_path, no_pass, change, said):
    reference = read_reference([scored_digits / "train.npz"])
    write_reference(tmp_path / "train.npz", dataclasses.replace(reference, **change))
    with pytest.raises(UserError, match=said) as raised:
        score_again(scored_digits, tmp_path / "train.npz")
    assert "\n" not in str(raised.value)


def test_samples_that_are_no_bytes_are_refused_by_name(scored_digits, tmp_path, no_pass):
    np.save(tmp_path / "images-000000-000063.npy", np.full((64, 16, 16, 1), 300, np.int16))
    files = ScoreFiles(
        [tmp_path / "images-000000-000063.npy"], [scored_digits / "train.npz"], tmp_path
    )
    with pytest.raises(UserError, match=r"images-000000-000063.npy: holds int16 .* from 0 to 255"):
        score_samples(digits_score(64), files, ScoreRun(cpus=1))
