"""Small network trained on a dataset's own labels: the feature space `classifier`.

It makes scores possible offline, and for images unlike those that Inception was trained on, such as
digits of 16 pixels. Its features and class probabilities take the place of Inception's: the
features are the last convolution's activations averaged over the image; a linear layer turns them
into logits.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from ddpm_bench.config.dataset import Classifier
from ddpm_bench.errors import UserError
from ddpm_bench.files import replacing_folder, sha256, write_record
from ddpm_bench.models.diffusion import to_unit_range
from ddpm_bench.records.checksums import check_file, open_array
from ddpm_bench.records.json_record import ANEW, read_record

WEIGHTS_NAME = "classifier.safetensors"
SUMMARY_NAME = "summary.json"
LARGEST_MAP = 32  # pixels: the first convolution reduces larger images to about this
SMALLEST_MAP = 4  # pixels: least width of the activations that are averaged


class ClassifierNetwork(nn.Module):
    """Convolutions that halve the image until it is 4 to 7 pixels wide, their mean, a linear layer.

    Takes [N, C, H, W] float32 in [-1, 1]; returns features [N, features] and logits [N, classes].
    """

    def __init__(self, channels: int, image_size: int, features: int, classes: int):
        super().__init__()
        stride = max(1, image_size // LARGEST_MAP)
        width, size = 32, math.ceil(image_size / stride)
        layers = [_convolution(channels, width, kernel=stride // 2 * 2 + 3, stride=stride)]
        while size >= 2 * SMALLEST_MAP:
            layers.append(_convolution(width, 64, kernel=3, stride=2))
            width, size = 64, math.ceil(size / 2)
        layers.append(_convolution(width, features, kernel=3, stride=1))
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Linear(features, classes)
        self.to(memory_format=torch.channels_last)  # trains a third faster on CPU

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [N, features] and logits [N, classes] of images [N, C, H, W]."""
        features = self.convolutions(images).mean(dim=(2, 3))
        return features, self.head(features)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Return a convolution with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class LabelledImages:
    """Labelled images of one split.

    Images: uint8 [N, H, W, C], memory-mapped, labelled or not. Positions: int64 [M] into them.
    Labels: int64 [M], indices into the dataset's sorted label names.
    """

    def __init__(self, images: np.ndarray, positions: np.ndarray, labels: np.ndarray):
        self.images, self.positions, self.labels = images, positions, labels

    def __len__(self) -> int:
        return len(self.positions)

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the images and labels at `indices` of the M.

        Images: float32 [n, C, H, W] in [-1, 1]. Labels: int64 [n].
        """
        pixels = torch.from_numpy(self.images[self.positions[indices]]).permute(0, 3, 1, 2)
        return to_unit_range(pixels), torch.from_numpy(self.labels[indices])


def read_labelled(dataset: Path) -> tuple[list[str], LabelledImages, LabelledImages | None]:
    """Read the label names and the labelled images of train.npy and eval.npy.

    The last is None if no labelled image is held out. Raises UserError when the training images
    have fewer than two labels.
    """
    rows: dict[str, list[tuple[int, str]]] = {"train": [], "eval": []}
    for row in _table_rows(dataset / "images.csv"):
        if row["label"] and row["split"] in rows and not row["left_out"]:
            rows[row["split"]].append((int(row["position"]), row["label"]))
    _check_labels(dataset.name, {label for _, label in rows["train"]})
    names = sorted({label for split in rows.values() for _, label in split})
    splits = {split: _split(dataset / f"{split}.npy", rows[split], names) for split in rows}
    assert splits["train"] is not None
    return names, splits["train"], splits["eval"]


def _table_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of images.csv. Raises UserError if the file is damaged."""
    check_file(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        if not rows or any(None in (*row, *row.values()) for row in rows):
            raise ValueError("its rows are not whole")
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({error}); {ANEW}") from None
    return rows


def _split(path: Path, rows: list[tuple[int, str]], names: list[str]) -> LabelledImages | None:
    """Return the labelled images of one split from its rows (position, label), or None."""
    if not rows:
        return None
    number = {name: index for index, name in enumerate(names)}
    return LabelledImages(
        images=open_array(path),
        positions=np.array([position for position, _ in rows], np.int64),
        labels=np.array([number[label] for _, label in rows], np.int64),
    )


def _check_labels(dataset: str, labels: set[str]) -> None:
    """Raise UserError for fewer than two labels."""
    if len(labels) > 1:
        return
    found = f"the single label {labels.pop()!r}" if labels else "no labels"
    raise UserError(
        f"dataset {dataset}: its training images have {found}, and `features: classifier` learns "
        "from sub-folders as labels (at least two); use `features: inception` instead"
    )


def train_classifier(dataset: Path, keys: Classifier) -> tuple[ClassifierNetwork, dict[str, Any]]:
    """Train on a prepared dataset's folder; return the network and its summary.

    Always runs on one CPU core: sums over several threads are added in another order, and the same
    keys would give other weights. Raises UserError without labels, or when the loss is not finite.
    """
    names, train, held_out = read_labelled(dataset)
    _, image_size, _, channels = train.images.shape
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keys.seed)
            network = ClassifierNetwork(channels, image_size, keys.features, len(names))
        _fit(network, train, keys)
        summary = {
            "labels": names,
            "features": keys.features,
            "channels": channels,
            "image_size": image_size,
            "accuracy_train": accuracy(network, train),
            "accuracy_eval": None if held_out is None else accuracy(network, held_out),
            "images_train": len(train),
            "images_eval": 0 if held_out is None else len(held_out),
        }
    finally:
        torch.set_num_threads(threads)
    return network, summary


def _fit(network: ClassifierNetwork, train: LabelledImages, keys: Classifier) -> None:
    """Train the network for `keys.steps` steps."""
    generator = torch.Generator().manual_seed(keys.seed)
    batches = _batches(len(train), min(keys.batch_size, len(train)), generator)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    network.train()
    progress = tqdm(range(keys.steps), desc="classifier", unit="step")
    for step in progress:
        images, labels = train.batch(next(batches))
        _, logits = network(shifted(images, generator))
        loss = functional.cross_entropy(logits, labels)
        if not math.isfinite(loss.item()):
            raise UserError(
                f"the classifier's loss is {loss.item()} at step {step + 1}; lower "
                f"classifier.learning_rate = {keys.learning_rate} of the dataset"
            )
        for group in optimizer.param_groups:
            group["lr"] = keys.learning_rate * one_cycle(step, keys.steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    network.eval()


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """Yield indices of full batches without end; each epoch is in a new order."""
    while True:
        order = torch.randperm(count, generator=generator).numpy()
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image [N, C, H, W] by up to an eighth of its size; edge pixels fill the gap."""
    count, _, height, width = images.shape
    reach_y, reach_x = height // 8, width // 8
    shift_y = torch.randint(-reach_y, reach_y + 1, (count, 1), generator=generator)
    shift_x = torch.randint(-reach_x, reach_x + 1, (count, 1), generator=generator)
    rows = (torch.arange(height) + shift_y).clamp(0, height - 1)
    columns = (torch.arange(width) + shift_x).clamp(0, width - 1)
    moved = images.take_along_dim(rows[:, None, :, None], dim=2)
    return moved.take_along_dim(columns[:, None, None, :], dim=3)


def one_cycle(step: int, steps: int) -> float:
    """Return the fraction of the peak learning rate at a step.

    It rises linearly over the first fifth, then falls as half a cosine to 0.
    """
    rise = max(1, steps // 5)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise + 1) / (steps - rise + 1)))


@torch.inference_mode()
def accuracy(network: ClassifierNetwork, images: LabelledImages, batch_size: int = 256) -> float:
    """Return the fraction of images whose label has the largest logit."""
    network.eval()
    right = 0
    for start in range(0, len(images), batch_size):
        batch, labels = images.batch(np.arange(start, min(start + batch_size, len(images))))
        _, logits = network(batch)
        right += int((logits.argmax(dim=1) == labels).sum())
    return right / len(images)


def write_classifier(folder: Path, network: ClassifierNetwork, summary: dict[str, Any]) -> None:
    """Write the weights and, beside them, the summary with their sha256; replace the folder."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with replacing_folder(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS_NAME)
        digest = sha256(temporary / WEIGHTS_NAME)
        write_record(temporary / SUMMARY_NAME, {**summary, "classifier_sha256": digest})


def read_classifier(weights: Path) -> tuple[ClassifierNetwork, dict[str, Any]]:
    """Read the network, in evaluation mode, and its summary from a file of weights.

    Raises UserError when a file is missing or the two do not belong together.
    """
    remedy = (
        f"delete {weights} and run snakemake again: the dataset's classifier is trained again "
        "(workflow/scripts/train_classifier.py)"
    )
    summary = read_record(
        weights.with_name(SUMMARY_NAME), "classifier_sha256", "labels", remedy=remedy
    )
    try:
        digest, named = sha256(weights), summary["classifier_sha256"]
    except OSError as error:
        raise UserError(f"{weights}: cannot be read ({error}); {remedy}") from None
    if digest != named:
        raise UserError(
            f"{weights}: sha256 is {digest} and {SUMMARY_NAME} beside it names {named}; {remedy}"
        )
    network = ClassifierNetwork(
        summary["channels"], summary["image_size"], summary["features"], len(summary["labels"])
    )
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"{weights}: does not fit its summary ({first_line}); {remedy}") from None
    return network.eval(), summary
