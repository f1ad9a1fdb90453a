"""The reference: the statistics of its features, and its file."""

import zipfile

import numpy as np
import pytest
import torch
from feature_spaces import CLASSIFIER, CPU, small_classifier
from labelled_digits import digits, write_digits
from torch_fidelity.metric_fid import fid_features_to_statistics

from ddpm_bench.config.scoring import ScoreRun
from ddpm_bench.features import extract
from ddpm_bench.program import UserError
from ddpm_bench.references import (
    Reference,
    feature_statistics,
    read_reference,
    reference_features,
    write_reference,
)
from ddpm_bench.spaces import open_feature_space


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


def test_all_images_of_a_dataset_that_holds_nothing_out_are_its_train_images(classifier, tmp_path):
    dataset = write_digits(tmp_path / "digits", train=30, held_out=0)
    both = [dataset / "train.npy", dataset / "eval.npy"]
    reference = reference_features(CLASSIFIER, both, classifier, ScoreRun(cpus=1))
    assert reference.features.shape == (30, 8)


def test_statistics_are_torch_fidelitys(classifier_space):
    features, _ = extract(classifier_space, [digits()[0]], 500, 64, CPU)
    mu, sigma = feature_statistics(features)
    theirs = fid_features_to_statistics(torch.from_numpy(features))
    assert mu.dtype == sigma.dtype == np.float64
    assert np.array_equal(mu, theirs["mu"]) and np.array_equal(sigma, theirs["sigma"])


def test_a_reference_is_read_back_and_the_same_bytes_are_written_again(tmp_path):
    features = np.random.default_rng(0).random((10, 4), np.float32)
    reference = Reference(features, *feature_statistics(features), weights_sha256="a" * 64)
    for name in ("one.npz", "two.npz"):
        write_reference(tmp_path / name, reference)
    again = read_reference(tmp_path / "one.npz")
    assert np.array_equal(again.features, features) and again.features.dtype == np.float32
    assert np.array_equal(again.mu, reference.mu) and np.array_equal(again.sigma, reference.sigma)
    assert again.weights_sha256 == "a" * 64
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
        read_reference(path)


def test_a_reference_of_one_image_is_refused(classifier, tmp_path):
    np.save(tmp_path / "train.npy", digits()[0][:1])
    with pytest.raises(UserError, match="two or more"):
        reference_features(CLASSIFIER, [tmp_path / "train.npy"], classifier, ScoreRun())
