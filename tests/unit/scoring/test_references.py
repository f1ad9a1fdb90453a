"""References: the statistics of features, and their file."""

import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from feature_spaces import CLASSIFIER, CPU, small_classifier
from labelled_digits import digits, write_digits
from torch_fidelity.metric_fid import fid_features_to_statistics

from ddpm_bench.config.scoring import ScoreRun
from ddpm_bench.errors import UserError
from ddpm_bench.scoring.features import references
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.references import (
    Reference,
    feature_statistics,
    read_reference,
    read_statistics,
    reference_features,
    write_reference,
)
from ddpm_bench.scoring.features.spaces import open_feature_space


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return small_classifier(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def classifier_space(classifier):
    return open_feature_space(CLASSIFIER, classifier, CPU)


def test_the_reference_holds_all_images_of_all_arrays_in_order(classifier, tmp_path):
    images, _ = digits()
    np.save(tmp_path / "train.npy", images[:30])
    np.save(tmp_path / "eval.npy", images[30:41])
    run = ScoreRun(cpus=1, batch_size=8)
    both = [tmp_path / "train.npy", tmp_path / "eval.npy"]
    reference = reference_features(CLASSIFIER, both, classifier, run)
    np.save(tmp_path / "all.npy", images[:41])
    at_once = reference_features(CLASSIFIER, [tmp_path / "all.npy"], classifier, run)
    assert reference.features.shape == (41, 8)
    assert np.array_equal(reference.features, at_once.features)


def test_a_split_of_no_images_adds_nothing_to_the_other(classifier, tmp_path):
    dataset = write_digits(tmp_path / "digits", train=30, held_out=0)
    for split in ("train", "eval"):
        arrays = [dataset / f"{split}.npy"]
        reference = reference_features(CLASSIFIER, arrays, classifier, ScoreRun(cpus=1))
        write_reference(tmp_path / f"{split}.npz", reference)
    train = read_reference([tmp_path / "train.npz"])
    both = read_reference([tmp_path / "train.npz", tmp_path / "eval.npz"])
    assert both.images == 30 and np.array_equal(both.sigma, train.sigma)


def test_statistics_are_torch_fidelitys(classifier_space, monkeypatch):
    monkeypatch.setattr(references, "ROWS", 64)
    features, _ = extract(classifier_space, [digits()[0]], 500, 64, CPU)
    mu, sigma = feature_statistics(features)
    theirs = fid_features_to_statistics(torch.from_numpy(features))
    assert mu.dtype == sigma.dtype == np.float64
    assert np.array_equal(mu, theirs["mu"])
    np.testing.assert_allclose(sigma, theirs["sigma"], rtol=1e-12)


def test_pytorch_fids_mean_is_summed_in_float64():
    features = np.random.default_rng(0).random((3000, 4), np.float32)
    mu, sigma = feature_statistics(features, "pytorch-fid")
    assert np.array_equal(mu, features.astype(np.float64).mean(axis=0))
    fidelity_mu, fidelity_sigma = feature_statistics(features)
    assert not np.array_equal(mu, fidelity_mu) and np.array_equal(sigma, fidelity_sigma)


def test_statistics_copy_a_part_of_the_features_at_a_time():
    features = np.random.default_rng(0).random((60_000, 32), np.float32)
    tracemalloc.start()
    feature_statistics(features)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < features.nbytes / 2


def test_train_and_eval_read_together_are_all_images_of_the_dataset(tmp_path):
    random = np.random.default_rng(0)
    train, held_out = (random.random((count, 4), np.float32) for count in (30, 9))
    for name, features in (("train", train), ("eval", held_out)):
        write_reference(tmp_path / f"{name}.npz", reference_of(features))
    both = read_reference([tmp_path / "train.npz", tmp_path / "eval.npz"])
    at_once = reference_of(np.concatenate([train, held_out]))
    assert np.array_equal(both.features, at_once.features) and both.images == 39
    assert np.array_equal(both.mu, at_once.mu) and np.array_equal(both.sigma, at_once.sigma)
    assert both.image_shape == (16, 16, 1)


def test_splits_of_other_weights_are_not_read_together(tmp_path):
    features = np.random.default_rng(0).random((5, 4), np.float32)
    write_reference(tmp_path / "train.npz", reference_of(features))
    write_reference(tmp_path / "eval.npz", reference_of(features, weights="b" * 64))
    with pytest.raises(UserError, match=r"eval.npz: was made with other weights"):
        read_reference([tmp_path / "train.npz", tmp_path / "eval.npz"])


def reference_of(features: np.ndarray, weights: str = "a" * 64) -> Reference:
    return Reference(features, *feature_statistics(features), weights, (16, 16, 1))


def test_a_reference_is_read_back_and_the_same_bytes_are_written_again(tmp_path):
    features = np.random.default_rng(0).random((10, 4), np.float32)
    reference = reference_of(features)
    for name in ("one.npz", "two.npz"):
        write_reference(tmp_path / name, reference)
    again = read_reference([tmp_path / "one.npz"])
    assert np.array_equal(again.features, features) and again.features.dtype == np.float32
    assert np.array_equal(again.mu, reference.mu) and np.array_equal(again.sigma, reference.sigma)
    assert again.weights_sha256 == "a" * 64 and again.image_shape == (16, 16, 1)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]


@pytest.mark.parametrize("kind", ["text", "zip", "npy", "missing"])
def test_what_is_no_reference_is_refused(tmp_path, kind):
    path = tmp_path / "train.npz"
    if kind == "text":
        path.write_text("hello")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("features", "hello")
    elif kind == "npy":
        np.save(tmp_path / "x.npy", np.zeros(3))
        (tmp_path / "x.npy").rename(path)
    with pytest.raises(UserError, match="cannot be read as reference features"):
        read_reference([path])


def test_features_written_before_they_told_their_images_shape_are_read(tmp_path):
    features = np.random.default_rng(0).random((10, 4), np.float32)
    mu, sigma = feature_statistics(features)
    np.savez(tmp_path / "train.npz", features=features, mu=mu, sigma=sigma, weights_sha256="a" * 64)
    assert read_reference([tmp_path / "train.npz"]).image_shape is None


# Published statistics


def test_published_statistics_are_read_without_features(tmp_path):
    np.savez(tmp_path / "cifar10.npz", mu=np.arange(3.0), sigma=np.eye(3))
    found = read_statistics(tmp_path / "cifar10.npz")
    assert found.features is None and found.images is None
    assert np.array_equal(found.mu, [0, 1, 2]) and np.array_equal(found.sigma, np.eye(3))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"mu": np.zeros(3)}, "an .npz with mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.zeros((2, 2))}, r"mu is \[3\] and sigma \[2, 2\]"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "not finite"),
        ({"mu": np.array([None, None]), "sigma": np.eye(2)}, "cannot be read as statistics"),
    ],
)
def test_what_are_no_statistics_is_refused(tmp_path, stored, said):
    np.savez(tmp_path / "cifar10.npz", **stored)
    with pytest.raises(UserError, match=said):
        read_statistics(tmp_path / "cifar10.npz")
