"""What a cell of the throughput benchmark trains: a model, a batch and a loss.

Built on the CPU from the seed alone, so that every process of a cell has the same model and the
same global batch, of which it takes its share.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_bench.config.benchmark import Albert, CellMeasuring, Network, OwnModel, Resnet
from ddpm_bench.models import diffusion
from ddpm_bench.models.randomness import derived_seed
from ddpm_bench.throughput.workloads.workload import Workload

MASKED = 0.15  # of the tokens of a sequence (Devlin et al. 2019, section 3.1)


def build_workload(
    network: Network, measuring: CellMeasuring, samples: int, images: np.ndarray | None = None
) -> Workload:
    """A network with a batch of `samples`, on the CPU, from `measuring.seed`.

    images: uint8 [N, H, W, C], to take in place of random ones, from the first on, over again where
    N < samples. The global generator is left as it was. Raises UserError for a model of the user's
    that cannot be trained.

    Weights are contiguous, as fully_shard needs them; memory_layout.py lays them out as the other
    strategies compute them faster. Images are in channels_last.
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
    """Each use draws from a stream of its own: 0, what the model sees; 1, its labels."""
    return torch.Generator().manual_seed(derived_seed(seed, "sample", use))


def _pictures(measuring: CellMeasuring, samples: int, images: np.ndarray | None) -> torch.Tensor:
    """Float32 [samples, C, H, W] in [-1, 1], in channels_last."""
    if images is None:
        size = measuring.image_size
        shape = (samples, size, size, measuring.channels)
        generator = _generator(measuring.seed, 0)
        levels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    else:
        levels = torch.from_numpy(images[np.arange(samples) % len(images)])
    return diffusion.to_model_range(levels).contiguous(memory_format=torch.channels_last)


def _resnet(network: Resnet, measuring: CellMeasuring, pictures: torch.Tensor) -> Workload:
    """Labels drawn at random, learnt with cross entropy."""
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
    """Random tokens, some of them masked, learnt at every position.

    The last token of the vocabulary is the mask: with random weights any can be. No shards: the
    weights of the one layer are used again and again, so that all are gathered at once.
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
    """Cross entropy of logits [N, length, vocabulary] and tokens [N, length]."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
