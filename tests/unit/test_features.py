"""Feature spaces: what is loaded, what is refused, and that a pass depends on the images alone."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_weights import calibrated_weights, photographs
from labelled_digits import digits, write_digits
from torch_fidelity.metric_fid import fid_features_to_statistics

from ddpm_bench.classifier import WEIGHTS_NAME, train_classifier, write_classifier
from ddpm_bench.config.dataset import Classifier
from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_SHA256, FeatureStage, ScoreRun
from ddpm_bench.features import (
    Reference,
    extract,
    feature_statistics,
    open_feature_space,
    open_images,
    open_samples,
    read_reference,
    reference_features,
    write_reference,
)
from ddpm_bench.program import UserError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
CPU = torch.device("cpu")
CLASSIFIER = FeatureStage(version=1, features="classifier")


def inception_stage(content: bytes, name: str | None = "untrained") -> FeatureStage:
    digest = hashlib.sha256(content).hexdigest()
    return FeatureStage(version=1, features="inception", weights_sha256=digest, weights_name=name)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    dataset = write_digits(folder / "digits", train=60, held_out=20)
    keys = Classifier(steps=10, batch_size=16, features=8)
    write_classifier(folder / "classifier", *train_classifier(dataset, keys))
    return folder / "classifier" / WEIGHTS_NAME


@pytest.fixture(scope="module")
def classifier_space(classifier):
    return open_feature_space(CLASSIFIER, classifier, CPU)


# What a pass depends on


def test_features_do_not_depend_on_the_cut_into_files(classifier_space):
    images, _ = digits()
    whole = extract(classifier_space, [images[:50]], 50, 16, CPU)
    cut = extract(classifier_space, [images[:7], images[7:8], images[8:50]], 50, 16, CPU)
    assert all(np.array_equal(one, other) for one, other in zip(whole, cut, strict=True))


def test_features_depend_on_the_batch_size_by_rounding_only(classifier_space):
    images, _ = digits()
    one_by_one = extract(classifier_space, [images[:50]], 50, 1, CPU)
    at_once = extract(classifier_space, [images[:50]], 50, 100, CPU)
    for small, large in zip(one_by_one, at_once, strict=True):
        np.testing.assert_allclose(small, large, rtol=1e-4, atol=1e-5)


def test_only_as_many_images_as_asked_for_are_passed(classifier_space):
    images, _ = digits()
    features, logits = extract(classifier_space, [images[:30], images[30:60]], 40, 16, CPU)
    assert features.shape == (40, 8) and logits.shape == (40, 10)
    assert features.dtype == logits.dtype == np.float32


def test_the_classifier_refuses_images_of_another_size(classifier_space):
    images, _ = digits(image_size=8)
    with pytest.raises(UserError, match=r"\[8, 8, 1\].*\[16, 16, 1\]"):
        extract(classifier_space, [images], 10, 16, CPU)


def test_inception_sees_grayscale_as_three_equal_channels(sysu_shape, tmp_path):
    content = calibrated_weights(sysu_shape)
    (tmp_path / "inception.pth").write_bytes(content)
    space = open_feature_space(inception_stage(content), tmp_path / "inception.pth", CPU)
    gray = photographs(sysu_shape, 3)[..., :1]
    one_channel, _ = extract(space, [gray], 3, 3, CPU)
    three_channels, _ = extract(space, [gray.repeat(3, axis=3)], 3, 3, CPU)
    assert np.ptp(one_channel, axis=0).max() > 0.1
    assert np.array_equal(one_channel, three_channels)


def test_weights_in_the_older_file_format_give_the_same_features(sysu_shape, tmp_path):
    content, older = calibrated_weights(sysu_shape), io.BytesIO()
    state = torch.load(io.BytesIO(content), weights_only=True)
    torch.save(state, older, _use_new_zipfile_serialization=False)
    images, features = photographs(sysu_shape, 2), []
    for index, written in enumerate((content, older.getvalue())):
        path = tmp_path / f"{index}.pth"
        path.write_bytes(written)
        space = open_feature_space(inception_stage(written), path, CPU)
        features.append(extract(space, [images], 2, 2, CPU)[0])
    assert np.array_equal(*features)


# Weights that are refused


class Malicious:
    """Unpickled without restriction, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def malicious_weights(tmp_path, plain: bool) -> bytes:
    payload = {"fc.weight": Malicious(tmp_path / "owned")}
    if plain:
        return pickle.dumps(payload)
    content = io.BytesIO()
    torch.save(payload, content)
    return content.getvalue()


@pytest.mark.parametrize("plain", [False, True])
def test_a_malicious_pickle_of_the_pinned_sha256_is_refused_and_runs_nothing(tmp_path, plain):
    content = malicious_weights(tmp_path, plain)
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match="something else than tensors") as raised:
        open_feature_space(inception_stage(content), tmp_path / "weights.pth", CPU)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "owned").exists()


def test_the_malicious_pickle_would_run_if_it_were_loaded_without_restriction(tmp_path):
    content = malicious_weights(tmp_path, plain=False)
    torch.load(io.BytesIO(content), weights_only=False)
    assert (tmp_path / "owned").is_dir()


def test_weights_of_another_sha256_are_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(malicious_weights(tmp_path, plain=False))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was loaded"))
    with pytest.raises(UserError, match=r"not 0{64}; it was not opened"):
        open_feature_space(
            FeatureStage(
                version=1, features="inception", weights_sha256="0" * 64, weights_name="other"
            ),
            path,
            CPU,
        )


def test_tensors_of_another_network_are_refused(tmp_path):
    content = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, content)
    (tmp_path / "weights.pth").write_bytes(content.getvalue())
    with pytest.raises(UserError, match="not an Inception network"):
        stage = inception_stage(content.getvalue())
        open_feature_space(stage, tmp_path / "weights.pth", CPU)


def test_missing_inception_weights_say_in_one_line_how_to_get_them_without_network(tmp_path):
    stage = FeatureStage(version=1, features="inception", weights_sha256=PUBLISHED_INCEPTION_SHA256)
    with pytest.raises(UserError) as raised:
        open_feature_space(stage, tmp_path / "weights.pth", CPU)
    message = str(raised.value)
    assert "fetch_inception.py" in message and "https://" in message and "copy" in message
    assert "\n" not in message


def test_without_network_the_fetching_program_says_how_to_bring_the_file_by_hand(tmp_path):
    output = tmp_path / "inception" / "weights.pth"
    nobody = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, SCRIPTS / "fetch_inception.py", "--output", output],
        env={**os.environ, **nobody},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert PUBLISHED_INCEPTION_SHA256 in ended.stderr and f"copy it to {output}" in ended.stderr
    assert not output.parent.exists()


# Samples


def write_samples(folder, *ranges):
    images, _ = digits()
    paths = [folder / f"images-{first:06}-{last:06}.npy" for first, last in ranges]
    for path, (first, last) in zip(paths, ranges, strict=True):
        np.save(path, images[first : last + 1])
    return paths


def test_samples_are_taken_in_the_order_of_their_names(tmp_path):
    paths = write_samples(tmp_path, (0, 9), (10, 19), (20, 29))
    arrays = open_samples([paths[2], paths[0], paths[1]], 30)
    assert np.array_equal(np.concatenate(arrays), digits()[0][:30])


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ([(10, 19)], "the file with image 0 is missing"),
        ([(0, 9), (20, 29)], "the file with image 10 is missing"),
        ([(0, 9), (5, 19)], "the file with image 10 is missing"),
        ([(0, 9)], "12 samples are asked for and 10 are given"),
    ],
)
def test_samples_with_a_gap_or_too_few_are_refused(tmp_path, ranges, said):
    with pytest.raises(UserError, match=said):
        open_samples(write_samples(tmp_path, *ranges), 12)


def test_a_sample_file_that_holds_less_than_its_name_says_is_refused(tmp_path):
    (path,) = write_samples(tmp_path, (0, 9))
    np.save(path, digits()[0][:8])
    with pytest.raises(UserError, match="holds 8 images and its name says 10"):
        open_samples([path], 8)


def test_a_sample_file_of_another_name_is_refused(tmp_path):
    np.save(tmp_path / "grid.npy", digits()[0][:8])
    with pytest.raises(UserError, match="images-<first>-<last>"):
        open_samples([tmp_path / "grid.npy"], 8)


def test_arrays_that_need_unpickling_are_refused(tmp_path):
    np.save(tmp_path / "train.npy", np.array([Malicious(tmp_path / "owned")]), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read as images"):
        open_images([tmp_path / "train.npy"])
    assert not (tmp_path / "owned").exists()


def test_arrays_that_are_no_images_are_refused(tmp_path):
    np.save(tmp_path / "train.npy", np.zeros((4, 16, 16), np.float32))
    with pytest.raises(UserError, match=r"float32 \[4, 16, 16\]"):
        open_images([tmp_path / "train.npy"])


# The reference


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


def test_the_stage_pins_inception_weights_and_no_others():
    with pytest.raises(ValueError, match="weights_sha256"):
        FeatureStage(version=1, features="inception")
    assert inception_stage(b"").feature_space == "inception-untrained"
    assert inception_stage(b"", name=None).feature_space == "inception"
    assert CLASSIFIER.feature_space == "classifier"
