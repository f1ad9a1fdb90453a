"""Images for the GPU check: pieces of two photographs that scikit-learn contains."""

from pathlib import Path

import numpy as np
from filelock import FileLock

from ddpm_bench.config.dataset import Folder, PrepareStage
from ddpm_bench.data.fetching import fetch
from ddpm_bench.data.preparing import prepare
from ddpm_bench.files import replacing_folder, write_json
from ddpm_bench.gpu_check.part import Setting

COUNT = 256
FACTOR = 3  # pieces have so many times the side of the images made of them, as photographs have
CPUS = 2


def photographs(setting: Setting) -> Path:
    """Return a folder of JPEG files; made by the first part that asks for it.

    Each is a square piece of one of two photographs, at a place that its number decides: real
    pixels, that need no download.
    """
    folder = setting.folder / "photographs"
    with FileLock(setting.folder / "photographs.lock"):  # parts run side by side
        if not folder.exists():
            _write_photographs(folder, setting.image_size)
    return folder


def _write_photographs(folder: Path, image_size: int) -> None:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    whole = [np.asarray(image) for image in load_sample_images().images]
    side = FACTOR * image_size
    random = np.random.default_rng(0)
    with replacing_folder(folder) as made:
        for number in range(COUNT):
            image = whole[number % len(whole)]
            top, left = (random.integers(length - side + 1) for length in image.shape[:2])
            piece = Image.fromarray(image[top : top + side, left : left + side])
            piece.save(made / f"{number:04d}.jpg", quality=95)


def prepared_dataset(setting: Setting) -> Path:
    """Return the photographs prepared as the workflow does; made by the first part that asks."""
    folder, images = setting.folder / "dataset", photographs(setting)
    with FileLock(setting.folder / "dataset.lock"):
        if not (folder / "summary.json").exists():
            _prepare(images, setting, folder)
    return folder


def _prepare(images: Path, setting: Setting, folder: Path) -> None:
    include = ["*.jpg"]
    source = Folder(kind="folder", path=str(images), include=include)
    write_json(setting.folder / "fetched.json", fetch(source, setting.folder / "unused"))
    size = {"image_size": setting.image_size, "eval_fraction": 0.25}
    stage = PrepareStage(version=1, kind="folder", include=include, **size)
    prepare(stage, CPUS, setting.folder / "fetched.json", folder)
