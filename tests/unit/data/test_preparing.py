"""Preparing: the split, the table of files, memory, and real photographs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
import pytest
from PIL import Image, ImageOps
from places import SCRIPTS
from prepared_images import (
    RGB,
    arrays,
    encoded,
    fetch_folder,
    folder_of,
    photo,
    prepare_fetched,
    prepare_folder,
    table,
)

from ddpm_bench import files
from ddpm_bench.data.preparing import folder_labels, held_out
from ddpm_bench.errors import UserError
from ddpm_bench.images.decoding import read_square
from ddpm_bench.machine.host import usable_cores

# The table of files


def test_every_input_file_has_one_row(tmp_path):
    folder = folder_of(tmp_path / "data", cats__1=photo(1), dogs__2=photo(2), dogs__0=photo(0))
    (folder / "broken.jpg").write_bytes(encoded(photo(3), "JPEG")[:-99])
    (folder / "empty.png").touch()
    (folder / "notes, with a comma.txt").write_text("text")
    (folder / "nowhere.png").symlink_to(tmp_path / "gone")
    os.mkfifo(folder / "pipe.png")
    summary = prepare_folder(folder, tmp_path)
    rows = table(tmp_path)
    assert [(row["source"], row["split"], row["left_out"]) for row in rows] == [
        ("broken.jpg", "", "broken or truncated image"),
        ("cats/1.png", "train", ""),
        ("dogs/0.png", "train", ""),
        ("dogs/2.png", "train", ""),
        ("empty.png", "", "empty file"),
        ("notes, with a comma.txt", "", "not an image of a known format"),
        ("nowhere.png", "", "cannot be read: no regular file"),
        ("pipe.png", "", "cannot be read: no regular file"),
    ]
    assert (summary["files"], summary["train"], summary["eval"]) == (8, 3, 0)
    assert sum(summary["left_out"].values()) == 5
    broken = rows[0]
    assert (broken["width"], broken["height"], broken["mode"]) == ("48", "32", "RGB")
    assert broken["sha256"] == files.sha256(folder / "broken.jpg")


def test_a_name_that_is_no_utf8_has_a_row(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo())
    shutil.copy(folder / "a.png", os.fsencode(folder) + b"/\xff.png")
    prepare_folder(folder, tmp_path)
    assert [row["source"] for row in table(tmp_path)] == ["a.png", "\\xff.png"]


def test_without_a_usable_image_the_commonest_reasons_are_told(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(3):
        (tmp_path / "data" / f"{number}.txt").write_text("text")
    (tmp_path / "data" / "empty").touch()
    with pytest.raises(
        UserError,
        match=r"none of the 4 .*: not an image of a known format \(3\), empty file \(1\); check",
    ):
        prepare_folder(tmp_path / "data", tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


# Split and labels


def test_byte_identical_images_are_never_parted():
    digests = [f"{number % 20}" for number in range(100)]
    for seed in range(20):
        held = held_out(digests, 0.33, seed)
        assert sum(digest in held for digest in digests) == 35  # seven groups of five


def test_the_split_has_the_asked_share():
    digests = [f"{number}" for number in range(1000)]
    assert [len(held_out(digests, share, 0)) for share in (0, 0.1, 0.25, 0.9995)] == [
        0,
        100,
        250,
        1000,
    ]


def test_the_split_depends_on_seed_and_bytes_alone():
    digests = [f"{number}" for number in range(100)]
    held = held_out(digests, 0.2, 0)
    assert held_out(digests[::-1], 0.2, 0) == held
    assert held_out(digests, 0.2, 1) != held


def test_duplicates_under_other_names_go_to_one_split(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"a__{seed}": photo(seed) for seed in range(20)})
    for seed in range(10):
        (folder / "b").mkdir(exist_ok=True)
        shutil.copy(folder / "a" / f"{seed}.png", folder / "b" / f"copy{seed}.png")
    summary = prepare_folder(folder, tmp_path, eval_fraction=0.5)
    splits = {}
    for row in table(tmp_path):
        splits.setdefault(row["sha256"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert (summary["distinct"], summary["files"]) == (20, 30)
    assert summary["eval"] in (15, 16)


def test_rows_tell_where_each_image_lies(tmp_path):
    folder = folder_of(
        tmp_path / "data", **{f"c{seed % 3}__{seed}": photo(seed) for seed in range(30)}
    )
    prepare_folder(folder, tmp_path, eval_fraction=0.3)
    train, held = arrays(tmp_path)
    assert (len(train), len(held)) == (21, 9)
    for row in table(tmp_path):
        image = (train if row["split"] == "train" else held)[int(row["position"])]
        assert np.array_equal(image, read_square(folder / row["source"], RGB)[1])


def test_images_lie_in_the_order_of_their_sources(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"{seed:02d}": photo(seed) for seed in range(40)})
    prepare_folder(folder, tmp_path, eval_fraction=0.5)
    for split in ("train", "eval"):
        rows = [row for row in table(tmp_path) if row["split"] == split]
        assert [int(row["position"]) for row in rows] == list(range(20))


def test_nothing_left_to_train_on_is_an_error(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo(), b=photo(), c=photo())
    with pytest.raises(UserError, match="all 3 usable images are held out; lower eval_fraction"):
        prepare_folder(folder, tmp_path, eval_fraction=0.4)


@pytest.mark.parametrize(
    ("sources", "labels"),
    [
        (["cat/images/1.png", "dog/images/2.png"], ["cat", "dog"]),
        (["all/train/cat/1.png", "all/train/dog/2.png"], ["cat", "dog"]),
        (["1.png", "2.png"], ["", ""]),
        (["only/1.png", "only/2.png"], ["", ""]),
        (["1.png", "cat/2.png"], ["", "cat"]),
        (["a/b/1.png", "a/2.png"], ["b", ""]),
        (["cat/1.png", "cathedral/1.png"], ["cat", "cathedral"]),
        ([], []),
    ],
)
def test_labels_are_the_first_folders_that_differ(sources, labels):
    assert folder_labels(sources) == labels


def test_labels_heed_only_images_that_are_used(tmp_path):
    folder = folder_of(tmp_path / "data", set__cat__1=photo(1), set__dog__2=photo(2))
    (folder / "readme.txt").write_text("text")
    summary = prepare_folder(folder, tmp_path)
    assert summary["labels"] == {"cat": 1, "dog": 1}


# The whole


def test_the_outputs_are_the_same_for_any_number_of_processes(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"{seed}": photo(seed) for seed in range(50)})
    seen = []
    for cpus in (1, 2):
        prepare_folder(folder, tmp_path, cpus, eval_fraction=0.2)
        seen.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"train.npy", "eval.npy", "images.csv", "summary.json", "preview.png"}


def test_the_summary_has_the_checksums_of_the_arrays(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo(0).convert("L"), b=photo(1))
    prepare_folder(folder, tmp_path, channels=1)
    summary = files.read_json(tmp_path / "out" / "summary.json")
    for split in ("train", "eval"):
        assert summary["sha256"][split] == files.sha256(tmp_path / "out" / f"{split}.npy")
    assert (summary["grayscale_to_rgb"], summary["rgb_to_grayscale"]) == (0, 1)


def test_an_empty_split_can_be_mapped(tmp_path):
    prepare_folder(folder_of(tmp_path / "data", a=photo()), tmp_path)
    train, held = arrays(tmp_path)
    assert (train.shape, held.shape) == ((1, 16, 16, 3), (0, 16, 16, 3))
    assert train.dtype == held.dtype == np.uint8


def test_the_preview_shows_the_training_split(tmp_path):
    folder = folder_of(tmp_path / "data", **{f"{seed}": photo(seed) for seed in range(9)})
    prepare_folder(folder, tmp_path)
    with Image.open(tmp_path / "out" / "preview.png") as preview:
        assert preview.size == (3 * (48 + 2) + 2, 3 * (48 + 2) + 2)


def test_files_that_changed_since_they_were_fetched_are_refused(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo(0), b=photo(1))
    fetch_folder(folder, tmp_path)
    photo(2).save(folder / "b.png")
    with pytest.raises(UserError, match="its files are not the 2 that were fetched"):
        prepare_fetched(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_decoded(tmp_path):
    folder = folder_of(tmp_path / "data", a=photo())
    fetch_folder(folder, tmp_path)
    with pytest.raises(UserError, match=r"1 images of 10000000 pixels need 600000.0 GB"):
        prepare_fetched(tmp_path, image_size=10_000_000)


def test_no_more_processes_than_cores_are_started():
    cores = len(os.sched_getaffinity(0))
    assert [usable_cores(1), usable_cores(10_000)] == [1, cores]


def program(tmp_path, output="out", **keys):
    what = {"version": 1, "kind": "folder", "image_size": 16} | keys
    return [
        *[
            sys.executable,
            SCRIPTS / "prepare.py",
            "--what",
            json.dumps(what),
            "--how",
            '{"cpus": 2}',
        ],
        *["--fetched", tmp_path / "raw.json", "--output", tmp_path / output],
    ]


def decoding_children(process):
    found = psutil.Process(process.pid).children()
    return [child for child in found if any("spawn_main" in part for part in child.cmdline())]


@pytest.fixture
def large_images(tmp_path):
    """Make a fetched folder that takes a process several seconds to decode."""
    (tmp_path / "data").mkdir()
    photo(size=(3000, 3000)).save(tmp_path / "data" / "000.jpg")
    for number in range(1, 150):
        os.link(tmp_path / "data" / "000.jpg", tmp_path / "data" / f"{number:03d}.jpg")
    fetch_folder(tmp_path / "data", tmp_path)
    return tmp_path


def start_and_wait_for_children(tmp_path):
    process = subprocess.Popen(program(tmp_path), stderr=subprocess.PIPE, text=True)
    while not (children := decoding_children(process)):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    return process, children


def test_a_killed_decoding_process_is_an_error_and_no_hang(large_images):
    process, children = start_and_wait_for_children(large_images)
    children[0].send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "error: a process that decodes images was killed at " in said
    assert list((large_images / "out").iterdir()) == []


def test_decoding_processes_end_with_a_program_that_is_killed(large_images):
    process, children = start_and_wait_for_children(large_images)
    process.kill()
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "out").mkdir()
    for name in (".rows.partial", ".train.77.partial.npy"):
        (tmp_path / "out" / name).touch()
    prepare_folder(folder_of(tmp_path / "data", a=photo()), tmp_path)
    assert not list((tmp_path / "out").glob(".*"))


def peak_megabytes(command):
    """Return the largest memory that any process of the program had at any time."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    (tmp_path / "data").mkdir()
    photo(size=(64, 64)).save(tmp_path / "data" / "000.png")
    peaks = []
    for count in (80, 320):  # 16 and 63 MB of pixels
        for number in range(1, count):
            path = tmp_path / "data" / f"{number:03d}.png"
            if not path.exists():
                os.link(tmp_path / "data" / "000.png", path)
        fetch_folder(tmp_path / "data", tmp_path)
        peaks.append(peak_megabytes(program(tmp_path, f"out{count}", image_size=256)))
    assert peaks[1] < peaks[0] + 16, peaks


# Real photographs


def sysu_keys(folder):
    return {"kind": "folder", "path": str(folder), "include": ["*/images/*.jpg"]}


@pytest.fixture(scope="session")
def prepared_sysu(sysu_shape, tmp_path_factory):
    """Prepare SYSU-Shape at 64x64 with both programs; return the output folder."""
    place = tmp_path_factory.mktemp("sysu")
    fetch_and_prepare(place, sysu_keys(sysu_shape))
    return place


def fetch_and_prepare(place, source):
    what = json.dumps({"version": 1, "source": source})
    fetching = [sys.executable, SCRIPTS / "fetch.py", "--what", what, "--folder", place / "raw"]
    subprocess.run([*fetching, "--output", place / "raw.json"], check=True, capture_output=True)
    keys = {"kind": source["kind"], "include": source["include"], "image_size": 64}
    command = program(place, eval_fraction=0.2, channels=3, **keys)
    subprocess.run(command, check=True, capture_output=True)


def test_photographs_are_all_accounted_for(prepared_sysu):
    place = prepared_sysu
    summary = files.read_json(place / "out" / "summary.json")
    assert (summary["files"], summary["distinct"], summary["left_out"]) == (1541, 1540, {})
    assert (summary["train"] + summary["eval"], summary["grayscale_to_rgb"]) == (1541, 7)
    assert summary["eval"] in (308, 309)
    assert summary["labels"] == {
        **{"airplane": 472, "bicycle": 224, "boat": 196, "car": 302, "motorbike": 347}
    }


def test_the_table_of_photographs_agrees_with_the_arrays(prepared_sysu):
    place = prepared_sysu
    rows = table(place)
    counts = Counter(row["split"] for row in rows)
    train, held = arrays(place)
    assert (len(train), len(held), len(rows)) == (counts["train"], counts["eval"], 1541)
    assert train.shape[1:] == (64, 64, 3)
    assert [row["source"] for row in rows] == sorted(row["source"] for row in rows)
    assert len({(row["width"], row["height"]) for row in rows}) == 622
    assert sum(row["mode"] == "L" for row in rows) == 7
    twins = [row for row in rows if Counter(r["sha256"] for r in rows)[row["sha256"]] == 2]
    assert len(twins) == 2 and twins[0]["split"] == twins[1]["split"]


def test_photographs_look_like_themselves(prepared_sysu, sysu_shape):
    place = prepared_sysu
    train, _ = arrays(place)
    rows = [row for row in table(place) if row["split"] == "train"][::50]
    for row in rows:
        with Image.open(sysu_shape / row["source"]) as image:
            expected = ImageOps.fit(image.convert("RGB"), (64, 64), Image.Resampling.LANCZOS)
        difference = train[int(row["position"])].astype(float) - np.asarray(expected)
        assert np.sqrt((difference**2).mean()) < 6


def test_photographs_from_a_repository_are_the_same(prepared_sysu, sysu_shape, tmp_path):
    place = prepared_sysu
    store = tmp_path / "repository.git"
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    git = ("git", *identity, f"--git-dir={store}", f"--work-tree={sysu_shape}")
    for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "images")):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    source = sysu_keys(sysu_shape) | {"kind": "git", "url": store.as_uri()}
    del source["path"]
    fetch_and_prepare(tmp_path, source | {"commit": head.stdout.strip()})
    markers = [files.read_json(folder / "raw.json") for folder in (place, tmp_path)]
    assert [marker["files"] for marker in markers] == [1541, 1541]
    assert markers[0]["sha256"] == markers[1]["sha256"]
    for name in ("train.npy", "eval.npy", "images.csv", "summary.json", "preview.png"):
        assert files.sha256(tmp_path / "out" / name) == files.sha256(place / "out" / name)
