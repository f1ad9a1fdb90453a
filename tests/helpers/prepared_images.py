"""Images, folders of them, and their preparation, for tests."""

import csv
import io
import json

import numpy as np
from PIL import Image

from ddpm_bench import files
from ddpm_bench.config.dataset import FetchStage, PrepareStage
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.preparing import prepare
from ddpm_bench.images.decoding import Square, read_square

RGB = Square(image_size=16, channels=3)
GRAY = Square(image_size=16, channels=1)
RED, WHITE = (255, 0, 0), (255, 255, 255)


def photo(seed=0, size=(48, 32)):
    """A smooth colourful image: noise of a few pixels, enlarged."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def folder_of(path, **images):
    """A folder of PNG files; keyword `cats__1=image` becomes cats/1.png."""
    for name, image in images.items():
        target = path / f"{name.replace('__', '/')}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)
    return path


def fetch_folder(folder, tmp_path, **keys):
    source = {"kind": "folder", "path": str(folder)} | keys
    stage = FetchStage.model_validate_json(json.dumps({"version": 1, "source": source}))
    files.write_json(tmp_path / "raw.json", fetch(stage.source, tmp_path / "raw"))


def prepare_folder(folder, tmp_path, cpus=1, **keys):
    fetch_folder(folder, tmp_path)
    return prepare_fetched(tmp_path, cpus, **keys)


def prepare_fetched(tmp_path, cpus=1, **keys):
    stage = PrepareStage(version=1, **({"kind": "folder", "image_size": 16} | keys))
    return prepare(stage, cpus, tmp_path / "raw.json", tmp_path / "out")


def table(tmp_path):
    with (tmp_path / "out" / "images.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def arrays(tmp_path):
    return tuple(
        np.load(tmp_path / "out" / f"{split}.npy", mmap_mode="r") for split in ("train", "eval")
    )


def decoded(tmp_path, image, square=RGB, suffix="png", **options):
    path = tmp_path / f"image.{suffix}"
    image.save(path, **options)
    outcome, pixels = read_square(path, square)
    assert outcome.left_out == ""
    return pixels


def left_out(tmp_path, content, square=RGB):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    outcome, pixels = read_square(path, square)
    assert pixels is None
    return outcome.left_out


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
