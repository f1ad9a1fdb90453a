"""Feature spaces: the networks that turn images into features, loaded from checked weights.

Two spaces: `inception`, the network that the field's scores are defined by, and `classifier`, a
small network trained on the dataset's own labels (classifier.py). One pass of either gives features
and logits, all that the scores need.
"""

import hashlib
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .classifier import read_classifier, to_unit_range
from .config.scoring import PUBLISHED_INCEPTION_URLS, FeatureStage
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
