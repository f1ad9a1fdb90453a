"""Files that score.py is given on its own are checked before torch is loaded."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from places import SCRIPTS

from ddpm_bench.config.scoring import Score
from ddpm_bench.errors import UserError
from ddpm_bench.scoring import given_files

IMAGES = np.zeros((3, 8, 8, 3), np.uint8)


@pytest.fixture
def files(tmp_path):
    """Files of every kind that is given, right and wrong."""
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "floats.npy", IMAGES.astype(np.float32))
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(4), sigma=np.eye(4))
    np.savez(tmp_path / "other.npz", x=np.zeros(4))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    (tmp_path / "text.txt").write_text("no images")
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.mark.parametrize("name", ["images.npy", "statistics.npz", "pictures"])
def test_references_that_can_be_scored_against_are_accepted(files, name):
    Image.fromarray(IMAGES[0]).save(files / "empty" / "a.png")
    (files / "empty").rename(files / "pictures")
    assert given_files.check_given([files / "images.npy"], files / name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "does not exist"),
        ("floats.npy", "images are uint8"),
        ("other.npz", "holds x, and no mu and sigma"),
        ("broken.npz", "cannot be read as .npz"),
        ("text.txt", "is no array of images"),
        ("empty", "holds no images"),
    ],
)
def test_a_wrong_reference_is_named_with_what_to_give(files, name, message):
    with pytest.raises(UserError, match=message) as refused:
        given_files.check_given([files / "images.npy"], files / name)
    assert name in str(refused.value)


def test_nothing_slow_is_loaded_before_the_files_are_checked(files):
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n    print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", "import sys; del sys.argv[0]\n" + code, SCRIPTS / "score.py"]
    options = ["--samples", files / "images.npy", "--reference", files / "nowhere"]
    done = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, cwd=SCRIPTS
    )
    assert done.returncode == 2
    assert "nowhere: does not exist" in done.stderr
    assert done.stdout == "False\n"


def test_published_weights_are_downloaded_once_to_where_they_are_looked_for(files, monkeypatch):
    content = b"the published weights"
    (files / "published").write_bytes(content)
    monkeypatch.chdir(files)
    monkeypatch.setattr(
        given_files, "PUBLISHED_INCEPTION_SHA256", hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setattr(given_files, "PUBLISHED_INCEPTION_URLS", [(files / "published").as_uri()])
    keys = Score(features="inception")
    assert given_files.given_weights(keys, None) == given_files.DEFAULT_WEIGHTS
    assert given_files.DEFAULT_WEIGHTS.read_bytes() == content
    (files / "published").unlink()
    assert given_files.given_weights(keys, None) == given_files.DEFAULT_WEIGHTS


def test_the_classifier_s_file_is_named_where_it_is_missing(files):
    keys = Score(features="classifier")
    with pytest.raises(UserError, match="datasets/<dataset>/classifier/"):
        given_files.given_weights(keys, None)
    assert given_files.given_weights(keys, files / "mine") == files / "mine"
