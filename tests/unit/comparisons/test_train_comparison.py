"""The comparison of training, run as its users run it, on a small network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import REPOSITORY

PROGRAM = REPOSITORY / "comparisons" / "train.py"
SMALL = ["--image-size", "8", "--dim", "8", "--dim-mults", "1", "2"]
SHORT = ["--steps", "2", "--warm-up", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A hundred photographs: as few as the Trainer takes."""
    folder = tmp_path_factory.mktemp("images")
    levels = np.random.RandomState(0).randint(0, 256, (100, 12, 10, 3), np.uint8)
    for number, image in enumerate(levels):
        Image.fromarray(image).save(folder / f"{number}.jpg")
    return folder


def comparison(images: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, PROGRAM, "--images", images, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def result(images: Path, *options: str) -> dict:
    done = comparison(images, *SMALL, *SHORT, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_measured(found: dict, *sides: str) -> None:
    assert found["ratio_min"] <= found["ratio_median"] <= found["ratio_max"]
    for side in sides:
        assert found[f"images_per_second_{side}"] > 0
        assert found[f"peak_memory_mb_{side}"] > 100, "torch alone takes more"
        assert found[f"seconds_to_first_step_{side}"] > 0


def test_the_trainer_runs_in_its_own_precision_and_in_ours_and_compiled(images, monkeypatch):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # compiling takes a minute
    compiled = ["--peer-compiled", "--batch-size", "20", "--start-together"]
    found = result(images, "--precision", "bf16", "--profile", *compiled, "--turn-seconds", "0.05")
    sides = ("ours", "peer", "peer_like_for_like", "peer_compiled")
    assert_measured(found, *sides)
    assert [found[f"precision_{side}"] for side in sides] == ["bf16", "fp32", "bf16", "bf16"]
    assert [found[f"compiled_{side}"] for side in sides] == [False, False, False, True]
    assert found["ratio_like_for_like_median"] > 0 and found["ratio_compiled_median"] > 0
    assert found["started_together"]

    parts = {key: value for key, value in found.items() if key.startswith("ms_")}
    step, whole = parts.pop("ms_step"), parts.pop("ms_step_watched")
    assert sum(parts.values()) == pytest.approx(whole, abs=0.01)
    assert all(value >= 0 for value in parts.values())
    reached = found["gflop_per_step"] / step  # 1e9 operations per 1e-3 s are 1e12 per second
    assert found["tflop_per_second"] == pytest.approx(reached, rel=0.02, abs=1e-4)


@pytest.mark.long
def test_the_usual_loop_of_diffusers_trains_the_same_network(images):
    found = result(images, "--precision", "fp32", "--peer", "diffusers")
    assert_measured(found, "ours", "peer")
    assert "peer_like_for_like" not in str(found), "both are in fp32 already"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--pairs", "4"], "--pairs 4"),
        (["--batch-size", "8"], "--batch-size 8"),
        (["--processes", "3"], "--processes 3"),
        (["--turn-seconds", "0"], "--turn-seconds 0: must be above 0"),
        (["--peer-compiled"], "100 photographs in batches of 16 leave a smaller one"),
        (["--peer-compiled", "--peer", "diffusers"], "must go with --peer trainer"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(images, options, complaint):
    done = comparison(images, *options)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_folder_with_too_few_photographs_is_named(tmp_path):
    done = comparison(tmp_path)
    assert done.returncode == 2
    assert f"--images {tmp_path}: 0 files" in done.stderr
