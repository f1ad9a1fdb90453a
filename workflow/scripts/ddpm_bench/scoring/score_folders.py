"""Scores of any images against any others, outside the workflow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ddpm_bench.config.scoring import (
    PUBLISHED_INCEPTION_SHA256,
    FeatureStage,
    Score,
    ScoreRun,
    ScoreSettings,
    ScoreStage,
)
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.data.file_listing import printable
from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.images.folders import read_images
from ddpm_bench.images.sample_files import is_prepared_dataset, open_images, open_samples
from ddpm_bench.records.checksums import UNREADABLE_NPZ
from ddpm_bench.records.score_warnings import parts
from ddpm_bench.records.scores import METRICS, ROUGH, fid_std_is_rough
from ddpm_bench.scoring.features.references import (
    Reference,
    features_of,
    join_references,
    read_reference,
    read_statistics,
    write_reference,
)
from ddpm_bench.scoring.given_files import drawn_samples, holds_images, image_files
from ddpm_bench.scoring.metrics.all_metrics import References
from ddpm_bench.scoring.score_samples import check_comparable, score

NAMED_FILES = 5  # on the terminal; the record has all of them
SPLITS = {"train": ("train",), "eval": ("eval",), "all": ("train", "eval")}


@dataclass(frozen=True)
class Request:
    """Samples, reference and keys of one score."""

    samples: Sequence[Path]  # a folder of images, or .npy files
    reference: Path  # images, a prepared dataset, .npy, or .npz of features or of mu and sigma
    split: Literal["train", "eval", "all"]  # of a prepared dataset
    images: int | None  # number of the first samples to score; None: all
    keys: Score
    weights: Path
    save_reference: Path | None = None


def report_scores(request: Request, output: Path | None) -> None:
    """Score images, print a table of the scores, and write them to `output` as JSON."""
    record = score_images(request)
    print("\n".join(summary_lines(record)))
    if output is not None:
        write_json(output, record)


def score_images(request: Request) -> dict[str, Any]:
    """Score a request and return the record, with the names of both sides.

    Raises UserError if the two sides cannot be compared; where possible before a network runs.
    """
    run = request.keys.run
    samples = open_pictures(request.samples, run)
    count = request.images or sum(len(array) for array in samples)
    if count > sum(len(array) for array in samples):
        raise UserError(
            f"{count} samples are asked for and {sum(map(len, samples))} are given; give more, or "
            "lower --images"
        )
    stage = _stage(request, count)
    name = ", ".join(map(str, request.samples))
    against = _references_of(request, stage, samples, name, run)
    if request.save_reference is not None:
        write_reference(request.save_reference, against.reference)
    record = score(stage, samples, name, against, request.weights, run).record
    reference = str(request.reference)
    if is_prepared_dataset(request.reference):
        reference += f" ({request.split})"
    sides = {"samples": name, "reference": reference, "fid_reference": reference}
    folders = [path for path in (*request.samples, request.reference) if holds_images(path)]
    left_out = [str(path) for folder in folders for path in image_files(folder)[1]]
    return record | sides | {"files_not_read": [printable(path) for path in left_out]}


def _stage(request: Request, count: int) -> ScoreStage:
    """Return the stage of a score, as the workflow's programs take it."""
    keys, pinned = request.keys, None
    if keys.features != "classifier":
        pinned = keys.weights.sha256 if keys.weights else PUBLISHED_INCEPTION_SHA256
    features = FeatureStage(
        version=VERSIONS["features"],
        features=keys.features,
        weights_sha256=pinned,
        weights_name=keys.weights.name if keys.weights else None,
    )
    measuring = ScoreSettings(**{name: getattr(keys, name) for name in ScoreSettings.model_fields})
    return ScoreStage(
        version=VERSIONS["score"],
        images=count,
        reference=request.split,
        features=features,
        measuring=measuring,
    )


# Images


def open_pictures(paths: Sequence[Path], run: ScoreRun) -> list[np.ndarray]:
    """Open the images of folders and .npy files, in the order given: uint8 [N, H, W, C] each.

    A folder of the workflow's samples (images-<first>-<last>.npy) is read in their order, any other
    by the names of its image files.
    """
    arrays: list[np.ndarray] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: is neither a folder nor a file; give an existing one")
        if drawn := drawn_samples(path):
            arrays += open_samples(drawn, 1)
        elif path.is_dir():
            arrays.append(read_images(image_files(path)[0], run.cpus))
    files = [path for path in paths if path.is_file()]
    named = [re.fullmatch(r"images-\d+-\d+\.npy", path.name) for path in files]
    arrays += open_samples(files, 1) if files and all(named) else open_images(files)
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise UserError(
            f"{', '.join(map(str, paths))}: hold images of several shapes, "
            f"{', '.join(str(list(shape)) for shape in sorted(shapes))}; score one shape at a time"
        )
    return arrays


# References


def _references_of(
    request: Request, stage: ScoreStage, samples: list[np.ndarray], name: str, run: ScoreRun
) -> References:
    """Return the references of a request; a prepared dataset has training and held-out images."""
    if request.reference.suffix == ".npz":
        return _stored(request, stage)
    if is_prepared_dataset(request.reference):
        splits = {
            split: open_images([request.reference / f"{split}.npy"]) for split in ("train", "eval")
        }
    else:
        splits = {"train": open_pictures([request.reference], run)}
    chosen = SPLITS[request.split] if len(splits) > 1 else ("train",)
    images = sum(len(array) for split in chosen for array in splits[split])
    shape = splits["train"][0].shape[1:]
    check_comparable(stage, samples, name, shape, images)

    def features(stage: FeatureStage, wanted: Sequence[str]) -> dict[str, Reference]:
        """Compute the features of some splits."""
        return {split: features_of(stage, splits[split], request.weights, run) for split in wanted}

    held = features(stage.features, list(splits))
    reference = fid = join_references([held[split] for split in chosen])
    if stage.measuring.fid_backend == "pytorch-fid":
        second = stage.features.model_copy(update={"features": "pytorch-fid"})
        fid = join_references(list(features(second, chosen).values()), "pytorch-fid")
    if len(splits) == 1:
        return References(reference, fid, None, None)
    heldout = held["eval"].features
    return References(reference, fid, held["train"].features, heldout if len(heldout) else None)


def _stored(request: Request, stage: ScoreStage) -> References:
    """Read a reference from .npz: features that were saved earlier, or published statistics."""
    path = request.reference
    try:
        with np.load(path, allow_pickle=False) as stored:
            with_features = "features" in stored
    except UNREADABLE_NPZ:
        with_features = False  # read_statistics names the error
    if not with_features:
        if stage.features.features != "inception":
            raise UserError(f"{path}: mu and sigma are Inception's; take --features inception")
        statistics = read_statistics(path)
        return References(statistics, statistics, None, None)
    if stage.measuring.fid_backend == "pytorch-fid":
        raise UserError(
            f"{path}: holds features of torch-fidelity's pass, and pytorch-fid's FID needs those "
            "of its own; give the reference's images, or take --fid-backend torch-fidelity"
        )
    reference = read_reference([path])
    return References(reference, reference, None, None)


# For the terminal


def summary_lines(record: dict[str, Any]) -> list[str]:
    """Return a record as lines for the terminal: both sides, measured scores, and warnings."""
    space = f"{record['feature_space']} ({record['feature_dimensions']} dimensions)"
    if record["channels_repeated"]:
        space += ", grayscale repeated to three channels"
    images = record["images_reference"]
    lines = [
        ("features", space),
        ("samples", f"{record['images_generated']} images, {record['samples']}"),
        ("reference", f"{images or 'unknown number of'} images, {record['reference']}"),
    ]
    if record["fid_backend"] != "torch-fidelity":
        lines.append(("FID's backend", record["fid_backend"]))
    counts = record["images_generated"], images, record["feature_dimensions"]
    for metric in METRICS.values():
        value = record.get(metric.column)
        if value is None:
            continue
        std = record.get(metric.std) if metric.std else None
        spread = "" if std is None else f" ± {std:.{metric.decimals}f}"
        if spread and metric.column == "fid" and fid_std_is_rough(*counts):
            spread += f" ({ROUGH})"
        lines.append((metric.name, f"{value:.{metric.decimals}f}{spread}"))
    lines += [("warning", part) for part in parts(record["warning"])]
    if not_read := record["files_not_read"]:
        more = f" and {len(not_read) - NAMED_FILES} more" if len(not_read) > NAMED_FILES else ""
        lines.append(("not read", ", ".join(not_read[:NAMED_FILES]) + more))
    width = max(len(name) for name, _ in lines)
    return [f"{name:<{width}}  {value}" for name, value in lines]
