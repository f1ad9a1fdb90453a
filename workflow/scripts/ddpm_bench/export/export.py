"""The folder of an exported checkpoint: weights, program, config, samples, scores and card.

    results/<experiment>/best/model.safetensors       the EMA weights of the winner
    results/<experiment>/best/scheduler_config.json   diffusers' scheduler with the schedule's betas
    results/<experiment>/best/sample.py               draws with published packages alone
    results/<experiment>/best/decoder.safetensors     of latents: codebooks and decoder
    results/<experiment>/best/config.yaml             the experiment alone, for ddpm-bench
    results/<experiment>/best/grid.png, scores.json, README.md

The weights are a hard link where the file system has such links: they take no room beside the
checkpoint, and stay when `keep` removes it.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ddpm_bench import __version__
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.loading import check_config
from ddpm_bench.config.sampling import SampleStage
from ddpm_bench.config.selection import BestStage
from ddpm_bench.export.best_checkpoint import Winner, deciding, scores_of, winner
from ddpm_bench.export.model_card import card_without_winner, model_card
from ddpm_bench.export.sampling_program import program, requirements, steps_of
from ddpm_bench.files import replacing, write_json, write_text
from ddpm_bench.images.sample_files import samples_of
from ddpm_bench.records.layout import checkpoint_name
from ddpm_bench.report.figures.sample_pictures import sample_grid
from ddpm_bench.report.figures.style import empty_figure, save_figure
from ddpm_bench.training.checkpoints import publish

GRID_IMAGES = 64
FILES_OF_A_WINNER = (
    "model.safetensors",
    "decoder.safetensors",
    "scheduler_config.json",
    "sample.py",
)


def export_best(
    stage: BestStage,
    evaluation: pd.DataFrame,
    manifests: list[Path],
    images: dict[str, Any],
    experiment_folder: Path,
    folder: Path,
) -> Winner | None:
    """Write the export of an experiment into a folder; return the exported checkpoint.

    The card is written last. evaluation: the experiment's table of all scores; images: its
    dataset's summary.json. If no checkpoint could be chosen, the card gives the reason, no weights
    are written, and None is returned.
    """
    config = check_config(stage.config, origin="--what")
    keys = config.experiments[stage.experiment]
    best = winner(keys, evaluation, manifests)
    write_text(folder / "config.yaml", config_text(stage))
    if best is None:
        return export_nothing(config, stage.experiment, folder)
    publish(best.weights, folder / "model.safetensors")
    sampling = sampling_of(config, stage.experiment, best.row["samples"])
    decoder = folder / "decoder.safetensors"
    if sampling.autoencoder is not None:
        write_decoder(sampling, best.manifest, decoder)
    else:
        decoder.unlink(missing_ok=True)  # left from a config in which the experiment was in latents
    steps = steps_of(sampling)
    write_text(folder / "scheduler_config.json", steps.scheduler.to_json_string())
    source = program(sampling, steps)
    write_text(folder / "sample.py", source)
    samples = experiment_folder / "samples" / best.row["samples"] / checkpoint_name(best.step)
    with replacing(folder / "grid.png") as temporary:
        sample_grid(samples_of(samples), GRID_IMAGES).save(temporary)
    scores = scores_of(best, keys, evaluation)
    write_json(folder / "scores.json", scores_record(stage.experiment, best, scores))
    needed = requirements(sampling)
    card = model_card(config, stage.experiment, best, scores, images, source, needed)
    write_text(folder / "README.md", card)
    return best


def export_nothing(config: Config, experiment: str, folder: Path) -> None:
    """Write an export without weights, with the reason; remove the weights of an earlier one."""
    samples, score, metric = deciding(config.experiments[experiment])
    for name in FILES_OF_A_WINNER:
        (folder / name).unlink(missing_ok=True)
    text = f"{metric.name} was measured at no checkpoint by score {score} of samples {samples}."
    save_figure(empty_figure(f"{experiment}: no best checkpoint", text), folder / "grid.png")
    nothing = {"experiment": experiment, "metric": metric.column, "value": None, "scores": []}
    write_json(folder / "scores.json", nothing)
    card = card_without_winner(experiment, metric.name, samples, score)
    write_text(folder / "README.md", card)


def config_text(stage: BestStage) -> str:
    """Return config.yaml: the experiment alone, without keys at their defaults."""
    head = f"# Experiment {stage.experiment}, as ddpm-bench {__version__} reads it.\n"
    return head + yaml.safe_dump(stage.config, sort_keys=False, allow_unicode=True)


def write_decoder(sampling: SampleStage, manifest: Path, path: Path) -> None:
    """Write the weights that turn drawn latents into images, as safetensors.

    The names are those of the published packages: codebooks.*, decoder.*, and the latents' mean and
    std, float32 [c, 1, 1].
    """
    import torch
    from diffusers.models.autoencoders.vae import Decoder
    from safetensors.torch import save_file
    from vector_quantize_pytorch import ResidualVQ

    from ddpm_bench.latents.encoding import open_decoder
    from ddpm_bench.models.autoencoder import decoder_arguments, quantizer_arguments

    assert sampling.autoencoder is not None
    ours = open_decoder(manifest, torch.device("cpu"))
    codebooks = ResidualVQ(**quantizer_arguments(sampling.autoencoder))
    # Its buffers, which only training by moving averages updates, stay those of a new one.
    codebooks.load_state_dict(
        {**codebooks.state_dict(), **ours.autoencoder.codebooks.quantizer.state_dict()}
    )
    decoder = Decoder(**decoder_arguments(sampling.autoencoder, sampling.channels))
    decoder.load_state_dict(ours.autoencoder.decoder.state_dict())
    both = torch.nn.ModuleDict({"codebooks": codebooks, "decoder": decoder})
    scaling = {
        name: torch.tensor(values)[:, None, None]
        for name, values in (("mean", ours.scaling.mean), ("std", ours.scaling.std))
    }
    with replacing(path) as temporary:
        save_file({**both.state_dict(), **scaling}, temporary)


def sampling_of(config: Config, experiment: str, samples: str) -> SampleStage:
    """Return the stage that draws a set of samples: network, schedule and drawing keys."""
    keys = config.experiments[experiment]
    dataset = config.datasets[keys.dataset]
    autoencoder = config.autoencoders[keys.autoencoder].model if keys.autoencoder else None
    return SampleStage(
        version=1,
        image_size=dataset.image_size,
        channels=dataset.channels,
        autoencoder=autoencoder,
        model=keys.model,
        diffusion=keys.diffusion,
        drawing=keys.samples[samples],
    )


def scores_record(experiment: str, best: Winner, scores: pd.DataFrame) -> dict[str, Any]:
    """Return scores.json: the checkpoint, the score that chose it, and every score of its weights.

    A score that was not measured is null.
    """
    row, metric = best.row, best.metric
    return {
        "experiment": experiment,
        "dataset": row["dataset"],
        "training_step": best.step,
        "metric": metric.column,
        "value": float(row[metric.column]),
        "std": plain(row[metric.std]) if metric.std else None,
        "samples": row["samples"],
        "score": row["score"],
        "feature_space": row["feature_space"],
        "best_of_checkpoints": best.candidates,
        "weights_sha256": best.sha256,
        "better_but_removed_by_keep": [int(one["training_step"]) for one in best.passed_over],
        "scores": [
            {name: plain(value) for name, value in one.items()} for _, one in scores.iterrows()
        ],
    }


def plain(value: Any) -> Any:
    """Convert a table's value to a value of JSON."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
