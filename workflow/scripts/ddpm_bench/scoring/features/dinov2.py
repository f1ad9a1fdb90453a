"""DINOv2 features (Oquab et al. 2023) from a local safetensors file, equal to torch-fidelity's.

torch-fidelity's own extractor resizes and normalises the images. Its constructor fetches the
network through torch.hub; here the network is built by transformers instead, from a file in the
layout of Hugging Face's facebook/dinov2-small, -base, -large and -giant, which hold the hub's
weights under other names.

The two differ in one thing. The networks were trained on 37 × 37 patches and are applied to 16 ×
16, for which their position embeddings are interpolated: by the hub with a scale of 16.1 / 37 (an
offset of 0.1 against rounding), by transformers to a size of 16. They are interpolated here, once,
as the hub does it, so that features are the hub's and torch-fidelity's.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from ddpm_bench.errors import UserError

PATCH = 14  # pixels
PATCHES = FeatureExtractorDinoV2.INPUT_IMAGE_SIZE // PATCH  # of a side: 16
INTERPOLATION_OFFSET = 0.1  # of the hub's networks
POSITIONS = "embeddings.position_embeddings"


@dataclass(frozen=True)
class Architecture:
    """Size of a DINOv2 network of Oquab et al. 2023.

    swiglu: whether its feed-forward layers are SwiGLU's.
    """

    width: int
    depth: int
    heads: int
    swiglu: bool = False


ARCHITECTURES = {
    "vit-s-14": Architecture(384, 12, 6),
    "vit-b-14": Architecture(768, 12, 12),
    "vit-l-14": Architecture(1024, 24, 16),
    "vit-g-14": Architecture(1536, 40, 24, swiglu=True),
}


class ClassToken(nn.Module):
    """Network from normalised pixels [N, 3, 224, 224] to the layer-normed class token [N, D]."""

    def __init__(self, network: transformers.Dinov2Model) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the class tokens [N, D] of pixels [N, 3, 224, 224]."""
        return self.network(pixels).pooler_output


class LocalDinoV2(FeatureExtractorDinoV2):
    """torch-fidelity's extractor around a given network: uint8 [N, 3, H, W] to [N, D]."""

    def __init__(self, name: str, network: transformers.Dinov2Model) -> None:
        # Not the constructor of FeatureExtractorDinoV2, which downloads the network.
        FeatureExtractorBase.__init__(self, f"dinov2-{name}", ["dinov2"])
        self.feature_extractor_internal_dtype = torch.float32
        self.model = ClassToken(network)
        self.requires_grad_(False)
        self.eval()


def load_dinov2(name: str, content: bytes, path: Path) -> LocalDinoV2:
    """Return the extractor of the architecture `name`, from the content of a safetensors file.

    Raises UserError when the file holds other tensors than that network's.
    """
    try:
        tensors = load_safetensors(content)
    except SafetensorError as error:
        raise _other_network(path, name, error) from None
    if POSITIONS not in tensors:
        raise _other_network(path, name, f"missing {POSITIONS}")
    side = math.isqrt(tensors[POSITIONS].shape[1] - 1)
    network = _network(ARCHITECTURES[name], side, tensors, path, name)
    embeddings = network.embeddings
    embeddings.position_embeddings = nn.Parameter(hub_positions(embeddings.position_embeddings))
    return LocalDinoV2(name, network)


def _network(
    architecture: Architecture, side: int, tensors: dict[str, Tensor], path: Path, name: str
) -> transformers.Dinov2Model:
    """Return transformers' network for side × side patches with exactly these tensors.

    Raises UserError when one is missing, unexpected, or of another shape.
    """
    config = transformers.Dinov2Config(
        hidden_size=architecture.width,
        num_hidden_layers=architecture.depth,
        num_attention_heads=architecture.heads,
        use_swiglu_ffn=architecture.swiglu,
        image_size=PATCH * side,
        patch_size=PATCH,
    )
    # Its warnings are of no use: `found` is checked below.
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    transformers.logging.disable_progress_bar()
    network, found = transformers.Dinov2Model.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    wrong = [
        f"{kind.removesuffix('_keys')} {sorted(found[kind], key=str)[0]}"
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if found[kind]
    ]
    if wrong:
        raise _other_network(path, name, ", ".join(wrong))
    return network


def hub_positions(positions: Tensor) -> Tensor:
    """Interpolate position embeddings [1, 1 + n², D] to 16 × 16 patches, [1, 257, D].

    They are those of the hub's networks. The first is the class token's. Bicubic;
    facebookresearch/dinov2, `interpolate_pos_encoding`.
    """
    token, grid = positions[:, :1], positions[:, 1:]
    side = math.isqrt(grid.shape[1])
    if side == PATCHES:
        return positions
    scale = (PATCHES + INTERPOLATION_OFFSET) / side
    grid = grid.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    assert grid.shape[2:] == (PATCHES, PATCHES)
    return torch.cat([token, grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def _other_network(path: Path, name: str, reason: object) -> UserError:
    """Return the error for a file of another network."""
    return UserError(
        f"{path}: is not the DINOv2 network {name} in Hugging Face's layout ({reason}); use "
        "model.safetensors of facebook/dinov2-small, -base, -large or -giant, and its name: "
        f"{', '.join(ARCHITECTURES)}"
    )
