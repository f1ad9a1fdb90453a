"""What a config says of one experiment alone, as a config of its own."""

from typing import Any

from ddpm_bench.config.experiment import Config

HOW = {"run"}
# Decide neither weights nor scores: which other checkpoints stay, and what is drawn beside scores.
NOT_OF_THE_MODEL = {"keep": True, "published": True}


def config_of(config: Config, experiment: str) -> dict[str, Any]:
    """The what-keys of an experiment, its dataset and its autoencoder, defaults merged and keys at
    their own defaults left out; `check_config` reads it."""
    keys = config.experiments[experiment]
    own = _dumped(keys, {**NOT_OF_THE_MODEL, "train": HOW, **_each("samples"), **_each("scores")})
    if keys.train.init_from is not None:
        # Where the file lies is no part of what is computed; its content is.
        own["train"]["init_from"]["path"] = ""
    alone = {
        "datasets": {keys.dataset: _dumped(config.datasets[keys.dataset], {"run": True})},
        "experiments": {experiment: own},
    }
    if keys.autoencoder is not None:
        autoencoder = config.autoencoders[keys.autoencoder]
        alone["autoencoders"] = {
            keys.autoencoder: _dumped(autoencoder, {"train": HOW, **_each("scores")})
        }
    return alone


def _each(block: str) -> dict[str, Any]:
    return {block: {"__all__": HOW}}


def _dumped(block: Any, leave_out: dict[str, Any]) -> dict[str, Any]:
    return block.model_dump(mode="json", exclude_defaults=True, exclude=leave_out)
