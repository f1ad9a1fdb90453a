"""A damaged checkpoint is named, and comes back as it was, never as it is."""

import os
import re
import shutil
from pathlib import Path

import pytest
from training_runs import Run, write_dataset

from ddpm_bench.errors import UserError
from ddpm_bench.training.manifests import load_checkpoint

EVERY = {"checkpoint_every": 10}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_dataset(folder)
    Run(folder, train=EVERY).complete_here(0, 20)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A finished training, published by hard links as ever."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    run = Run(tmp_path, train=EVERY)
    for kept in (run.results / "training").glob("*/checkpoints/step-*"):
        (run.results / "checkpoints" / kept.name).unlink()
        os.link(kept, run.results / "checkpoints" / kept.name)
    return run


def flip_a_bit(path: Path) -> None:
    with path.open("r+b") as file:  # in place: all hard links see it
        file.seek(-100, os.SEEK_END)
        value = file.read(1)[0]
        file.seek(-100, os.SEEK_END)
        file.write(bytes([value ^ 1]))


def advice(run: Run, step: int) -> list[Path]:
    """Return the files to delete, as the error of a damaged checkpoint names them."""
    published = run.results / "checkpoints" / f"step-{step:08}.safetensors"
    with pytest.raises(UserError, match=r"not the weights that its manifest names") as raised:
        load_checkpoint(run.manifest(0, 20), step)
    message = str(raised.value)
    assert message.startswith(f"{published}: ")
    found = re.search(r"; delete (.*) and run snakemake again: it ", message)
    return [Path(name) for name in found[1].split(" and ")]


def steps_executed(run: Run) -> int:
    return sum(event["steps_executed"] for event in run.events("job ended"))


@pytest.mark.parametrize("follow", ["as advised", "manifest alone", "without checksums"])
def test_damaged_weights_are_trained_again_to_the_bit(run, follow):
    good = run.checkpoint_bytes(10), run.checkpoint_bytes(20)
    flip_a_bit(run.results / "checkpoints" / "step-00000010.safetensors")
    to_delete = advice(run, 10)
    assert len(to_delete) == 2 and to_delete[1] == run.manifest(0, 20)
    if follow == "manifest alone":  # as was advised once
        to_delete = to_delete[1:]
    if follow == "without checksums":  # results of an earlier version
        (record,) = (run.results / "training").glob("*/checksums.json")
        record.unlink()
    for path in to_delete:
        path.unlink()
    printed = run.complete_here(0, 20)
    assert ("is damaged: a training makes it again" in printed) == (follow == "manifest alone")
    assert (run.checkpoint_bytes(10), run.checkpoint_bytes(20)) == good
    assert load_checkpoint(run.manifest(0, 20), 10)


def test_weights_that_are_damaged_where_they_are_published_come_back_untrained(run):
    """As on a disk without hard links, where they are a copy."""
    published = run.results / "checkpoints" / "step-00000010.safetensors"
    good = published.read_bytes()
    published.unlink()
    published.write_bytes(good)
    flip_a_bit(published)
    for path in advice(run, 10):
        path.unlink()
    run.complete_here(0, 20)
    assert published.read_bytes() == good
    assert steps_executed(run) == 20


def test_half_a_checkpoint_of_an_earlier_version_does_not_count(run):
    (record,) = (run.results / "training").glob("*/checksums.json")
    record.unlink()
    path = run.results / "checkpoints" / "step-00000020.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    run.manifest(0, 20).unlink()
    printed = run.complete_here(0, 20)
    assert "is damaged: a training makes it again from the last state before it" in printed
    assert path.read_bytes() == good
