"""Files that a score is asked for on the command line, checked before anything is computed.

Loads no torch: a wrong path is named in a second.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ddpm_bench.config.scoring import (
    PUBLISHED_INCEPTION_FILE,
    PUBLISHED_INCEPTION_SHA256,
    PUBLISHED_INCEPTION_URLS,
    Score,
)
from ddpm_bench.data.download import fetch_checked
from ddpm_bench.data.file_listing import walk
from ddpm_bench.errors import UserError
from ddpm_bench.images.opening import is_image, suffixes
from ddpm_bench.images.sample_files import is_prepared_dataset, open_images
from ddpm_bench.records import layout
from ddpm_bench.records.checksums import UNREADABLE_NPZ

DEFAULT_WEIGHTS = Path("resources", "inception", PUBLISHED_INCEPTION_FILE)
REFERENCES = (
    "give a folder of images, a prepared dataset (results_dir/datasets/<dataset>), .npy files of "
    "images, or an .npz of features or of mu and sigma"
)


def check_given(samples: Sequence[Path], reference: Path) -> None:
    """Raise UserError for samples or a reference that cannot be scored, by their names and headers.

    No image is decoded, and no array read.
    """
    for path in samples:
        if not path.exists():
            raise UserError(f"{path}: is neither a folder nor a file; give an existing one")
        _check_images(path)
    if not reference.exists():
        raise UserError(f"--reference {reference}: does not exist; {REFERENCES}")
    if reference.suffix == ".npz":
        _check_npz(reference)
    else:
        _check_images(reference)


def _check_images(path: Path) -> None:
    """Raise UserError for a path that holds no images."""
    if holds_images(path):
        found = (is_image(path.joinpath(*parts)) for parts in _files_below(path, hidden=False))
        if not any(found):  # stops at the first: the files are listed when they are read
            raise _no_images(path)
    elif path.is_file():
        if path.suffix != ".npy":
            raise UserError(f"{path}: is no array of images; {REFERENCES}")
        open_images([path])


def _check_npz(path: Path) -> None:
    """Raise UserError for an archive that holds neither features nor statistics."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = set(stored.files)
    except UNREADABLE_NPZ as error:
        raise UserError(f"{path}: cannot be read as .npz ({error}); {REFERENCES}") from None
    if not {"mu", "sigma"} <= names:
        found = ", ".join(sorted(names)) or "nothing"
        raise UserError(f"{path}: holds {found}, and no mu and sigma; {REFERENCES}")


def given_weights(keys: Score, weights: Path | None) -> Path:
    """Return the file of the feature network; the published Inception's is downloaded if missing.

    weights: the user's, None for none. Raises UserError where the features have weights of their
    own, or where the download fails.
    """
    if weights is not None:
        return weights
    if keys.features == "classifier":
        place = layout.classifier_file("<results_dir>", "<dataset>")
        raise UserError(
            f"--features classifier: name the dataset's classifier, --weights {place}, which the "
            "workflow trains for `features: classifier`"
        )
    fetch_checked(
        PUBLISHED_INCEPTION_URLS, PUBLISHED_INCEPTION_SHA256, DEFAULT_WEIGHTS, "Inception weights"
    )
    return DEFAULT_WEIGHTS


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the images below a folder, sorted, and the files that are not read.

    Sub-folders are searched as `prepare` searches them: links are followed, and what has a name
    that begins with a dot (such as copies in .ipynb_checkpoints) is not read. Raises UserError for
    a folder that cannot be read or holds no images.
    """
    images, others = [], []
    for parts in sorted(_files_below(folder, hidden=True)):
        path = folder.joinpath(*parts)
        if not any(part.startswith(".") for part in parts):
            (images if is_image(path) else others).append(path)
        elif path.suffix.lower() in suffixes():
            others.append(path)
    if not images:
        raise _no_images(folder)
    return images, others


def _files_below(folder: Path, hidden: bool) -> Iterator[tuple[str, ...]]:
    """Yield every file below a folder, in path components. Raises UserError as `image_files`."""
    try:
        yield from walk(folder, hidden=hidden)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; it is to be scored") from None


def _no_images(folder: Path) -> UserError:
    """Return the error for a folder without images."""
    known = ", ".join(sorted(suffixes()))
    return UserError(f"{folder}: holds no images ({known}); name another folder")


def drawn_samples(folder: Path) -> list[Path]:
    """Return the files of a folder of the workflow's samples; none of any other folder."""
    return sorted(folder.glob("images-*.npy")) if folder.is_dir() else []


def holds_images(path: Path) -> bool:
    """Return whether a path is a folder that is searched for image files."""
    return path.is_dir() and not is_prepared_dataset(path) and not drawn_samples(path)
