"""Workloads of the throughput benchmark, one for each kind of network.

They are built on the CPU from the seed alone, so that every process of a cell has the same model
and the same global batch, of which it takes its share.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_bench.config.benchmark import Albert, CellMeasuring, Network, OwnModel, Resnet
from ddpm_bench.models import diffusion
from ddpm_bench.models.randomness import derived_seed
from ddpm_bench.throughput.workloads.workload import Workload

MASKED = 0.15  # share of the tokens of a sequence (Devlin et al. 2019, section 3.1)


def build_workload(
    network: Network, measuring: CellMeasuring, samples: int, images: np.ndarray | None = None
) -> Workload:
    """Build a network with a batch of `samples` and a loss, on the CPU, from `measuring.seed`.

    images: uint8 [N, H, W, C] to use in place of random ones, from the first on, repeated where
    N < samples. torch's global generator keeps its state. Raises UserError for a user's model that
    cannot be trained.

    Weights are contiguous, as fully_shard needs them; models/fast_layers.py lays them out for the
    other strategies. Images are in channels_last.
    """
    if isinstance(network, OwnModel):
        from ddpm_bench.throughput.workloads.own_model import own_workload

        return own_workload(network, measuring.seed, samples)
    if isinstance(network, Albert):
        return _albert(network, measuring.seed, samples)
    pictures = _pictures(measuring, samples, images)
    if isinstance(network, Resnet):
        return _resnet(network, measuring, pictures)
    from ddpm_bench.throughput.workloads.denoiser import denoiser_workload

    return denoiser_workload(network, measuring.seed, pictures)


def _generator(seed: int, use: int) -> torch.Generator:
    """Return the random generator of one use: 0 for the model's inputs, 1 for labels."""
    return torch.Generator().manual_seed(derived_seed(seed, "sample", use))


def _pictures(measuring: CellMeasuring, samples: int, images: np.ndarray | None) -> torch.Tensor:
    """Return images, float32 [samples, C, H, W] in [-1, 1], in channels_last."""
    if images is None:
        size = measuring.image_size
        shape = (samples, size, size, measuring.channels)
        generator = _generator(measuring.seed, 0)
        levels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    else:
        levels = torch.from_numpy(images[np.arange(samples) % len(images)])
    return diffusion.to_model_range(levels).contiguous(memory_format=torch.channels_last)


def _resnet(network: Resnet, measuring: CellMeasuring, pictures: torch.Tensor) -> Workload:
    """Build a resnet of torchvision that learns random labels with cross entropy."""
    import torchvision

    channels = pictures.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(measuring.seed, "weights"))
        model = torchvision.models.get_model(
            network.name, weights=None, num_classes=measuring.classes
        )
        if channels != model.conv1.in_channels:
            model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    labels = torch.randint(
        measuring.classes, (len(pictures),), generator=_generator(measuring.seed, 1)
    )
    levels = (model.layer1, model.layer2, model.layer3, model.layer4)
    return Workload(
        model,
        (pictures,),
        labels,
        F.cross_entropy,
        sample="image",
        shards=tuple(block for level in levels for block in level),
    )


def _albert(network: Albert, seed: int, samples: int) -> Workload:
    """Build ALBERT, which learns random tokens at every position, some of them masked.

    The last token of the vocabulary serves as the mask; with random weights any token can. There
    are no shards: the one layer's weights are used again and again, so all are gathered at once.
    """
    from ddpm_bench.throughput.workloads.albert import build_albert

    generator = _generator(seed, 0)
    shape = (samples, network.sequence_length)
    tokens = torch.randint(network.vocabulary, shape, generator=generator)
    masked = torch.rand(shape, generator=generator) < MASKED
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        model = build_albert(network)
    inputs = tokens.masked_fill(masked, network.vocabulary - 1)
    return Workload(model, (inputs,), tokens, _token_error, sample="sequence")


def _token_error(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy of logits [N, length, vocabulary] and tokens [N, length]."""

    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
