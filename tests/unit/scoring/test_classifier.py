"""Classifier: the labels it learns, and the same weights each time."""

import numpy as np
import pytest
import torch
from labelled_digits import digits, write_dataset, write_digits

from ddpm_bench.config.dataset import Classifier
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, sha256, write_json
from ddpm_bench.scoring.features.classifier import (
    SUMMARY_NAME,
    WEIGHTS_NAME,
    ClassifierNetwork,
    read_classifier,
    read_labelled,
    shifted,
    train_classifier,
    write_classifier,
)

BRIEF = Classifier(steps=5, batch_size=16, features=8)


@pytest.fixture(scope="module")
def small_digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("datasets") / "digits", train=60, held_out=20)


def test_at_least_97_percent_of_held_out_digits_are_named_right(tmp_path):
    _, summary = train_classifier(write_digits(tmp_path / "digits"), Classifier())
    assert (summary["images_train"], summary["images_eval"]) == (1437, 360)
    assert summary["accuracy_eval"] >= 0.97
    assert summary["labels"] == list("0123456789")


def test_the_same_keys_give_the_same_bytes_on_any_number_of_threads(small_digits, tmp_path):
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            write_classifier(tmp_path / str(count), *train_classifier(small_digits, BRIEF))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for name in (WEIGHTS_NAME, SUMMARY_NAME):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_another_seed_gives_other_weights(small_digits, tmp_path):
    other = BRIEF.model_copy(update={"seed": 1})
    write_classifier(tmp_path / "a", *train_classifier(small_digits, BRIEF))
    write_classifier(tmp_path / "b", *train_classifier(small_digits, other))
    assert sha256(tmp_path / "a" / WEIGHTS_NAME) != sha256(tmp_path / "b" / WEIGHTS_NAME)


def test_training_leaves_the_global_random_numbers_alone(small_digits):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train_classifier(small_digits, BRIEF)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("label", "said"), [("", "no labels"), ("cat", "the single label 'cat'")])
def test_images_without_two_labels_are_refused_with_the_remedy(tmp_path, label, said):
    images, _ = digits()
    write_dataset(tmp_path / "photos", {"train": (images[:4], [label] * 4)})
    with pytest.raises(UserError) as raised:
        train_classifier(tmp_path / "photos", BRIEF)
    message = str(raised.value)
    assert "dataset photos" in message and said in message and "\n" not in message
    assert "sub-folders as labels" in message and "`features: inception`" in message


def test_images_that_were_left_out_are_no_label(tmp_path):
    images, _ = digits()
    labels = ["a", "b", "a", "b"]
    write_dataset(tmp_path / "d", {"train": (images[:4], labels)}, left_out=("c",))
    names, train, held_out = read_labelled(tmp_path / "d")
    assert names == ["a", "b"] and held_out is None
    assert train.labels.tolist() == [0, 1, 0, 1] and train.positions.tolist() == [0, 1, 2, 3]


def test_unlabelled_images_among_labelled_ones_are_passed_over(tmp_path):
    images, _ = digits()
    write_dataset(tmp_path / "d", {"train": (images[:4], ["a", "", "b", ""])})
    _, train, _ = read_labelled(tmp_path / "d")
    assert train.positions.tolist() == [0, 2]


def test_held_out_accuracy_is_null_when_nothing_is_held_out(tmp_path):
    _, summary = train_classifier(write_digits(tmp_path / "d", train=40, held_out=0), BRIEF)
    assert summary["accuracy_eval"] is None and summary["images_eval"] == 0


def test_a_batch_larger_than_the_dataset_is_all_of_it(tmp_path):
    keys = Classifier(steps=1, batch_size=1000)
    _, summary = train_classifier(write_digits(tmp_path / "d", train=20, held_out=0), keys)
    assert summary["images_train"] == 20


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 16, 28, 32, 33, 64, 200])
def test_images_of_every_size_and_channel_count_get_features_and_logits(size, channels):
    network = ClassifierNetwork(channels, size, features=64, classes=5)
    features, logits = network(torch.rand(2, channels, size, size))
    assert features.shape == (2, 64) and logits.shape == (2, 5)


def test_shifts_move_an_image_by_an_eighth_at_most():
    image = torch.arange(256.0).reshape(1, 1, 16, 16)
    for moved in shifted(image.repeat(20, 1, 1, 1), torch.Generator().manual_seed(0)):
        centre = moved[0, 8, 8].item()
        row, column = divmod(int(centre), 16)
        assert abs(row - 8) <= 2 and abs(column - 8) <= 2
        assert torch.equal(
            moved[0, 4:12, 4:12], image[0, 0, row - 4 : row + 4, column - 4 : column + 4]
        )


def test_a_loss_that_is_not_finite_names_the_learning_rate(small_digits):
    with pytest.raises(UserError, match="learning_rate = 1e\\+30"):
        train_classifier(small_digits, Classifier(steps=20, batch_size=16, learning_rate=1e30))


def test_what_is_written_is_read_back_in_evaluation_mode(small_digits, tmp_path):
    network, summary = train_classifier(small_digits, BRIEF)
    write_classifier(tmp_path / "c", network, summary)
    again, read = read_classifier(tmp_path / "c" / WEIGHTS_NAME)
    assert read == {**summary, "classifier_sha256": sha256(tmp_path / "c" / WEIGHTS_NAME)}
    images = torch.from_numpy(np.random.default_rng(0).random((3, 1, 16, 16), np.float32))
    assert not again.training
    assert torch.equal(again(images)[1], network(images)[1])


def test_weights_of_another_summary_are_refused(small_digits, tmp_path):
    write_classifier(tmp_path / "c", *train_classifier(small_digits, BRIEF))
    path = tmp_path / "c" / SUMMARY_NAME
    write_json(path, {**read_json(path), "classifier_sha256": "0" * 64})
    with pytest.raises(UserError, match="dataset's classifier is trained again"):
        read_classifier(tmp_path / "c" / WEIGHTS_NAME)


def test_a_missing_classifier_says_how_to_train_it(tmp_path):
    with pytest.raises(UserError, match=r"train_classifier\.py"):
        read_classifier(tmp_path / WEIGHTS_NAME)
