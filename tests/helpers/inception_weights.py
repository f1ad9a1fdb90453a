"""Random Inception weights that make scores worth comparing, for tests without the published file.

Freshly drawn weights are no test: every image gets nearly the same features, and FID is 0 whatever
the code does. So each normalisation layer is calibrated on photographs, and the logits are scaled
until classes are told apart. Such weights are untrained: their scores mean nothing.
"""

import argparse
import functools
import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

CALIBRATION_IMAGES = 24
LOGIT_DEVIATION = 2.0


class UntrainedInception(FeatureExtractorInceptionV3):
    """The network as its layers are drawn: the weights that its constructor reads are ignored."""

    def __init__(self) -> None:
        nothing = io.BytesIO()
        torch.save({}, nothing)
        nothing.seek(0)
        super().__init__(
            "inception-v3-compat",
            ["2048", "logits_unbiased"],
            feature_extractor_weights_path=nothing,
        )

    def load_state_dict(self, state_dict, *arguments, **options):
        del state_dict, arguments, options


def photographs(folder: Path, count: int, size: int = 64, suffix: str = ".jpg") -> np.ndarray:
    """`count` images spread over the files under `folder`: uint8 [count, size, size, 3]."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() == suffix)
    if len(files) < count:
        raise SystemExit(f"{folder}: holds {len(files)} {suffix} files; {count} are needed")
    chosen = [files[index * len(files) // count] for index in range(count)]
    return np.stack([_square(file, size) for file in chosen])


def _square(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


@functools.cache
def calibrated_weights(folder: Path, seed: int = 0) -> bytes:
    """A file of weights in torch-fidelity's layout, calibrated on photographs under `folder`."""
    pixels = torch.from_numpy(photographs(folder, CALIBRATION_IMAGES)).permute(0, 3, 1, 2)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        inception = UntrainedInception()
        for layer in inception.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None  # the plain mean over all batches seen
                layer.reset_running_stats()
        _, logits = inception.to(memory_format=torch.channels_last).train()(pixels)
        inception.fc.weight.mul_(LOGIT_DEVIATION / logits.std(dim=0).mean())
    content = io.BytesIO()
    torch.save(
        {name: value.contiguous() for name, value in inception.state_dict().items()}, content
    )
    return content.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder with JPEG files")
    parser.add_argument("--output", type=Path, required=True, help=".pth file to write")
    given = parser.parse_args()
    content = calibrated_weights(given.images)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_bytes(content)
    print(hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
