"""The autoencoder: images to latents, latents to codes, codes to images.

A VQ-VAE (van den Oord et al. 2017, "Neural Discrete Representation Learning"): diffusers' encoder
and decoder, with codebooks of vector-quantize-pytorch between them. Diffusion takes place in the
encoder's latents; the decoder looks codes up first, so small errors of sampling vanish (Rombach et
al. 2022, section 3.1).
"""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import Decoder, Encoder
from torch import nn
from vector_quantize_pytorch import ResidualVQ

from ddpm_bench.config.networks import VqVae
from ddpm_bench.models.randomness import derived_seed


def quantizer_arguments(keys: VqVae) -> dict[str, Any]:
    """Return the arguments of vector-quantize-pytorch's ResidualVQ for looking codes up."""
    return {
        "dim": keys.latent_channels,
        "codebook_size": keys.codebook_size,
        "codebook_dim": keys.codebook_dim,
        "num_quantizers": keys.residual_quantizers,
        "learnable_codebook": True,
        "ema_update": False,
    }


def decoder_arguments(keys: VqVae, channels: int) -> dict[str, Any]:
    """Return the arguments of diffusers' Decoder. channels: 1 or 3 of the images."""
    return {
        "in_channels": keys.latent_channels,
        "out_channels": channels,
        "up_block_types": ("UpDecoderBlock2D",) * len(keys.widths()),
        **levels(keys),
    }


def levels(keys: VqVae) -> dict[str, Any]:
    """Return the arguments that diffusers' Encoder and Decoder share."""
    return {
        "block_out_channels": keys.widths(),
        "layers_per_block": keys.layers_per_block,
        "norm_num_groups": keys.norm_num_groups,
        "mid_block_add_attention": keys.attention,
    }


class Codebooks(nn.Module):
    """One codebook, or several in a row that each look up the remainder of the ones before.

    Codes are parameters and learn by gradients, as in van den Oord et al. 2017, eq. 3; so averages,
    checkpoints and the sum over processes treat them as any other weight. The decoder's gradient
    passes the lookup to the encoder by rotation (Fifty et al. 2024), not as a copy. `counts` holds
    the number of uses of each code in training since it was last set to zero: int64 [codebooks,
    codes], None before the first use.
    """

    def __init__(self, keys: VqVae) -> None:
        super().__init__()
        # The package has one weight for both terms of the loss, so they are computed here.
        self.quantizer = ResidualVQ(
            **quantizer_arguments(keys), commitment_weight=0.0, rotation_trick=True
        )
        for module in self.quantizer.modules():  # of updates that are not by gradients
            for name in list(module._buffers):
                module.register_buffer(name, module._buffers[name], persistent=False)
        self._commitment = keys.commitment
        self.counts: torch.Tensor | None = None

    @torch.compiler.disable
    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Look latents [N, C, H, W] up.

        Returns the vectors of their codes, float32 [N, C, H, W]; the codes, int64 [N, H, W,
        codebooks]; and the mean loss of the images (see `losses`), a float32 scalar, 0 outside
        training.
        """
        images, channels, height, width = latents.shape
        # The nearest code is looked for in float32, whatever the precision around it is.
        with torch.autocast(latents.device.type, enabled=False):
            tokens = latents.float().permute(0, 2, 3, 1).reshape(images, height * width, channels)
            found, codes, _ = self.quantizer(tokens)
            codes = codes.reshape(images, height, width, -1)
            loss = tokens.new_zeros(())
            if self.training:
                self._count(codes)
                loss = self.losses(latents, codes).mean()
        found = found.reshape(images, height, width, channels).permute(0, 3, 1, 2)
        return found, codes, loss

    def losses(self, latents: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the loss of latents and their codes for each image: float32 [N].

        It is |sg[z] - e|^2 + commitment |z - sg[e]|^2, where sg stops gradients (van den Oord et
        al. 2017, eq. 3, second and third term), summed over the codebooks, each with the remainder
        of those before it as z. Squares are means over places and dimensions, as in the authors'
        program, Sonnet's VectorQuantizer. latents: [N, C, H, W]; codes: int64 [N, H, W, codebooks].
        """
        left = self.quantizer.project_in(latents.float().permute(0, 2, 3, 1).flatten(1, 2))
        total = left.new_zeros(len(left))
        for table, chosen in zip(self.code_weights(), codes.unbind(-1), strict=True):
            found = F.embedding(chosen.flatten(1), table[0])  # [N, H W, dimensions]
            of_codes = F.mse_loss(found, left.detach(), reduction="none")
            of_latents = F.mse_loss(left, found.detach(), reduction="none")
            total = total + (of_codes + self._commitment * of_latents).mean(dim=(1, 2))
            left = left - found.detach()
        return total

    @torch.no_grad()
    def _count(self, codes: torch.Tensor) -> None:
        """Add the uses of codes, int64 [N, H, W, codebooks], to `counts`."""
        now = code_counts(codes, self.quantizer.codebook_size)
        self.counts = now if self.counts is None else self.counts + now

    @torch.no_grad()
    def restart(self, dead: torch.Tensor, latents: torch.Tensor, seed: int) -> None:
        """Set unused codes, or all at the start, to latents that are drawn by chance.

        Dhariwal et al. 2020, section 3.1. dead: bool [codebooks, codes], True for those to set;
        latents: float32 [N, C, H, W].
        """
        vectors = latents.float().permute(0, 2, 3, 1).flatten(0, 2)
        vectors = self.quantizer.project_in(vectors)
        for number, layer in enumerate(self.quantizer.layers):
            codes = layer._codebook.embed[0]
            generator = torch.Generator().manual_seed(derived_seed(seed, "codebooks", number))
            order = torch.randperm(len(vectors), generator=generator)
            wanted = int(dead[number].sum())
            chosen = order.repeat(wanted // len(order) + 1)[:wanted].to(vectors.device)
            codes[dead[number]] = vectors[chosen]
            vectors = vectors - codes[torch.cdist(vectors, codes).argmin(dim=1)]

    def code_weights(self) -> list[nn.Parameter]:
        """Return the codes of each codebook: float32 [1, codes, dimensions]."""
        return [layer._codebook.embed for layer in self.quantizer.layers]


def code_counts(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Count the uses of each code: int64 [N, H, W, codebooks] to int64 [codebooks, codes]."""
    return torch.stack(
        [torch.bincount(part.flatten(), minlength=codebook_size) for part in codes.unbind(-1)]
    )


class AutoencoderNetwork(nn.Module):
    """Encoder, codebooks and decoder.

    Images are float32 [N, C, H, W] in [-1, 1], latents float32 [N, c, h, w].
    """

    def __init__(self, keys: VqVae, channels: int) -> None:
        super().__init__()
        self.encoder = Encoder(
            in_channels=channels,
            out_channels=keys.latent_channels,
            down_block_types=("DownEncoderBlock2D",) * len(keys.widths()),
            double_z=False,
            **levels(keys),
        )
        self.codebooks = Codebooks(keys)
        self.decoder = Decoder(**decoder_arguments(keys, channels))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images [N, C, H, W] as latents [N, c, h, w], before their codes are looked up."""
        return self.encoder(images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents [N, c, h, w], by the codes nearest to them, to images [N, C, H, W]."""
        return self.decoder(self.codebooks(latents)[0])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the reconstructions of images [N, C, H, W], their codes and the codebooks' loss.

        Codes are int64 [N, h, w, codebooks], the loss is a float32 scalar.
        """
        found, codes, loss = self.codebooks(self.encode(images))
        return self.decoder(found), codes, loss

    def image_losses(self, images: torch.Tensor) -> torch.Tensor:
        """Return the training's loss of each image: [N, C, H, W] to float32 [N]."""
        latents = self.encode(images)
        found, codes, _ = self.codebooks(latents)
        return reconstruction_losses(self.decoder(found), images) + self.codebooks.losses(
            latents, codes
        )


def build_autoencoder(keys: VqVae, channels: int, seed: int = 0) -> AutoencoderNetwork:
    """Build the network on the CPU, with weights drawn from the seed.

    channels: 1 or 3 of the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        return AutoencoderNetwork(keys, channels)


def trained_autoencoder(
    keys: VqVae, channels: int, weights: dict[str, torch.Tensor], device: torch.device
) -> AutoencoderNetwork:
    """Build the network of a checkpoint, on a device, to be used and not trained."""
    model = build_autoencoder(keys, channels)
    model.load_state_dict(weights)
    return model.to(device).eval()


def reconstruction_losses(reconstructed: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the squared error of each image, the mean over its pixels.

    Both are [N, C, H, W]; the result is float32 [N].
    """
    return F.mse_loss(reconstructed.float(), images, reduction="none").mean(dim=(1, 2, 3))
