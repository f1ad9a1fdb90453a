"""Latents of a dataset, on which an experiment trains in place of pixels, and their decoder.

    results/<autoencoder>/latents/train.npy, eval.npy    float32 [N, h, w, c], zero mean and unit
                                                         variance in each channel
                                  summary.json           their mean and scale, checksums, identity,
                                                         and the autoencoder's keys
                                  autoencoder.safetensors   its weights

An experiment that trains on them keeps the weights beside its checkpoints, and its manifests hold
their path, so that its samples need nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from ddpm_bench.config.autoencoder import ENCODING_BATCH
from ddpm_bench.config.block import canonical_json, what_keys
from ddpm_bench.config.networks import VqVae
from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing, sha256, sha256_text, write_record
from ddpm_bench.models.autoencoder import AutoencoderNetwork, trained_autoencoder
from ddpm_bench.models.diffusion import to_model_range
from ddpm_bench.records.checksums import open_array
from ddpm_bench.records.json_record import read_record
from ddpm_bench.records.layout import WEIGHTS
from ddpm_bench.training.checkpoints import publish
from ddpm_bench.training.manifests import checkpoint_entry, load_checkpoint

SPLITS = ("train", "eval")


@dataclass(frozen=True)
class Scaling:
    """The mean and standard deviation of each channel of an encoder's latents.

    Over the pixels of all training images.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def unscaled(self, latents: torch.Tensor) -> torch.Tensor:
        """Return scaled latents, float32 [N, c, h, w], in the decoder's own scale."""
        std, mean = (
            torch.tensor(value, device=latents.device)[:, None, None]
            for value in (self.std, self.mean)
        )
        return latents * std + mean


class Decoder:
    """The decoder of scaled latents that a training's manifest names."""

    def __init__(self, autoencoder: AutoencoderNetwork, scaling: Scaling) -> None:
        self.autoencoder, self.scaling = autoencoder, scaling

    @torch.inference_mode()
    def images(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode scaled latents, float32 [N, c, h, w], to images.

        Images are float32 [N, C, H, W], in [-1, 1] or a little beyond.
        """
        return self.autoencoder.decode(self.scaling.unscaled(latents))


def write_latents(
    keys: VqVae,
    manifest: Path,
    step: int,
    images: dict[str, Path],
    device: torch.device,
    output: Path,
) -> None:
    """Encode the images of both splits with the weights of a checkpoint and write their latents.

    images: train and eval, uint8 [N, H, W, C], .npy. Raises UserError when the latents of a channel
    are all equal: nothing could be learnt from it, and its scale would be infinite.
    """
    output.mkdir(parents=True, exist_ok=True)
    arrays = {name: open_array(path) for name, path in images.items()}
    channels = arrays["train"].shape[3]
    weights = load_checkpoint(manifest, step)
    autoencoder = trained_autoencoder(keys, channels, weights, device)
    encoded = {name: _encoded(autoencoder, array, device) for name, array in arrays.items()}
    pixels = encoded["train"].reshape(-1, encoded["train"].shape[3]).astype(np.float64)
    scaling = Scaling(pixels.mean(axis=0).tolist(), pixels.std(axis=0).tolist())
    if not min(scaling.std) > 0:
        raise UserError(
            f"{manifest}: a channel of its latents is the same everywhere (standard deviations "
            f"{scaling.std}): the autoencoder has collapsed. Train it longer, with a lower "
            "learning_rate, or with fewer latent_channels"
        )
    checksums = {}
    for name, latents in encoded.items():
        path = output / f"{name}.npy"
        scaled = (latents - np.array(scaling.mean)) / np.array(scaling.std)
        with replacing(path) as temporary:
            np.save(temporary, scaled.astype(np.float32))
        checksums[name] = sha256(path)
    entry = checkpoint_entry(manifest, step)
    publish(manifest.parent.parent / entry["file"], output / WEIGHTS)
    write_record(
        output / "summary.json",
        {
            **{name: len(latents) for name, latents in encoded.items()},
            "latent_channels": len(scaling.mean),
            "latent_size": encoded["train"].shape[1],
            "mean": scaling.mean,
            "std": scaling.std,
            "sha256": checksums,
            "identity": identity(keys, entry["sha256"], images["train"]),
            "autoencoder": {
                "sha256": entry["sha256"],
                "step": step,
                "channels": channels,
                "keys": keys.model_dump(mode="json", exclude_defaults=True),
            },
        },
    )


def identity(keys: VqVae, weights_sha256: str, images: Path) -> str:
    """Return a sha256 that names latents by what they are made from, not by their bytes.

    Another GPU's latents differ in their last bits, and no training should begin anew for that.
    """
    named = {"keys": what_keys(keys), "weights": weights_sha256, "images": sha256(images)}
    return sha256_text(canonical_json(named))


@torch.inference_mode()
def _encoded(
    autoencoder: AutoencoderNetwork, images: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return unscaled latents, float32 [N, h, w, c], of images uint8 [N, H, W, C]; N may be 0."""
    with tqdm(total=len(images), desc="encode", unit="image", dynamic_ncols=True) as bar:
        parts = []
        for levels in batches(images):
            pixels = to_model_range(torch.from_numpy(levels).to(device))
            parts.append(autoencoder.encode(pixels).float().permute(0, 2, 3, 1).cpu().numpy())
            bar.update(len(levels))
    if parts:
        return np.concatenate(parts)
    size = autoencoder.encode(torch.zeros(1, images.shape[3], *images.shape[1:3], device=device))
    return np.empty((0, *size.shape[2:], size.shape[1]), np.float32)


def batches(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield images in batches of up to ENCODING_BATCH, in memory."""
    for start in range(0, len(images), ENCODING_BATCH):
        yield np.array(images[start : start + ENCODING_BATCH])


def open_decoder(manifest_path: Path, device: torch.device) -> Decoder:
    """Return the decoder that a training's manifest names.

    Raises UserError when it names none, or its weights are missing or have another sha256.
    """
    entry = read_record(manifest_path).get("autoencoder")
    remedy = f"delete {manifest_path} and run snakemake again: nothing is trained twice"
    if entry is None:
        raise UserError(f"{manifest_path}: names no autoencoder; {remedy}")
    path = manifest_path.parent.parent / entry["file"]
    if not path.exists() or sha256(path) != entry["sha256"]:
        raise UserError(f"{path}: missing, or not what its manifest names (sha256); {remedy}")
    keys = VqVae.model_validate(entry["keys"])
    autoencoder = trained_autoencoder(keys, entry["channels"], load_file(path), device)
    return Decoder(autoencoder, Scaling(entry["mean"], entry["std"]))
