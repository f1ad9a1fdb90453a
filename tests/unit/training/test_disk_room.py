"""A disk without room: known before training where it can be, and one clear error where not."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mount_namespaces import in_namespace
from PIL import Image
from places import HELPERS, SCRIPTS
from safetensors.torch import save_file
from training_runs import Run, write_dataset

from ddpm_bench import files
from ddpm_bench.errors import UserError
from ddpm_bench.files import allocate, read_json, replacing, replacing_folder
from ddpm_bench.text import size_text
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.states import TrainingState, bytes_of

# Starts train.py on a small disk, fills that disk after the first checkpoint, shows what is left.
ON_A_SMALL_DISK = """
disk=$1; kept=$2; shift 2
"$@" & trainer=$!
until ls "$disk"/checkpoints/step-*.safetensors >"$kept.seen" 2>&1; do
    kill -0 $trainer || break
    sleep 0.01
done
head -c 1G /dev/zero >"$disk/another" 2>"$kept.seen"
wait $trainer; status=$?
rm "$disk/another"
cp -a "$disk" "$kept"
exit $status
"""


def write_mapped(path: Path) -> None:
    """As sample.py does."""
    values = np.lib.format.open_memmap(path, "w+", np.float64, (10**6,))
    allocate(path)
    values[:] = 1
    values.flush()


WRITERS = {
    "samples.npy": write_mapped,
    "weights.safetensors": lambda path: save_file({"w": torch.zeros(10**6)}, path),
    "images.npy": lambda path: np.save(path, np.zeros(10**6)),
    "features.npz": lambda path: np.savez(path, values=np.zeros(10**6)),
    "grid.png": lambda path: Image.fromarray(
        np.random.RandomState(0).randint(0, 256, (2000, 2000), np.uint8)
    ).save(path),
    "table.csv": lambda path: path.write_text("0" * 10**7),
}


def write_on_a_full_disk() -> None:
    """Run by a test in a mount namespace: /mnt is a disk of 2 MB."""
    for name, write in WRITERS.items():
        path = Path("/mnt/results", name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("before")
        for context in (replacing, replacing_folder):
            with (
                pytest.raises(UserError, match=r"the disk is full: 2.1 MB of the 9.0 MB that"),
                context(path, size=9_000_000) as temporary,
            ):
                write(temporary / name if context is replacing_folder else temporary)
            assert path.read_text() == "before"
            assert list(path.parent.iterdir()) == [path], "nothing half-written"
        path.unlink()
    print("all writers")


def test_every_writer_says_that_the_disk_is_full_and_leaves_what_was_there():
    command = in_namespace("mount -t tmpfs -o size=2m none /mnt")
    code = "import test_disk_room; test_disk_room.write_on_a_full_disk()"
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{SCRIPTS}:{HELPERS}:{Path(__file__).parent}"},
    )
    assert done.stdout == "all writers\n", done.stdout + done.stderr


def test_a_disk_that_fills_up_stops_training_with_its_last_state_intact(tmp_path):
    write_dataset(tmp_path)
    run = Run(tmp_path, "full", how={"save_seconds": 0.1})
    run.results.mkdir()
    kept = tmp_path / "kept"
    small = in_namespace(f"mount -t tmpfs -o size=16m none {run.results}")
    stopped = run.start(
        0,
        100,
        launcher=[
            *small,
            "sh",
            "-c",
            ON_A_SMALL_DISK,
            "sh",
            str(run.results),
            str(kept),
            sys.executable,
        ],
    )
    _, printed = stopped.communicate(timeout=120)
    assert stopped.returncode == 2, printed
    assert printed.count("error: ") == 1
    assert "cannot be written, the disk is full: " in printed
    assert "Traceback" not in printed and "Exception" not in printed

    assert not list(kept.rglob(".*")), "nothing half-written"
    kept.rename(run.results.with_name("room"))
    room = Run(tmp_path, "room")
    last = read_json(room.states()[-1] / "state.json")["step"]
    assert 0 < last < 100
    folder = TrainingFolder(room.results, room.states()[-1].parents[1].name)
    assert folder.states.latest_valid_step(at_most=100) == last

    # With room it goes on, and ends as one that had room all the time.
    assert f"going on from the saved state of step {last}" in room.complete(0, 100)
    undisturbed = Run(tmp_path, "undisturbed")
    undisturbed.complete(0, 100)
    assert room.checkpoint_bytes(100) == undisturbed.checkpoint_bytes(100)


def with_free(monkeypatch, free: int) -> None:
    usage = SimpleNamespace(total=10**12, used=0, free=free)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)


def test_what_a_training_takes_is_said_with_what_is_free(tmp_path, monkeypatch):
    folder = TrainingFolder(tmp_path / "small", "0123456789abcdef")
    with_free(monkeypatch, 80 * 10**9)
    said = folder.check_room(checkpoints=2, checkpoint_bytes=3_200_000, state_bytes=12_800_000)
    assert said == (
        "disk: 2 checkpoints of 3.2 MB and 3 states of 13 MB, 45 MB in all; "
        f"80 GB are free in {tmp_path / 'small'}"
    )


def test_states_that_are_there_need_no_room(tmp_path, monkeypatch):
    folder = TrainingFolder(tmp_path / "small", "0123456789abcdef")
    tensors = {"model.w": torch.zeros(1000)}
    with_free(monkeypatch, 10**9)
    for step, states in ((10, 3), (20, 2), (30, 1), (40, 1)):
        assert f"{states} state" in folder.check_room(1, 4000, bytes_of(tensors))
        folder.states.save(TrainingState(step, tensors, ""))


def test_a_training_that_does_not_fit_is_refused(tmp_path, monkeypatch):
    folder = TrainingFolder(tmp_path / "small", "0123456789abcdef")
    with_free(monkeypatch, 2 * 3_200_000 + 3 * 12_800_000)
    folder.check_room(2, 3_200_000, 12_800_000)
    with pytest.raises(UserError, match=r"no room .* take 48 MB in all and 45 MB are free.*`keep`"):
        folder.check_room(3, 3_200_000, 12_800_000)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (3_249_999, "3.2 MB"),
        (10**13, "10 TB"),
    ],
)
def test_sizes_in_words(size, text):
    assert size_text(size) == text


def test_what_safetensors_leaves_when_killed_is_removed(tmp_path):
    folder = TrainingFolder(tmp_path / "small", "0123456789abcdef")
    leftover = folder.path / "checkpoints" / ".tmpbftfwR"
    leftover.parent.mkdir()
    leftover.write_bytes(b"half")
    folder.remove_leftovers()
    assert not leftover.exists()
