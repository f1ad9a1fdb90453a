"""Images as points in a feature space: the networks, their passes over images, the results on disk.

Two spaces: `inception`, the network that the field's scores are defined by, and `classifier`, a
small network trained on the dataset's own labels (classifier.py). One pass of either gives features
and logits, all that the scores need.
"""

import hashlib
import io
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .classifier import read_classifier, to_unit_range
from .config.scoring import PUBLISHED_INCEPTION_URLS, FeatureStage, ScoreRun
from .devices import usable_cores
from .files import replacing
from .program import UserError

# uint8 [N, C, H, W] to features [N, D] and logits [N, K], float32.
Network = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FeatureSpace:
    """A network that turns images into features and logits, and where it comes from."""

    name: str  # classifier, inception, inception-<name of other weights>
    network: Network
    dimensions: int
    weights_sha256: str
    image_shape: tuple[int, int, int] | None  # H, W, C that it takes; None: any size, C 1 or 3
    classifier_accuracy: float | None  # on held-out images


@dataclass(frozen=True)
class Reference:
    """The dataset's images in a feature space."""

    features: np.ndarray  # float32 [N, D]
    mu: np.ndarray  # float64 [D]
    sigma: np.ndarray  # float64 [D, D]
    weights_sha256: str


# Networks


def open_feature_space(stage: FeatureStage, weights: Path, device: torch.device) -> FeatureSpace:
    """Load the network of a feature space from its weights.

    Raises UserError when the weights are missing, are not the ones that the stage pins, or do not
    fit the network. Nothing of the file is interpreted before its sha256 is found right.
    """
    if stage.features == "inception":
        return _inception_space(stage, weights, device)
    return _classifier_space(stage, weights, device)


def _classifier_space(stage: FeatureStage, weights: Path, device: torch.device) -> FeatureSpace:
    classifier, summary = read_classifier(weights)
    classifier.to(device)

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        return classifier(to_unit_range(images))

    size = summary["image_size"]
    return FeatureSpace(
        name=stage.feature_space,
        network=network,
        dimensions=summary["features"],
        weights_sha256=summary["classifier_sha256"],
        image_shape=(size, size, summary["channels"]),
        classifier_accuracy=summary["accuracy_eval"],
    )


def _inception_space(stage: FeatureStage, weights: Path, device: torch.device) -> FeatureSpace:
    inception = _load_inception(_checked_bytes(stage, weights), weights)
    inception.to(device, memory_format=torch.channels_last)  # up to twice as fast on CPU

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        return inception(images.expand(-1, 3, -1, -1))  # grayscale is repeated

    assert stage.weights_sha256 is not None
    return FeatureSpace(
        name=stage.feature_space,
        network=network,
        dimensions=2048,
        weights_sha256=stage.weights_sha256,
        image_shape=None,
        classifier_accuracy=None,
    )


def _checked_bytes(stage: FeatureStage, path: Path) -> bytes:
    """The file's content, once its sha256 is the pinned one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        remedy = f"put the file with sha256 {stage.weights_sha256} there"
        if stage.weights_name is None:
            remedy = (
                "on a machine with network run `python workflow/scripts/fetch_inception.py "
                f"--output {path.name}`, or download {PUBLISHED_INCEPTION_URLS[0]}, "
                "and copy the file there"
            )
        raise UserError(
            f"{path}: the Inception weights cannot be read ({error.strerror}); {remedy}"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != stage.weights_sha256:
        raise UserError(
            f"{path}: its sha256 is {digest} and not {stage.weights_sha256}; it was not opened; "
            "fetch the right file, or name these weights (`weights: {path, sha256, name}`)"
        )
    return content


def _load_inception(content: bytes, path: Path) -> torch.nn.Module:
    """torch-fidelity's Inception with the weights in `content`, giving features and logits.

    Its constructor unpickles without restriction whatever it is given, so it is given a copy that
    is written here, of what the restricted loader found to be tensors and nothing else.
    """
    # Here and not above: this import takes seconds, and classifier features do without it.
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"{path}: holds something else than tensors and was refused ({first_line}); "
            "use the published weights"
        ) from None
    copy = io.BytesIO()
    torch.save(state, copy)
    copy.seek(0)
    try:
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=copy
        )
    except (RuntimeError, TypeError, AttributeError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"{path}: is not an Inception network in torch-fidelity's layout ({first_line}); "
            "use the published weights"
        ) from None


# Images


def open_images(paths: Sequence[Path]) -> list[np.ndarray]:
    """Memory-map arrays of uint8 images [N, H, W, C], C 1 or 3, all of one shape but N."""
    arrays: list[np.ndarray] = []
    for path in paths:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as images ({error}); make it again") from None
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3):
            raise UserError(
                f"{path}: holds {array.dtype} {list(array.shape)}; images are uint8 [N, H, W, C] "
                "with 1 or 3 channels"
            )
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise UserError(
                f"{path}: its images are {list(array.shape[1:])} and those of {paths[0]} are "
                f"{list(arrays[0].shape[1:])}; make both from one config"
            )
        arrays.append(array)
    return arrays


def open_samples(paths: Sequence[Path], count: int) -> list[np.ndarray]:
    """Memory-map the first `count` samples of files named images-<first>-<last>.npy.

    The files may be given in any order. Raises UserError when they do not follow each other from
    image 0 on, when one holds another number of images than its name says, or when all together
    hold fewer than `count`.
    """
    named = sorted((*_first_and_last(path), path) for path in paths)
    held = open_images([path for _, _, path in named])
    here = 0
    for (first, last, path), array in zip(named, held, strict=True):
        if first != here:
            raise UserError(
                f"{path}: begins at image {first}; the file with image {here} is missing"
            )
        if len(array) != last + 1 - first:
            raise UserError(
                f"{path}: holds {len(array)} images and its name says {last + 1 - first}; "
                "draw it again"
            )
        here = last + 1
    if here < count:
        raise UserError(f"{count} samples are asked for and {here} are given; draw the rest")
    return held


def _first_and_last(path: Path) -> tuple[int, int]:
    match = re.fullmatch(r"images-(\d+)-(\d+)\.npy", path.name)
    if match is None:
        raise UserError(f"{path}: samples are named images-<first>-<last>.npy")
    return int(match[1]), int(match[2])


def _batches(arrays: Sequence[np.ndarray], count: int, size: int) -> Iterator[np.ndarray]:
    """The first `count` images in batches that do not depend on how they are cut into files."""
    parts: list[np.ndarray] = []
    missing = min(size, count)
    for array in arrays:
        here = 0
        while missing and here < len(array):
            part = array[here : here + missing]
            parts.append(part)
            here, missing, count = here + len(part), missing - len(part), count - len(part)
            if missing == 0:
                yield np.concatenate(parts)
                parts, missing = [], min(size, count)


# Passes


def computing_device(run: ScoreRun) -> torch.device:
    """The GPU where there is one, else `run.cpus` cores; in float32 proper on both.

    PyTorch's default rounds the inputs of convolutions on GPUs to 10 bits of mantissa (TF32),
    which would move scores by more than they may differ from the field's.
    """
    torch.set_num_threads(usable_cores(run.cpus))
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def extract(
    space: FeatureSpace,
    arrays: Sequence[np.ndarray],
    count: int,
    batch_size: int,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Features [count, D] and logits [count, K], float32, of the first `count` images.

    `arrays` hold uint8 images [N, H, W, C]. Raises UserError when the network takes other shapes.
    """
    shape = arrays[0].shape[1:]
    if space.image_shape is not None and shape != space.image_shape:
        raise UserError(
            f"images are {list(shape)} (H, W, C) and the {space.name} takes "
            f"{list(space.image_shape)}; both must come from one dataset"
        )
    features = np.empty((count, space.dimensions), np.float32)
    logits: list[np.ndarray] = []
    here = 0
    with tqdm(total=count, desc=f"{space.name} features", unit="image") as progress:
        for images in _batches(arrays, count, batch_size):
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
            batch_features, batch_logits = space.network(pixels)
            features[here : here + len(images)] = batch_features.cpu().numpy()
            logits.append(batch_logits.cpu().numpy())
            here += len(images)
            progress.update(len(images))
    assert here == count
    return features, np.concatenate(logits)


# Statistics, and the reference on disk


def feature_statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D, D], float64, of float32 features [N, D] with N > 1.

    The mean is summed in float32 because torch-fidelity's is: at 50,000 images the two differ by
    as much as scores may differ from it.
    """
    return features.mean(axis=0).astype(np.float64), np.cov(features, rowvar=False)


def reference_features(
    stage: FeatureStage, images: Sequence[Path], weights: Path, run: ScoreRun
) -> Reference:
    """The features and statistics of all images of the listed arrays, in order."""
    arrays = open_images(images)
    count = sum(len(array) for array in arrays)
    if count < 2:
        names = ", ".join(map(str, images))
        raise UserError(f"{names}: {count} images; a reference needs two or more: add images")
    device = computing_device(run)
    space = open_feature_space(stage, weights, device)
    features, _ = extract(space, arrays, count, run.batch_size, device)
    return Reference(features, *feature_statistics(features), space.weights_sha256)


def write_reference(path: Path, reference: Reference) -> None:
    """Write a reference as .npz, atomically and without pickle."""
    with replacing(path) as temporary:
        np.savez(
            temporary,
            features=reference.features,
            mu=reference.mu,
            sigma=reference.sigma,
            weights_sha256=np.array(reference.weights_sha256),
        )


def read_reference(path: Path) -> Reference:
    """Read what `write_reference` wrote. Raises UserError when it is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Reference(
                features=stored["features"],
                mu=stored["mu"],
                sigma=stored["sigma"],
                weights_sha256=str(stored["weights_sha256"]),
            )
    except (OSError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: cannot be read as reference features ({error}); make it again "
            "(workflow/scripts/reference_features.py)"
        ) from None
