"""Feature spaces and what they are made from, for tests."""

import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from labelled_digits import write_digits
from PIL import Image
from pytorch_fid.inception import FID_WEIGHTS_URL

from ddpm_bench.config.dataset import Classifier
from ddpm_bench.config.scoring import FeatureStage
from ddpm_bench.scoring.features.classifier import WEIGHTS_NAME, train_classifier, write_classifier

CPU = torch.device("cpu")
CLASSIFIER = FeatureStage(version=1, features="classifier")


def inception_stage(content: bytes, name: str | None = "untrained") -> FeatureStage:
    digest = hashlib.sha256(content).hexdigest()
    return FeatureStage(version=1, features="inception", weights_sha256=digest, weights_name=name)


def weights_of_pytorch_fid(torch_home: Path, content: bytes) -> Path:
    """The weights where pytorch_fid's program looks before it downloads, with TORCH_HOME set."""
    path = torch_home / "hub" / "checkpoints" / Path(FID_WEIGHTS_URL).name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def write_pngs(folder: Path, images: np.ndarray) -> list[Path]:
    """Images, uint8 [N, H, W, 1 or 3], as PNG files in a folder; their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(path)
    return paths


def small_classifier(folder: Path) -> Path:
    """The weights of a classifier of digits with 8 features, barely trained."""
    dataset = write_digits(folder / "digits", train=60, held_out=20)
    keys = Classifier(steps=10, batch_size=16, features=8)
    write_classifier(folder / "classifier", *train_classifier(dataset, keys))
    return folder / "classifier" / WEIGHTS_NAME


class Malicious:
    """Unpickled without restriction, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
