"""Extraction of features: the images it reads, and that it depends on them alone."""

import dataclasses

import numpy as np
import pytest
import torch
from feature_spaces import CLASSIFIER, CPU, Malicious, small_classifier
from labelled_digits import digits

from ddpm_bench.errors import UserError
from ddpm_bench.images.sample_files import open_images, open_samples
from ddpm_bench.scoring.features.extraction import extract
from ddpm_bench.scoring.features.spaces import open_feature_space


@pytest.fixture(scope="module")
def classifier_space(tmp_path_factory):
    weights = small_classifier(tmp_path_factory.mktemp("classifier"))
    return open_feature_space(CLASSIFIER, weights, CPU)


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
    with pytest.raises(UserError, match="cannot be read as an array"):
        open_images([tmp_path / "train.npy"])
    assert not (tmp_path / "owned").exists()


def test_arrays_that_are_no_images_are_refused(tmp_path):
    np.save(tmp_path / "train.npy", np.zeros((4, 16, 16), np.float32))
    with pytest.raises(UserError, match=r"float32 \[4, 16, 16\]"):
        open_images([tmp_path / "train.npy"])


def test_arrays_of_other_values_than_bytes_say_what_they_hold(tmp_path):
    np.save(tmp_path / "train.npy", np.full((4, 8, 8, 3), -1, np.float32))
    with pytest.raises(UserError, match=r"values from -1 to -1; images are uint8 .* from 0 to 255"):
        open_images([tmp_path / "train.npy"])


def test_a_feature_that_is_not_finite_is_refused_with_the_images_number(classifier_space):
    def network(images):
        features, logits = classifier_space.network(images)
        features[images.sum(dim=(1, 2, 3)) == 0] = torch.nan  # the black image's
        return features, logits

    images = digits()[0][:20].copy()
    images[13] = 0
    broken = dataclasses.replace(classifier_space, network=network)
    with pytest.raises(UserError, match="image 13 has classifier features that are not finite"):
        extract(broken, [images], 20, 8, CPU)
