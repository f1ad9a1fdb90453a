"""Images given back by an autoencoder: how far they are from what they were, and which codes they
take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddpm_bench.latents.encoding import batches
from ddpm_bench.models.autoencoder import AutoencoderNetwork, code_counts
from ddpm_bench.models.diffusion import to_model_range, to_uint8

# Of as many codes as there could be, by perplexity: below it a codebook is said to have collapsed.
COLLAPSED_SHARE = 0.1


@dataclass(frozen=True)
class Reconstructed:
    """images: uint8 [N, H, W, C]; squared_error: of each, the mean over its pixels in [-1, 1],
    float64 [N]; counts: how often each code was chosen, int64 [codebooks, codes]."""

    images: np.ndarray
    squared_error: np.ndarray
    counts: np.ndarray


@torch.inference_mode()
def reconstruct(
    autoencoder: AutoencoderNetwork,
    images: np.ndarray,
    device: torch.device,
    done: Callable[[int], object],
) -> Reconstructed:
    """Encode, quantise and decode images uint8 [N, H, W, C]; `done` is told of each batch."""
    parts, errors, counts = [], [], None
    codebook_size = autoencoder.codebooks.quantizer.codebook_size
    for levels in batches(images):
        pixels = to_model_range(torch.from_numpy(levels).to(device))
        back, codes, _ = autoencoder(pixels)
        back = back.float().clamp(-1.0, 1.0)
        parts.append(to_uint8(back).cpu().numpy())
        errors.append(((back - pixels) ** 2).mean(dim=(1, 2, 3)).double().cpu().numpy())
        now = code_counts(codes, codebook_size).cpu().numpy()
        counts = now if counts is None else counts + now
        done(len(levels))
    assert counts is not None, "there is at least one image"
    return Reconstructed(np.concatenate(parts), np.concatenate(errors), counts)


def perplexity(counts: np.ndarray) -> float:
    """exp of the entropy of how often codes are chosen: as many codes as if all were chosen equally
    often (van den Oord et al. 2017). counts: int64 [codes]."""
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def described(step: int, result: Reconstructed) -> dict[str, Any]:
    """What is kept of a checkpoint's reconstructions beside the images."""
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
    """Peak signal-to-noise ratio in dB of a squared error in [-1, 1], whose peak is 2; None for no
    error at all."""
    return float(10 * np.log10(4.0 / mse)) if mse > 0 else None


def codebook_use(counts: np.ndarray) -> dict[str, Any]:
    """Of one codebook: counts int64 [codes]."""
    return {
        "codes": len(counts),
        "chosen": int(counts.sum()),
        "used_share": float((counts > 0).mean()),
        "perplexity": perplexity(counts),
        "counts": counts.tolist(),
    }


def collapse(counts: np.ndarray) -> str:
    """What to say of codebooks that use few of their codes; empty where all are well used.

    counts: int64 [codebooks, codes]. Fewer places than codes cannot use all of them.
    """
    collapsed = [
        (number, perplexity(of_one), min(len(of_one), int(of_one.sum())))
        for number, of_one in enumerate(counts, 1)
    ]
    said = [
        f"codebook {number} uses as much as {used:.1f} of {most} codes"
        for number, used, most in collapsed
        if used < COLLAPSED_SHARE * most
    ]
    if not said:
        return ""
    return (
        f"{'; '.join(said)}: it has collapsed. Try a low codebook_dim such as 2 (Yu et al. 2021), "
        "restart_every 100 or less, a smaller codebook_size, or a lower learning_rate"
    )
