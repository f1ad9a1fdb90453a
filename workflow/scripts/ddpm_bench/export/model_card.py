"""The model card of an exported checkpoint, in the layout of the Hugging Face hub.

Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

import textwrap
from collections.abc import Iterator
from typing import Any

import pandas as pd
import yaml

from ddpm_bench import __version__
from ddpm_bench.config.dataset import Dataset
from ddpm_bench.config.experiment import Config, Experiment
from ddpm_bench.config.training import Train
from ddpm_bench.export.best_checkpoint import Winner, passed_over_texts
from ddpm_bench.records.score_warnings import warnings_about
from ddpm_bench.records.scores import METRICS, feature_space_label
from ddpm_bench.report.tables.score_tables import metric_label
from ddpm_bench.report.text import counts, value_text
from ddpm_bench.training.ema import exponential_decay

TAGS = ["diffusion", "ddpm", "unconditional-image-generation"]
TASK = {"type": "unconditional-image-generation", "name": "Unconditional Image Generation"}


def model_card(
    config: Config,
    experiment: str,
    best: Winner,
    scores: pd.DataFrame,
    images: dict[str, Any],
    program: str,
    requirements: list[str],
) -> str:
    """Return README.md of an exported checkpoint.

    config: of this experiment alone; scores: all of the checkpoint, rows of the evaluation table;
    images: the dataset's summary.json; program: sample.py, and the requirements to install for it.
    """
    keys = config.experiments[experiment]
    dataset = config.datasets[keys.dataset]
    parts = [
        front_matter(experiment, keys.dataset, scores),
        f"# {experiment}\n",
        model_paragraph(experiment, keys, dataset, best),
        "![samples](grid.png)\n",
        "## How to draw from it\n",
        f"```\npip install {' '.join(requirements)}\npython sample.py\n```\n",
        f"`sample.py` is all that it takes:\n\n```python\n{program.rstrip()}\n```\n",
        "## Data\n",
        data_paragraph(keys.dataset, dataset, images),
        "## Training\n",
        training_lines(config, experiment, best),
        "## Scores\n",
        score_lines(scores),
        "".join(f"- {text}\n" for text in reservations(best, scores)),
        "## Intended use and limits\n",
        limits_paragraph(keys.dataset, images),
        "## Files\n",
        file_lines(best, config, experiment),
    ]
    return "\n".join(parts)


def front_matter(experiment: str, dataset: str, scores: pd.DataFrame) -> str:
    """Return the YAML header that the hub reads: tags, and every score as a result of the model."""
    results = [
        {
            "task": TASK,
            "dataset": {"name": f"{dataset} ({row['reference']} split)", "type": dataset},
            "metrics": [
                {
                    "type": metric.name.lower(),
                    "value": float(row[metric.column]),
                    "name": f"{metric_label(row, metric)}, samples {row['samples']}",
                }
                for metric in METRICS.values()
                if pd.notna(row[metric.column])
            ],
        }
        for _, row in scores.iterrows()
    ]
    head = {
        "tags": TAGS,
        "pipeline_tag": TASK["type"],
        "model-index": [{"name": experiment, "results": results}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n"


def model_paragraph(experiment: str, keys: Experiment, dataset: Dataset, best: Winner) -> str:
    """Return the paragraph on the model: images, training step, and the score that chose it."""
    size = f"{dataset.image_size}x{dataset.image_size}"
    kind = "grayscale" if dataset.channels == 1 else "colour"
    latent = f" in the latents of the autoencoder {keys.autoencoder}" if keys.autoencoder else ""
    return paragraph(
        f"An unconditional diffusion model of {size} {kind} images{latent}: the weights of "
        f"experiment {experiment} at training step {best.step:,}, the best of "
        f"{best.candidates} scored checkpoints by "
        f"{metric_label(best.row, best.metric)}: {value_text(best.row, best.metric)} "
        f"(samples {best.row['samples']}, {best.row['images_generated']:,} images)."
    )


def data_paragraph(name: str, dataset: Dataset, images: dict[str, Any]) -> str:
    """Return the paragraph on the dataset."""
    source = dataset.source.model_dump(mode="json", exclude_defaults=True)
    given = ", ".join(f"{key} {value}" for key, value in source.items() if key != "kind")
    origin = source["kind"] + (f" ({given})" if given else "")
    return paragraph(
        f"Dataset {name}, from {origin}: {images['train']:,} images to train on, "
        f"{images['eval']:,} held out, prepared at {dataset.image_size} pixels a side with "
        f"{dataset.channels} channel{'s' if dataset.channels > 1 else ''}."
    )


def training_lines(config: Config, experiment: str, best: Winner) -> str:
    """Return the list of network, objective, optimiser, steps and weights."""
    keys = config.experiments[experiment]
    train, diffusion = keys.train, keys.diffusion
    lines = {
        "network": keys.model.name,
        "objective": f"{diffusion.objective}, {diffusion.timesteps:,} timesteps, "
        f"{diffusion.schedule_name()}",
        "optimiser": f"{train.optimizer}, learning rate {train.learning_rate:g} "
        f"({train.lr_schedule}), batches of {train.batch_size}",
        "precision": train.precision,
        "steps": f"{best.step:,}: {best.step * train.batch_size:,} images seen",
        "weights": f"{average_text(train, best)}; sha256 `{best.sha256}`",
        "everything else": "`config.yaml`, which ddpm-bench reads as it is",
    }
    if keys.autoencoder is not None:
        autoencoder = config.autoencoders[keys.autoencoder]
        lines["autoencoder"] = (
            f"VQ-VAE {keys.autoencoder}, trained before for {autoencoder.train.steps:,} steps: "
            f"{autoencoder.model.downsampling} pixels a side for each of its latents, "
            f"{autoencoder.model.residual_quantizers} x {autoencoder.model.codebook_size} codes"
        )
    return "".join(f"- {name}: {text}\n" for name, text in lines.items())


def average_text(train: Train, best: Winner) -> str:
    """Return the kind of average that the weights are, with the decay that its warm-up reached."""
    if best.sigma_rel is not None:
        return f"power-function average, relative width {best.sigma_rel:g} (Karras et al. 2024)"
    text = f"exponential moving average, decay {train.ema_decay:g}"
    decay = exponential_decay(train.ema_decay, best.step, train.ema_warmup)
    return text if decay == train.ema_decay else f"{text} ({decay:.3g} at this step of its warm-up)"


def score_lines(scores: pd.DataFrame) -> str:
    """Return the scores as a table in Markdown: a row for each set of samples and way to score."""
    names = [metric.name for metric in METRICS.values()]
    head = ["samples", "features", "generated", "reference", *names]
    rows = [head, ["---"] * len(head)]
    for _, row in scores.iterrows():
        reference = f"{counts(scores.loc[[row.name], 'images_reference'])} ({row['reference']})"
        cells = [row["samples"], feature_space_label(row["feature_space"])]
        cells += [f"{row['images_generated']:,}", reference]
        rows.append([*cells, *(value_text(row, metric) for metric in METRICS.values())])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def reservations(best: Winner, scores: pd.DataFrame) -> Iterator[str]:
    """Yield the reservations that a reader of the scores needs."""
    yield (
        f"The checkpoint is the best of {best.candidates} by this very score, which flatters it a "
        "little."
    )
    if best.equal:
        yield (
            f"As good by it: {best.equal} other checkpoint{'s' if best.equal > 1 else ''}; of "
            "equal ones the earliest is exported."
        )
    fids = {metric_label(row, METRICS["fid"]) for _, row in scores.iterrows()}
    yield f"{' and '.join(sorted(fids))}: compare with no FID of another kind."
    if (scores["feature_space"] == "classifier").any():
        yield (
            "Classifier features come from a small network trained on this dataset's labels: no "
            "published number compares with them."
        )
    yield from (f"Better, but gone: {text}." for text in passed_over_texts(best))
    yield from (f"Warning: {text}." for text in warnings_about(scores["warning"]))


def limits_paragraph(dataset: str, images: dict[str, Any]) -> str:
    """Return the paragraph on intended use and limits."""
    return paragraph(
        f"It draws images like those of {dataset}, and nothing else: it takes no prompt and no "
        f"class. Trained on {images['train']:,} images, it may repeat some of them; the scores "
        "`closer_than_heldout` and `memorised_share` in scores.json tell how near its samples come "
        "to what it was trained on. What the images show in a skewed way, its samples do too. "
        "Whether the weights may be passed on depends on the licence of the images, which is not "
        "known here."
    )


def file_lines(best: Winner, config: Config, experiment: str) -> str:
    """Return the list of files in the folder."""
    lines = {
        "model.safetensors": f"the weights, sha256 `{best.sha256}`",
        "sample.py": "draws 16 images with published packages",
        "scheduler_config.json": "diffusers' scheduler with the betas of the training",
        "config.yaml": f"the experiment, as ddpm-bench {__version__} reads it",
        "grid.png": f"the first samples of {best.row['samples']} at this checkpoint",
        "scores.json": "every score of this checkpoint",
    }
    if config.experiments[experiment].autoencoder is not None:
        lines["decoder.safetensors"] = "codebooks and decoder, from latents to images"
    return "".join(f"- `{name}`: {text}\n" for name, text in lines.items())


def card_without_winner(experiment: str, what: str, samples: str, score: str) -> str:
    """Return README.md for an experiment of which no checkpoint could be chosen."""
    return "\n".join(
        [
            f"# {experiment}\n",
            paragraph(
                f"Nothing is exported: {what} was measured at no checkpoint by score {score} of "
                f"samples {samples}. `evaluation_results.csv` in the report of the experiment has "
                "what was; choose another metric, set or score under `best:`."
            ),
        ]
    )


def paragraph(text: str) -> str:
    """Wrap a paragraph at 100 characters."""
    return (
        "\n".join(textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)) + "\n"
    )
