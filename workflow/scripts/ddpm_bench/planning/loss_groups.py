"""Groups of trainings with comparable losses, and their differences.

A loss is the weighted error of one network on one dataset: with another objective, forward process
or weighting it is another quantity.
"""

from collections.abc import Iterable
from typing import Any

from ddpm_bench.config.block import canonical_json
from ddpm_bench.config.experiment import Config, Experiment
from ddpm_bench.config.reporting import LossGroup
from ddpm_bench.config.training import KEYS_OF_KEPT_WEIGHTS

MOST_DIFFERENCES = 3
# Keys of `train` that weight or change the error itself; and those without effect on the weights.
LOSS_SETTINGS = ("min_snr_gamma", "offset_noise")
KEYS_WITHOUT_EFFECT_ON_WEIGHTS = KEYS_OF_KEPT_WEIGHTS | {"run", "steps", *LOSS_SETTINGS}


def loss_groups(config: Config, experiments: Iterable[str]) -> list[LossGroup]:
    """Return the groups of two or more experiments whose losses can share an axis."""
    kinds: dict[str, list[str]] = {}
    for name in experiments:
        kinds.setdefault(canonical_json(kind_of_loss(config.experiments[name])), []).append(name)
    return [group_of(config, names) for names in kinds.values() if len(names) > 1]


def kind_of_loss(keys: Experiment) -> dict[str, Any]:
    """Return the keys that two trainings must share for their losses to be comparable."""
    train = keys.train.model_dump(mode="json")
    return {
        "dataset": keys.dataset,
        "autoencoder": keys.autoencoder,
        "diffusion": keys.diffusion.model_dump(mode="json"),
        **{name: train[name] for name in LOSS_SETTINGS},
    }


def group_of(config: Config, names: list[str]) -> LossGroup:
    """Return the group of these experiments, with a text of each one's differences."""
    keys = config.experiments[names[0]]
    latents = f", latents of {keys.autoencoder}" if keys.autoencoder else ""
    diffusion = keys.diffusion
    gamma = keys.train.min_snr_gamma
    return LossGroup(
        dataset=f"{keys.dataset}{latents}",
        about=f"{diffusion.objective}, {diffusion.timesteps:,} timesteps, "
        f"{diffusion.schedule_name()}" + (f", min-SNR {gamma:g}" if gamma else ""),
        experiments=dict(zip(names, differences(config, names), strict=True)),
    )


def differences(config: Config, names: list[str]) -> list[str]:
    """Return a text for each training of the keys that differ between them: "precision bf16"."""
    flat = [flat_keys(config.experiments[name]) for name in names]
    every = dict.fromkeys(key for keys in flat for key in keys)
    differing = [key for key in every if len({canonical_json(keys.get(key)) for keys in flat}) > 1]
    return [in_words({key: keys[key] for key in differing if key in keys}) for keys in flat]


def flat_keys(keys: Experiment) -> dict[str, Any]:
    """Return the keys of network and optimisation on one level, by their own names."""
    train = keys.train.model_dump(mode="json")
    model = keys.model.model_dump(mode="json")
    network = {"network" if key == "name" else key: value for key, value in model.items()}
    return {key: train[key] for key in train if key not in KEYS_WITHOUT_EFFECT_ON_WEIGHTS} | network


def in_words(keys: dict[str, Any]) -> str:
    """Return keys and values as text, three at most: "precision bf16, dim 64 and 2 more"."""
    parts = [f"{key.replace('_', ' ')} {value_in_words(value)}" for key, value in keys.items()]
    more = len(parts) - MOST_DIFFERENCES
    return ", ".join(parts[:MOST_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def value_in_words(value: Any) -> str:
    """Return the value of a key as text: on, off, none, 0.001, 1-2-4."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):  # value of init_from
        return value["sha256"][:8]
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)
