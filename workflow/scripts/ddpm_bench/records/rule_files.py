"""Files of each rule: its outputs, and the names of its jobs in logs and benchmark files.

The rules spell the same patterns; a test compares them.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ddpm_bench.records.layout import (
    BENCHMARK_FILE,
    BEST,
    BEST_SCORES,
    CELL,
    CLASSIFIER,
    COMPARISON,
    DATASET_SUMMARY,
    EVALUATION,
    FEATURES,
    FETCHED,
    FIRST_FIGURES,
    GRID,
    IMAGE_DIGITS,
    INCEPTION_WEIGHTS,
    LATENTS,
    LOSS_FIGURE,
    MANIFEST,
    NEAREST,
    PREPARED_IMAGES,
    PREVIEW,
    RECONSTRUCTION,
    RECONSTRUCTION_FIGURES,
    REPORT,
    SAMPLER_FILES,
    SAMPLES,
    SCHEDULE_FIGURE,
    SCORE,
    SCORE_FIGURES,
    STEP_DIGITS,
    SWEEP_FILES,
    SWEEP_REPORT,
    THINNED,
    THROUGHPUT_FIGURES,
    THROUGHPUT_TABLES,
    TIMING,
    VALIDATION,
    WEIGHTS,
    Folder,
    closest_pairs_figure,
    denoising_animation,
    matcher,
    samples_over_training,
    with_names,
)

OUTPUTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "fetch": (FETCHED,),
        "fetch_inception": (INCEPTION_WEIGHTS,),
        "prepare": (
            PREPARED_IMAGES.replace("{split}", "train"),
            PREPARED_IMAGES.replace("{split}", "eval"),
            "datasets/{dataset}/images.csv",
            DATASET_SUMMARY,
            PREVIEW,
        ),
        "train_classifier": (CLASSIFIER, "datasets/{dataset}/classifier/summary.json"),
        "reference_features": (FEATURES,),
        "train": (MANIFEST,),
        "validate": (VALIDATION,),
        "thin": (THINNED,),
        "encode": (
            LATENTS.replace("{split}", "train"),
            LATENTS.replace("{split}", "eval"),
            "{autoencoder}/latents/summary.json",
            f"{{autoencoder}}/latents/{WEIGHTS}",
        ),
        "reconstruct": with_names(RECONSTRUCTION, ("images.npy", "summary.json")),
        "plot_reconstructions": with_names(
            REPORT.replace("{experiment}", "{autoencoder}"),
            (*RECONSTRUCTION_FIGURES, "reconstructions.csv"),
        ),
        "sample": (SAMPLES, TIMING),
        "sample_grid": (GRID,),
        "score": (SCORE, NEAREST),
        "collect": with_names(REPORT, (EVALUATION, BEST_SCORES)),
        "plot_scores": with_names(REPORT, SCORE_FIGURES),
        "plot_first_scores": with_names(REPORT, FIRST_FIGURES),
        "plot_loss": with_names(REPORT, (LOSS_FIGURE,)),
        "plot_schedule": with_names(REPORT, (SCHEDULE_FIGURE,)),
        "plot_samples": with_names(
            REPORT,
            (
                samples_over_training("{samples}", "png"),
                samples_over_training("{samples}", "gif"),
            ),
        ),
        "plot_trajectory": with_names(REPORT, (denoising_animation("{samples}"),)),
        "plot_closest_pairs": with_names(REPORT, (closest_pairs_figure("{score}", "{samples}"),)),
        "plot_samplers": with_names(REPORT, SAMPLER_FILES),
        "best": with_names(BEST, ("README.md", "grid.png", "scores.json", "config.yaml")),
        "compare": with_names(
            COMPARISON,
            (
                "all_scores.csv",
                "best_scores.csv",
                "FID_comparison.png",
                "KID_comparison.png",
                "IS_comparison.png",
            ),
        ),
        "compare_hours": with_names(
            COMPARISON,
            (
                "training_hours.csv",
                "FID_vs_GPUHours.png",
                "KID_vs_GPUHours.png",
                "IS_vs_GPUHours.png",
            ),
        ),
        "compare_losses": with_names(COMPARISON, ("Loss_comparison.png",)),
        "plot_best_scores": with_names(COMPARISON, ("best_scores.png",)),
        "costs": with_names(COMPARISON, ("costs.csv", "Costs.png")),
        "sweep": with_names(SWEEP_REPORT, SWEEP_FILES),
        "measure_cell": (CELL,),
        "collect_throughput": with_names(BENCHMARK_FILE, THROUGHPUT_TABLES),
        "plot_throughput": with_names(BENCHMARK_FILE, THROUGHPUT_FIGURES),
    }
)

# Logs and Snakemake's benchmark files of a rule's jobs, by the job's name.
LOG = "logs/{rule}/{job}.log"
LOG_OF_RULE = "logs/{rule}.log"  # of a rule that has one job
JOB_BENCHMARK = "logs/{rule}/{job}.benchmark.tsv"
# Jobs of the rules that have a benchmark file, by the wildcards in their names.
MEASURED_JOBS: Mapping[str, str] = MappingProxyType(
    {
        "prepare": "{dataset}",
        "train_classifier": "{dataset}",
        "reference_features": "{dataset}.{space}.{split}",
        "train": "{experiment}.{first}-{last}",
        "validate": "{experiment}.{first}-{last}",
        "encode": "{autoencoder}",
        "reconstruct": "{autoencoder}.{step}",
        "sample": "{experiment}.{samples}.{step}.{first}-{last}",
        "score": "{experiment}.{score}.{samples}.{step}",
        "plot_trajectory": "{experiment}.{samples}",
    }
)
# Jobs of the other rules; an empty name: the rule has one job.
OTHER_JOBS: Mapping[str, str] = MappingProxyType(
    {
        "fetch": "{fetched}",
        "fetch_inception": "",
        "sample_grid": "{experiment}.{samples}.{step}",
        "collect": "{experiment}",
        "thin": "{experiment}",
        "plot_scores": "{experiment}",
        "plot_first_scores": "{experiment}",
        "plot_loss": "{experiment}",
        "plot_schedule": "{experiment}",
        "plot_reconstructions": "{autoencoder}",
        "plot_samples": "{experiment}.{samples}",
        "plot_closest_pairs": "{experiment}.{score}.{samples}",
        "plot_samplers": "{experiment}",
        "best": "{experiment}",
        "sweep": "{sweep}",
        "measure_cell": "{cell}",
        "compare": "",
        "compare_hours": "",
        "compare_losses": "",
        "plot_best_scores": "",
        "costs": "",
        "collect_throughput": "",
        "plot_throughput": "",
    }
)

STEPS_OR_IMAGES = (
    rf"\.\d{{{STEP_DIGITS}}}(-\d{{{STEP_DIGITS}}})?|\.\d{{{IMAGE_DIGITS}}}-\d{{{IMAGE_DIGITS}}}"
)


@dataclass(frozen=True)
class JobOfFile:
    """The job that makes a file: its rule, its wildcards, and all files that it makes."""

    rule: str
    wildcards: Mapping[str, str]
    outputs: tuple[str, ...]


@functools.cache
def _expressions() -> list[tuple[str, re.Pattern[str]]]:
    return [(rule, matcher(pattern)) for rule, found in OUTPUTS.items() for pattern in found]


@functools.lru_cache(maxsize=2**16)
def job_of_file(path: str) -> JobOfFile | None:
    """Return the job that makes a file of the results or downloads; None for other files.

    path: relative to results_dir or resources_dir, and so are the outputs.
    """
    for rule, expression in _expressions():
        match = expression.fullmatch(path)
        if match:
            wildcards = match.groupdict()
            outputs = tuple(pattern.format(**wildcards) for pattern in OUTPUTS[rule])
            return JobOfFile(rule, wildcards, outputs)
    return None


def log_file(results: Folder, rule: str, job: str) -> Path:
    """Return the log of a rule's job; job: its name, empty for a rule that has one job."""
    return Path(results, (LOG if job else LOG_OF_RULE).format(rule=rule, job=job))


def job_benchmark(results: Folder, rule: str, job: str) -> Path:
    """Return the file in which Snakemake writes the time and memory of a rule's job."""
    return Path(results, JOB_BENCHMARK.format(rule=rule, job=job))


def names_of_measured_job(file_name: str) -> str:
    """Return the names in a benchmark file's name, without steps and images: digits.dpm20.

    Names of experiments may hold dots and digits too, but no padded numbers at their end.
    """
    return re.sub(rf"({STEPS_OR_IMAGES})*\.benchmark\.tsv$", "", file_name)
