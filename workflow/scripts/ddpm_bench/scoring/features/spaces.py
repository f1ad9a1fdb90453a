"""Feature spaces: the networks that turn images into features, loaded from checked weights.

`inception`, the network by which the field's scores are defined; `pytorch-fid`, the same network
after that program's own resize, for FIDs equal to that program's; `dinov2` (dinov2.py);
`classifier`, a small network trained on the dataset's own labels (classifier.py). One pass of
`inception` or `classifier` gives features and logits, all that the scores need.
"""

import hashlib
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ddpm_bench.config.scoring import DINOV2_DIMENSIONS, PUBLISHED_INCEPTION_URLS, FeatureStage
from ddpm_bench.errors import UserError
from ddpm_bench.models.diffusion import to_unit_range
from ddpm_bench.scoring.features.classifier import read_classifier

# From uint8 [N, C, H, W] to features [N, D] and logits [N, K] or None, float32.
Network = Callable[[Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class FeatureSpace:
    """Network that turns images into features and logits, and the origin of its weights."""

    name: str  # classifier, inception, inception-<name of other weights>
    network: Network
    dimensions: int
    weights_sha256: str
    image_shape: tuple[int, int, int] | None = None  # H, W, C of inputs; None: any size, C 1 or 3
    classifier_accuracy: float | None = None  # on held-out images


def open_feature_space(stage: FeatureStage, weights: Path, device: torch.device) -> FeatureSpace:
    """Load the network of a feature space from its weights.

    Raises UserError when the weights are missing, are not the ones that the stage pins, or do not
    fit the network. Nothing of the file is interpreted before its sha256 is found right.
    """
    if stage.features == "classifier":
        return _classifier_space(stage, weights, device)
    openers = {
        "inception": _inception_network,
        "pytorch-fid": _pytorch_fid_network,
        "dinov2": _dinov2_network,
    }
    content = _checked_bytes(stage, weights)
    network, dimensions = openers[stage.features](stage, content, weights, device)
    assert stage.weights_sha256 is not None
    return FeatureSpace(stage.feature_space, network, dimensions, stage.weights_sha256)


def _classifier_space(stage: FeatureStage, weights: Path, device: torch.device) -> FeatureSpace:
    """Load a dataset's classifier."""
    classifier, summary = read_classifier(weights)
    classifier.to(device)

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits of uint8 images [N, C, H, W]."""
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


def repeats_channels(stage: FeatureStage) -> bool:
    """Return whether grayscale is repeated because the network takes three channels only."""
    return stage.features != "classifier"


def _three_channels(images: Tensor) -> Tensor:
    """Expand [N, 1 or 3, H, W] to [N, 3, H, W]: grayscale is repeated."""
    return images.expand(-1, 3, -1, -1)


def _inception_network(
    stage: FeatureStage, content: bytes, weights: Path, device: torch.device
) -> tuple[Network, int]:
    """Load torch-fidelity's Inception; return it with the dimensions of its features."""
    inception = _fidelity_inception(_inception_tensors(content, weights), weights)
    inception.to(device, memory_format=torch.channels_last)  # up to twice as fast on CPU

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        return inception(_three_channels(images))

    return network, 2048


def _pytorch_fid_network(
    stage: FeatureStage, content: bytes, weights: Path, device: torch.device
) -> tuple[Network, int]:
    """Load pytorch-fid's Inception; return it with the dimensions of its features.

    It takes images as pytorch-fid's program does: scaled to [0, 1] by torchvision's ToTensor.
    """
    inception = _pytorch_fid_inception(_inception_tensors(content, weights), weights)
    inception.to(device, memory_format=torch.channels_last)

    def network(images: Tensor) -> tuple[Tensor, None]:
        pixels = _three_channels(images).to(torch.float32).div(255)
        (features,) = inception(pixels)  # which resizes as PyTorch does and scales to [-1, 1]
        return features.flatten(1), None

    return network, 2048


def _dinov2_network(
    stage: FeatureStage, content: bytes, weights: Path, device: torch.device
) -> tuple[Network, int]:
    """Load a DINOv2 network; return it with the dimensions of its features."""
    from ddpm_bench.scoring.features.dinov2 import load_dinov2

    assert stage.weights_name is not None
    extractor = load_dinov2(stage.weights_name, content, weights).to(device)

    def network(images: Tensor) -> tuple[Tensor, None]:
        (features,) = extractor(_three_channels(images))
        return features, None

    return network, DINOV2_DIMENSIONS[stage.weights_name]


# Weights


def _checked_bytes(stage: FeatureStage, path: Path) -> bytes:
    """Read a file once its sha256 is the pinned one; raise UserError otherwise."""
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
        network = "DINOv2" if stage.features == "dinov2" else "Inception"
        raise UserError(
            f"{path}: the {network} weights cannot be read ({error.strerror}); {remedy}"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != stage.weights_sha256:
        raise UserError(
            f"{path}: its sha256 is {digest} and not {stage.weights_sha256}; it was not opened; "
            "fetch the right file, or name these weights (`weights: {path, sha256, name}`; of "
            "score.py on its own: --weights-sha256 and --weights-name)"
        )
    return content


def _inception_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """Load the tensors in `content` with PyTorch's restricted loader, which executes nothing."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(
            f"{path}: holds something else than tensors and was refused ({first_line}); "
            "use the published weights"
        ) from None


def _fidelity_inception(state: dict[str, Tensor], path: Path) -> torch.nn.Module:
    """Return torch-fidelity's Inception with these weights; it outputs features and logits.

    Its constructor unpickles without restriction whatever file it receives, so it receives a copy
    that is written here, of tensors that the restricted loader has accepted.
    """
    # Imported here because it takes seconds, and classifier features do not need it.
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    copy = io.BytesIO()
    torch.save(state, copy)
    copy.seek(0)
    try:
        return FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=copy
        )
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _other_network(path, error) from None


def _pytorch_fid_inception(state: dict[str, Tensor], path: Path) -> torch.nn.Module:
    """Return pytorch-fid's Inception with these weights, up to its last pooling.

    Its constructor calls a function that downloads the weights; that function is replaced by one
    that returns these, for the duration of the call.
    """
    from pytorch_fid import inception

    download = inception.load_state_dict_from_url
    inception.load_state_dict_from_url = lambda *_, **__: state
    try:
        return inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _other_network(path, error) from None
    finally:
        inception.load_state_dict_from_url = download


def _other_network(path: Path, error: Exception) -> UserError:
    """Return the error for a file of another network."""
    first_line = str(error).splitlines()[0]
    return UserError(
        f"{path}: is not an Inception network in torch-fidelity's layout ({first_line}); "
        "use the published weights"
    )
