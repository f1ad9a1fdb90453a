"""MNIST, Fashion-MNIST and CIFAR-10: small archives in the published formats."""

import csv
import gzip
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ddpm_bench import files
from ddpm_bench.config.dataset import FetchStage, PrepareStage
from ddpm_bench.data import standard_datasets
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.preparing import prepare
from ddpm_bench.data.standard_datasets import Archive, published_batches, read_cifar, read_idx
from ddpm_bench.errors import UserError

RANDOM = np.random.default_rng(0)


def idx(array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def archive_of(path):
    return Archive(path.name, files.sha256(path), ((path.parent / "gone").as_uri(), path.as_uri()))


def idx_archives(folder, train=20, test=6):
    """Write the four archives of an MNIST-like dataset; return its images and labels by part."""
    folder.mkdir()
    parts, archives = {}, []
    for part, stem, count in (("train", "train", train), ("test", "t10k", test)):
        images = RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        parts[part] = images, labels
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{stem}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array), mtime=0))
            archives.append(archive_of(path))
    return tuple(archives), parts


def cifar_archive(folder, per_batch=4):
    """Write a CIFAR-10 archive; return its images [n, 32, 32, 3] and labels, training first."""
    inner = folder / "cifar-10-batches-bin"
    inner.mkdir(parents=True)
    images = RANDOM.integers(0, 256, (6 * per_batch, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(6 * per_batch, dtype=np.uint8) % 10
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    records = np.concatenate([labels[:, None], planes], axis=1)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for name, batch in zip(names, np.split(records, 6), strict=True):
        (inner / name).write_bytes(batch.tobytes())
    (inner / "readme.html").write_text("about")
    path = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(inner, inner.name)
    return archive_of(path), images, labels


def fetch_kind(kind, folder):
    stage = FetchStage.model_validate_json(json.dumps({"version": 1, "source": {"kind": kind}}))
    return fetch(stage.source, folder)


def prepare_kind(kind, tmp_path, **keys):
    files.write_json(tmp_path / "raw.json", fetch_kind(kind, tmp_path / "raw"))
    stage = PrepareStage(version=1, kind=kind, **({"image_size": 32, "channels": 1} | keys))
    summary = prepare(stage, 1, tmp_path / "raw.json", tmp_path / "out")
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        return summary, list(csv.DictReader(file))


def test_every_checksum_is_pinned_and_every_file_has_two_addresses():
    for archives in standard_datasets.ARCHIVES.values():
        for archive in archives:
            assert len(bytes.fromhex(archive.sha256)) == 32
            assert len(archive.urls) >= 2
            assert all(url.endswith(f"/{archive.name}") for url in archive.urls)
    assert {kind: len(found) for kind, found in standard_datasets.ARCHIVES.items()} == {
        "mnist": 4,
        "fashion-mnist": 4,
        "cifar10": 1,
    }


@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist"])
def test_idx_archives_are_read_as_they_were_written(tmp_path, monkeypatch, kind):
    archives, parts = idx_archives(tmp_path / "web")
    monkeypatch.setitem(standard_datasets.ARCHIVES, kind, archives)
    found = fetch_kind(kind, tmp_path / "raw")
    batches = {batch.part: batch for batch in published_batches(kind, tmp_path / "raw")}
    assert found["files"] == 4
    for part, (images, labels) in parts.items():
        assert np.array_equal(batches[part].images[..., 0], images)
        assert batches[part].labels == [standard_datasets.CLASSES[kind][label] for label in labels]


def test_cifar_archives_are_read_as_they_were_written(tmp_path, monkeypatch):
    archive, images, labels = cifar_archive(tmp_path / "web")
    monkeypatch.setitem(standard_datasets.ARCHIVES, "cifar10", (archive,))
    fetch_kind("cifar10", tmp_path / "raw")
    batches = list(published_batches("cifar10", tmp_path / "raw"))
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), images)
    names = [standard_datasets.CLASSES["cifar10"][label] for label in labels]
    assert [label for batch in batches for label in batch.labels] == names
    assert [(batch.part, batch.first) for batch in batches] == [
        *[("train", first) for first in (0, 4, 8, 12, 16)],
        ("test", 0),
    ]


def test_an_archive_with_another_checksum_leaves_nothing_behind(tmp_path, monkeypatch):
    archives, _ = idx_archives(tmp_path / "web")
    wrong = Archive(archives[3].name, "0" * 64, archives[3].urls)
    monkeypatch.setitem(standard_datasets.ARCHIVES, "mnist", (*archives[:3], wrong))
    with pytest.raises(UserError, match=r"t10k-labels.*expected 0000"):
        fetch_kind("mnist", tmp_path / "out" / "raw")
    assert not (tmp_path / "out" / "raw").exists()


def test_archives_brought_by_hand_need_no_network(tmp_path, monkeypatch):
    archives, _ = idx_archives(tmp_path / "web")
    offline = [Archive(a.name, a.sha256, ("http://127.0.0.1:1/a",)) for a in archives]
    monkeypatch.setitem(standard_datasets.ARCHIVES, "mnist", tuple(offline))
    for archive in archives:
        with pytest.raises(UserError, match="copy it to") as raised:
            fetch_kind("mnist", tmp_path / "raw")
        place = Path(str(raised.value).split("copy it to ")[1])
        place.parent.mkdir(exist_ok=True)
        (tmp_path / "web" / archive.name).rename(place)
    assert fetch_kind("mnist", tmp_path / "raw")["files"] == 4


CONTENT = idx(np.zeros((2, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(gzip.compress(CONTENT)[:-9], "cannot be read", id="cut archive"),
        pytest.param(b"no gzip", "cannot be read", id="no archive"),
        pytest.param(gzip.compress(CONTENT[:-1]), "1567 bytes of data", id="a byte short"),
        pytest.param(gzip.compress(CONTENT[:6]), "is no IDX file", id="cut header"),
        pytest.param(
            gzip.compress(b"\x00\x00\x0d\x03" + CONTENT[4:]), "is no IDX file", id="floats"
        ),
        pytest.param(
            gzip.compress(idx(np.zeros(5, np.uint8))), "is no IDX file", id="one dimension"
        ),
    ],
)
def test_a_wrong_idx_file_is_named(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"train-images-idx3-ubyte.gz: .*{message}"):
        read_idx(path, dimensions=3)


def test_a_label_file_of_another_length_is_named(tmp_path, monkeypatch):
    archives, _ = idx_archives(tmp_path / "web", train=5)
    monkeypatch.setitem(standard_datasets.ARCHIVES, "mnist", archives)
    fetch_kind("mnist", tmp_path / "raw")
    path = tmp_path / "raw" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(4, np.uint8))))
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte.gz: has 4 labels for 5 images"):
        list(published_batches("mnist", tmp_path / "raw"))


@pytest.mark.parametrize("size", [0, 3072, 3074])
def test_a_truncated_cifar_file_is_named(tmp_path, size):
    (tmp_path / "test_batch.bin").write_bytes(bytes(size))
    with pytest.raises(UserError, match=rf"test_batch\.bin: has {size} bytes"):
        read_cifar(tmp_path / "test_batch.bin")


def test_the_published_split_is_kept(tmp_path, monkeypatch):
    archives, _ = idx_archives(tmp_path / "web", train=12, test=11)
    monkeypatch.setitem(standard_datasets.ARCHIVES, "mnist", archives)
    summary, rows = prepare_kind("mnist", tmp_path, eval_fraction="published")
    assert (summary["train"], summary["eval"]) == (12, 11)
    assert [row["source"] for row in rows[:11]] == [f"train[{index}]" for index in range(11)]
    assert rows[12] | {"sha256": ""} == {
        **{"source": "test[0]", "split": "eval", "position": "0", "label": "0", "width": "28"},
        **{"height": "28", "mode": "L", "sha256": "", "left_out": ""},
    }


def test_the_published_test_part_is_never_trained_on(tmp_path, monkeypatch):
    archives, _ = idx_archives(tmp_path / "web", train=20, test=6)
    monkeypatch.setitem(standard_datasets.ARCHIVES, "mnist", archives)
    summary, rows = prepare_kind("mnist", tmp_path, eval_fraction=0.25)
    assert (summary["train"], summary["eval"]) == (15, 5)
    assert sum(summary["left_out"].values()) == 6
    assert all(row["left_out"] for row in rows if row["source"].startswith("test"))


def test_images_of_the_right_size_are_not_changed(tmp_path, monkeypatch):
    archive, images, _ = cifar_archive(tmp_path / "web")
    monkeypatch.setitem(standard_datasets.ARCHIVES, "cifar10", (archive,))
    prepare_kind("cifar10", tmp_path, channels=3, eval_fraction="published")
    assert np.array_equal(np.load(tmp_path / "out" / "train.npy"), images[:20])
    assert np.array_equal(np.load(tmp_path / "out" / "eval.npy"), images[20:])


def test_digits_are_prepared_with_their_labels(tmp_path):
    summary, rows = prepare_kind("sklearn-digits", tmp_path, image_size=16, eval_fraction=0.2)
    assert (summary["files"], summary["train"] + summary["eval"]) == (1797, 1797)
    assert summary["eval"] == round(0.2 * 1797)
    assert summary["labels"]["3"] == 183
    train = np.load(tmp_path / "out" / "train.npy", mmap_mode="r")
    assert train.shape == (summary["train"], 16, 16, 1)
    assert (rows[17]["source"], rows[17]["label"]) == ("train[17]", "7")
