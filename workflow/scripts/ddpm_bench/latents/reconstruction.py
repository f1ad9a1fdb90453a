"""Reconstructions of an autoencoder: their errors, and the codes that they use."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ddpm_bench.config.autoencoder import ReconstructStage
from ddpm_bench.files import replacing, sha256, write_record
from ddpm_bench.latents.encoding import batches
from ddpm_bench.models.autoencoder import AutoencoderNetwork, code_counts, trained_autoencoder
from ddpm_bench.models.diffusion import to_model_range, to_uint8
from ddpm_bench.records.checksums import open_array
from ddpm_bench.training.manifests import load_checkpoint

# The share of the codes that could be used, by perplexity, below which a codebook has collapsed.
COLLAPSED_SHARE = 0.1


@dataclass(frozen=True)
class Reconstructed:
    """Reconstructed images, their errors, and the uses of each code.

    images: uint8 [N, H, W, C]; squared_error: the mean over the pixels, in [-1, 1], of each image,
    float64 [N]; counts: int64 [codebooks, codes].
    """

    images: np.ndarray
    squared_error: np.ndarray
    counts: np.ndarray


def write_reconstructions(
    stage: ReconstructStage,
    manifest: Path,
    step: int,
    images_path: Path,
    device: torch.device,
    output: Path,
    summary_path: Path,
) -> None:
    """Reconstruct images with a checkpoint's weights; write them and the summary of `described`.

    images_path: uint8 [N, H, W, C], .npy, of which the first are taken; output: the same form.
    Raises UserError when the manifest has no such checkpoint or its file is missing or changed.
    """
    images = open_array(images_path)[: stage.images]
    weights = load_checkpoint(manifest, step)
    autoencoder = trained_autoencoder(stage.model, images.shape[3], weights, device)
    name = f"reconstruct {output.parent.name}"
    with tqdm(total=len(images), desc=name, unit="image", dynamic_ncols=True) as bar:
        result = reconstruct(autoencoder, images, device, bar.update)
    summary = described(step, result)
    if summary["warning"]:
        print(f"warning: {summary['warning']}", file=sys.stderr)
    with replacing(output) as temporary:
        np.save(temporary, result.images)
    write_record(summary_path, {**summary, "sha256": {output.stem: sha256(output)}})


@torch.inference_mode()
def reconstruct(
    autoencoder: AutoencoderNetwork,
    images: np.ndarray,
    device: torch.device,
    done: Callable[[int], object],
) -> Reconstructed:
    """Encode, quantise and decode images uint8 [N, H, W, C], at least one.

    `done` is called with the number of images of each batch.
    """
    parts, errors, counts = [], [], None
    codebook_size = autoencoder.codebooks.quantizer.codebook_size
    for levels in batches(images):
        pixels = to_model_range(torch.from_numpy(levels).to(device))
        reconstructed, codes, _ = autoencoder(pixels)
        reconstructed = reconstructed.float().clamp(-1.0, 1.0)
        parts.append(to_uint8(reconstructed).cpu().numpy())
        errors.append(((reconstructed - pixels) ** 2).mean(dim=(1, 2, 3)).double().cpu().numpy())
        now = code_counts(codes, codebook_size).cpu().numpy()
        counts = now if counts is None else counts + now
        done(len(levels))
    assert counts is not None, "there is at least one image"
    return Reconstructed(np.concatenate(parts), np.concatenate(errors), counts)


def perplexity(counts: np.ndarray) -> float:
    """Return the perplexity of the use of codes: exp of the entropy of their shares.

    It is the number of codes where all are used equally often, as Sonnet's VectorQuantizer, the
    program of van den Oord et al. 2017, reports it. counts: int64 [codes].
    """
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def described(step: int, result: Reconstructed) -> dict[str, Any]:
    """Return the errors and the use of codes of a checkpoint's reconstructions, for JSON."""
    mse = float(result.squared_error.mean())
    return {
        "step": step,
        "images": len(result.images),
        "mse": mse,
        "psnr_db": psnr(mse),
        "codebooks": [codebook_use(counts) for counts in result.counts],
        "warning": collapse(result.counts),
    }


def psnr(mse: float) -> float | None:
    """Return the peak signal-to-noise ratio, in dB, of a mean squared error.

    Of values in [-1, 1], whose peak is 2; None for an error of 0.
    """
    return float(10 * np.log10(4.0 / mse)) if mse > 0 else None


def codebook_use(counts: np.ndarray) -> dict[str, Any]:
    """Return the use of one codebook's codes, for JSON. counts: int64 [codes]."""
    return {
        "codes": len(counts),
        "chosen": int(counts.sum()),
        "used_share": float((counts > 0).mean()),
        "perplexity": perplexity(counts),
        "counts": counts.tolist(),
    }


def collapse(counts: np.ndarray) -> str:
    """Return a warning about codebooks that use few of their codes; empty where all are well used.

    counts: int64 [codebooks, codes]. Fewer latents than codes cannot use all of them.
    """
    uses = [
        (number, perplexity(codes), min(len(codes), int(codes.sum())))
        for number, codes in enumerate(counts, 1)
    ]
    parts = [
        f"codebook {number} uses as much as {used:.1f} of {most} codes"
        for number, used, most in uses
        if used < COLLAPSED_SHARE * most
    ]
    if not parts:
        return ""
    return (
        f"{'; '.join(parts)}: it has collapsed. Try a low codebook_dim such as 2 (Yu et al. 2021), "
        "restart_every 100 or less, a smaller codebook_size, or a lower learning_rate"
    )
