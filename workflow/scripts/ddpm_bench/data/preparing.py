"""Preparation of a dataset: files to memory-mappable arrays, a split, and a table of every file."""

import csv
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ddpm_bench import files
from ddpm_bench.config.dataset import PUBLISHED_SPLITS, PrepareStage
from ddpm_bench.data.decoding_processes import Task, array_tasks, decode_all, file_tasks
from ddpm_bench.data.fetching import marker
from ddpm_bench.data.file_listing import listing_sha256, matching_files, printable
from ddpm_bench.data.standard_datasets import ImageBatch, digit_batches, published_batches
from ddpm_bench.errors import UserError
from ddpm_bench.images.decoding import DecodedFile, Square, as_image, is_grayscale, to_square
from ddpm_bench.images.gray_levels import common_range
from ddpm_bench.images.grid import image_grid
from ddpm_bench.records.json_record import ANEW


def held_out(digests: Sequence[str], eval_fraction: float, split_seed: int) -> set[str]:
    """Return the sha256 of the images that go to the eval split, given the sha256 of all images.

    Byte-identical images are one group and stay together. Groups are taken in the order of a hash
    of (seed, sha256) until round(eval_fraction * images) are reached. So the split depends on
    nothing but the images and the seed, and most images keep their split when others are added.
    """
    wanted = round(eval_fraction * len(digests))
    group_sizes = Counter(digests)
    taken: set[str] = set()
    count = 0
    for digest in sorted(group_sizes, key=lambda digest: _draw(split_seed, digest)):
        if count >= wanted:
            break
        taken.add(digest)
        count += group_sizes[digest]
    return taken


def _draw(split_seed: int, digest: str) -> str:
    """Return the pseudo-random sort key of an image."""
    return hashlib.sha256(f"{split_seed} {digest}".encode()).hexdigest()


PREVIEW_IMAGES = 64
PREVIEW_TILE = 128  # pixels at most
COLUMNS = ("source", "split", "position", "label", "width", "height", "mode", "sha256", "left_out")
OUTPUTS = ("train.npy", "eval.npy", "images.csv", "summary.json", "preview.png")
TEST_PART = "published test image: used by eval_fraction: published"


@dataclass(slots=True)
class Record:
    """One input image: its name, its decoding outcome, and its place in the splits."""

    source: str
    outcome: DecodedFile
    part: str = "train"
    label: str = ""
    split: str = ""
    position: int | None = None


def prepare(stage: PrepareStage, cpus: int, fetched: Path, output: Path) -> dict[str, Any]:
    """Make the prepared dataset in the folder `output` from a fetched one; return its summary.

    Writes OUTPUTS there: train.npy and eval.npy, uint8 [N, H, W, C] in the order of the sources,
    and images.csv, which lists every source. They appear together or not at all. Raises UserError
    when the fetched files are missing or have changed, no image is usable, or none is left for
    training.
    """
    output.mkdir(parents=True, exist_ok=True)
    for leftover in output.glob(".*.partial*"):  # of a killed run
        leftover.unlink()
    square = Square(stage.image_size, stage.channels, stage.max_megapixels, stage.value_range)
    rows = output / ".rows.partial"
    try:
        records, square = _decode(stage, square, cpus, _read_marker(fetched, stage.kind), rows)
        _assign_splits(records, stage)
        with ExitStack() as outputs:
            paths = {
                name: outputs.enter_context(files.replacing(output / name)) for name in OUTPUTS
            }
            return _write_outputs(records, square, rows, paths, stage.version)
    finally:
        rows.unlink(missing_ok=True)


def _read_marker(fetched: Path, kind: str) -> dict[str, Any]:
    """Read the marker of fetched files; raise UserError if it is none or of another kind."""
    try:
        found = files.read_json(fetched)
        if found["kind"] != kind:
            raise UserError(f"{fetched}: is of kind {found['kind']}, the dataset is of kind {kind}")
        return {key: found[key] for key in ("kind", "folder", "files", "sha256")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{fetched}: is no marker of a fetched dataset ({error}); {ANEW}: it is fetched again"
        ) from None


def _decode(
    stage: PrepareStage, square: Square, cpus: int, fetched: dict[str, Any], rows: Path
) -> tuple[list[Record], Square]:
    """Decode all images into `rows`; return their records, by source, and the form they have."""
    if stage.kind in PUBLISHED_SPLITS or stage.kind == "sklearn-digits":
        if marker(stage.kind, fetched["folder"], ["**/*"]) != fetched:
            raise _changed(fetched)
        return _decode_arrays(stage.kind, square, cpus, Path(fetched["folder"]), rows), square
    return _decode_files(stage.include, square, cpus, fetched, rows)


def _changed(fetched: dict[str, Any]) -> UserError:
    """Return the error for files that differ from the fetched ones."""
    return UserError(
        f"{fetched['folder']}: its files are not the {fetched['files']} that were fetched; "
        "run again to fetch them as they are now"
    )


def _decode_files(
    include: list[str], square: Square, cpus: int, fetched: dict[str, Any], rows: Path
) -> tuple[list[Record], Square]:
    """Decode the matching files of a folder; sub-folders become the labels."""
    folder = Path(fetched["folder"])
    names = matching_files(folder, include)
    if len(names) != fetched["files"]:
        raise _changed(fetched)
    _check_space(len(names), square, rows.parent)
    outcomes = decode_all(file_tasks(folder, names), len(names), square, rows, cpus)
    digests = (outcome.sha256 for outcome in outcomes)
    if listing_sha256(zip(names, digests, strict=True)) != fetched["sha256"]:
        raise _changed(fetched)
    if extents := [outcome.extent for outcome in outcomes if outcome.extent]:
        square = replace(square, value_range=common_range(extents))
        needing = [row for row, outcome in enumerate(outcomes) if outcome.extent]
        tasks = (Task(row, [folder / names[row]], names[row]) for row in needing)
        decoded = decode_all(tasks, len(needing), square, rows, cpus)
        for row, outcome in zip(needing, decoded, strict=True):
            outcomes[row] = outcome
    records = [Record(name, outcome) for name, outcome in zip(names, outcomes, strict=True)]
    kept = [record for record in records if not record.outcome.left_out]
    for record, label in zip(kept, folder_labels([record.source for record in kept]), strict=True):
        record.label = label
    return records, square


def folder_labels(sources: list[str]) -> list[str]:
    """Return the label of each relative path: its first folder below those that all paths share.

    A file directly in the shared folder has the label "".
    """
    folders = [source.split("/")[:-1] for source in sources]
    first, last = min(folders, default=[]), max(folders, default=[])
    differ = (a != b for a, b in zip(first, last, strict=False))
    shared = next((depth for depth, different in enumerate(differ) if different), len(first))
    return [folder[shared] if len(folder) > shared else "" for folder in folders]


def _decode_arrays(kind: str, square: Square, cpus: int, folder: Path, rows: Path) -> list[Record]:
    """Resize the images of a published dataset, and keep their parts and labels."""
    named = [
        (f"{batch.part}[{index}]", batch.part, label)
        for batch in _batches(kind, folder)
        for index, label in enumerate(batch.labels, batch.first)
    ]
    _check_space(len(named), square, rows.parent)
    tasks = array_tasks(_batches(kind, folder))
    outcomes = decode_all(tasks, len(named), square, rows, cpus)
    return [
        Record(source, outcome, part, label)
        for (source, part, label), outcome in zip(named, outcomes, strict=True)
    ]


def _batches(kind: str, folder: Path) -> Iterator[ImageBatch]:
    """Return the batches of a published dataset, or of scikit-learn's digits."""
    return digit_batches(folder) if kind == "sklearn-digits" else published_batches(kind, folder)


def _check_space(images: int, square: Square, folder: Path) -> None:
    """Raise UserError if the disk cannot hold the decoded images twice: as decoded, and split."""
    needed, free = 2 * images * square.row_bytes, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {images} images of {square.image_size} pixels need {needed / 1e9:.1f} GB "
            f"while they are prepared, {free / 1e9:.1f} GB are free; make room or set results_dir"
        )


def _assign_splits(records: list[Record], stage: PrepareStage) -> None:
    """Set the split of each usable image and its position there, in the order of the records."""
    if stage.eval_fraction == "published":
        for record in _usable(records):
            record.split = "eval" if record.part == "test" else "train"
    else:
        for record in records:
            if record.part == "test":
                record.outcome.left_out = TEST_PART
        digests = [record.outcome.sha256 for record in _usable(records)]
        evaluated = held_out(digests, stage.eval_fraction, stage.split_seed)
        for record in _usable(records):
            record.split = "eval" if record.outcome.sha256 in evaluated else "train"
    positions: Counter[str] = Counter()
    for record in _usable(records):
        record.position = positions[record.split]
        positions[record.split] += 1
    if not positions["train"]:
        raise _nothing_to_train_on(records)


def _usable(records: list[Record]) -> list[Record]:
    """Return the records that are not left out."""
    return [record for record in records if not record.outcome.left_out]


def _nothing_to_train_on(records: list[Record]) -> UserError:
    """Return the error for a dataset without training images."""
    if any(record.split for record in records):
        return UserError(
            f"all {len(_usable(records))} usable images are held out; lower eval_fraction"
        )
    reasons = Counter(record.outcome.left_out for record in records).most_common(3)
    listing = ", ".join(f"{reason} ({count})" for reason, count in reasons)
    return UserError(
        f"none of the {len(records)} files is usable: {listing}; check the source and its include"
    )


def _write_outputs(
    records: list[Record], square: Square, rows: Path, paths: dict[str, Path], version: int
) -> dict[str, Any]:
    """Write the files of OUTPUTS to the given paths; return the summary."""
    checksums = {}
    for split in ("train", "eval"):
        path = paths[f"{split}.npy"]
        order = [row for row, record in enumerate(records) if record.split == split]
        _copy_rows(rows, order, square, path, split)
        checksums[split] = files.sha256(path)
    _write_table(records, paths["images.csv"])
    checksums["images"] = files.sha256(paths["images.csv"])
    summary = summarize(records, square) | {"sha256": checksums, "version": version}
    files.write_record(paths["summary.json"], summary)
    _preview(paths["train.npy"]).save(paths["preview.png"])
    return summary


def _copy_rows(rows: Path, order: list[int], square: Square, path: Path, split: str) -> None:
    """Write the chosen rows as one .npy file, a row at a time."""
    shape = (len(order), square.image_size, square.image_size, square.channels)
    with rows.open("rb") as source, path.open("wb") as target:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        for row in tqdm(order, desc=f"writing {split}", unit=" images"):
            target.write(os.pread(source.fileno(), square.row_bytes, row * square.row_bytes))


def _write_table(records: list[Record], path: Path) -> None:
    """Write images.csv: one line for each record."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for record in records:
            image = record.outcome
            where = (record.split, record.position, printable(record.label))
            what = (image.width, image.height, image.mode, image.sha256, image.left_out)
            table.writerow((printable(record.source), *where, *what))


def summarize(records: list[Record], square: Square) -> dict[str, Any]:
    """Return the counts of summary.json."""
    usable = _usable(records)
    splits = Counter(record.split for record in usable)
    gray = sum(is_grayscale(record.outcome.mode) for record in usable)
    left_out = Counter(record.outcome.left_out for record in records if record.outcome.left_out)
    chosen = {} if square.value_range is None else {"value_range": list(square.value_range)}
    return chosen | {
        "files": len(records),
        "train": splits["train"],
        "eval": splits["eval"],
        "left_out": dict(left_out),
        "distinct": len({record.outcome.sha256 for record in usable}),
        "labels": dict(Counter(printable(record.label) for record in usable if record.label)),
        "image_size": square.image_size,
        "channels": square.channels,
        "grayscale_to_rgb": gray if square.channels == 3 else 0,
        "rgb_to_grayscale": len(usable) - gray if square.channels == 1 else 0,
    }


def _preview(train: Path) -> Image.Image:
    """Return a grid of images evenly spread over the training split, shrunk if they are large."""
    images = np.load(train, mmap_mode="r", allow_pickle=False)
    chosen = np.linspace(0, len(images) - 1, min(len(images), PREVIEW_IMAGES)).round().astype(int)
    side = min(images.shape[1], PREVIEW_TILE)
    channels = images.shape[-1]
    tiles = [to_square(as_image(images[row]), Square(side, channels)) for row in chosen]
    return image_grid(np.stack(tiles))
