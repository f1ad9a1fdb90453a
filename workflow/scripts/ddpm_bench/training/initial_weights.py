"""Given weights that a training begins with: ours, or of denoising-diffusion-pytorch's Trainer."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from ddpm_bench.config.training import GivenWeights
from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256

# Where the Trainer's file holds the network's parameters, averaged ones first.
PLACES = (("ema", "ema_model.model."), ("model", "model."))
MOST_NAMED = 3


def given_weights(
    given: GivenWeights, parameters: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the weights of a file, by the names of `parameters` and in their shapes, on the CPU.

    Raises UserError when the file is missing, has another checksum, is no checkpoint, or holds
    another network.
    """
    path = Path(given.path)
    key = f"train.init_from.path = {given.path!r}"
    if not path.is_file():
        raise UserError(f"{key}: there is no such file")
    found = sha256(path)
    if found != given.sha256:
        raise UserError(f"{key}: its sha256 is {found}, and train.init_from.sha256 names another")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else _trainers_weights(path)
    except Exception as error:  # of whatever kind a file that is no checkpoint raises
        raise UserError(
            f"{key}: cannot be read as a checkpoint ({error}); give a .safetensors file of ours or "
            "a model-*.pt of denoising-diffusion-pytorch's Trainer"
        ) from None
    mismatches = [
        f"{name} {tuple(value.shape)} is {_shape(weights.get(name))} there"
        for name, value in parameters.items()
        if name not in weights or weights[name].shape != value.shape
    ]
    mismatches += [f"{name} is not in ours" for name in weights if name not in parameters]
    if mismatches:
        more = f" and {len(mismatches) - MOST_NAMED} more" if len(mismatches) > MOST_NAMED else ""
        raise UserError(
            f"{key}: holds another network: {'; '.join(mismatches[:MOST_NAMED])}{more}. Give "
            "`model` the keys that the file was trained with, and the dataset its channels"
        )
    return weights


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))


def _trainers_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the network's parameters in a file of the Trainer, averaged ones if it has them."""
    # Its checksum is the user's word; no code in it is run all the same.
    content = torch.load(path, map_location="cpu", weights_only=True)
    for block, prefix in PLACES:
        held = content.get(block, {})
        weights = {
            name.removeprefix(prefix): value
            for name, value in held.items()
            if name.startswith(prefix)
        }
        if weights:
            return weights
    raise ValueError("it has no `ema` and no `model` with a network's parameters")
