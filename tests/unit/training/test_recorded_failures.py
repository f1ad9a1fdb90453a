"""A training or a drawing that fails under `on_failure: record` leaves a file that says why."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_results import CLASSIFIER
from PIL import Image
from places import SCRIPTS
from training_runs import COUNTED, MODEL, Run, wait_until, write_dataset

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.training import TrainRun
from ddpm_bench.errors import UserError
from ddpm_bench.machine.launch import Ended
from ddpm_bench.machine.process_failures import ProcessFailure, failure_file, write_failure
from ddpm_bench.machine.stage_memory import recordable
from ddpm_bench.machine.watching import outcome_of
from ddpm_bench.planning import jobs, retries
from ddpm_bench.records.failures import RecordedFailure, failure_of_samples, how_keys, read_failed
from ddpm_bench.records.scores import METRICS, ScoreRecord
from ddpm_bench.runs.main_process import only_reports

RECORD = {"on_failure": "record"}
# Megabytes: a network of tests fits beside torch, 2^16 images in one batch do not.
TOO_LITTLE = 1100  # megabytes


@pytest.fixture
def run(tmp_path) -> Run:
    write_dataset(tmp_path)
    return Run(tmp_path, how=dict(RECORD))


def left(run: Run, first: int, last: int) -> dict:
    """The manifest of a job, in which nothing is left of the watching."""
    assert list(run.results.rglob("*.words")) == []
    return json.loads(run.manifest(first, last).read_text())


def test_a_training_that_does_not_fail_is_the_same_as_unwatched(run, tmp_path):
    run.complete(0, 20)
    alone = Run(tmp_path, "alone")
    alone.complete_here(0, 20)
    assert run.checkpoint_bytes(20) == alone.checkpoint_bytes(20)
    assert left(run, 0, 20) == json.loads(alone.manifest(0, 20).read_text())


def test_out_of_memory_is_recorded_with_what_to_set_and_the_jobs_after_it_train_nothing(run):
    run.train["batch_size"] = 2**16
    run.how["memory_mb_per_process"] = TOO_LITTLE
    printed = run.complete(0, 20)
    manifest = left(run, 0, 20)
    assert manifest["checkpoints"] == []
    found = RecordedFailure(**manifest["failed"])
    assert found.status == "out of memory" and found.step == 0
    assert "more could not be had; a process may take 1,100 MB" in found.reason
    assert "run.micro_batch_size" in found.reason
    assert found.how == {"cpus": 1, **run.how}
    assert f"recorded, and the exit status is 0 (run.on_failure): {found.in_words()}" in printed
    assert (run.results / "metrics.csv").read_text().startswith("step,images_seen,loss")

    printed = run.complete(20, 40)
    assert "not trained: the job before failed: out of memory" in printed
    assert left(run, 20, 40)["failed"]["reason"] == found.reason


def test_without_recording_the_same_training_fails_as_ever(run):
    run.train["batch_size"] = 2**16
    run.how.update(memory_mb_per_process=TOO_LITTLE, on_failure="stop")
    process = run.start(0, 20)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 1 and "can't allocate memory" in printed
    assert not run.manifest(0, 20).exists()


def test_a_training_that_diverges_keeps_the_checkpoints_of_before(run):
    run.train.update(learning_rate=1e9, max_grad_norm=None, checkpoint_every=10)
    run.complete(0, 40)
    manifest = left(run, 0, 40)
    assert manifest["failed"]["status"] == "diverged"
    assert "not finite" in manifest["failed"]["reason"]
    assert "try a learning_rate below 1e+09" in manifest["failed"]["reason"]
    assert [entry["step"] for entry in manifest["checkpoints"]] == [10, 20]
    assert (run.results / "checkpoints" / "step-00000020.safetensors").exists()


def test_one_that_the_kernel_kills_is_recorded_as_out_of_memory(run):
    run.program = COUNTED
    process = run.start(0, 2000)
    wait_until(lambda: run.executed_steps() > 30, process)
    (trainer,) = psutil.Process(process.pid).children()
    trainer.kill()
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    found = RecordedFailure(**left(run, 0, 2000)["failed"])
    assert found.status == "out of memory" and "SIGKILL" in found.reason


def test_a_signal_to_stop_saves_and_is_no_failure(run):
    run.program = COUNTED
    process = run.start(0, 2000)
    wait_until(lambda: run.executed_steps() > 30, process)
    process.send_signal(signal.SIGUSR1)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 75, printed
    assert not run.manifest(0, 2000).exists() and run.states()
    assert list(run.results.rglob("*.words")) == []


def test_a_signal_to_all_its_processes_saves_once(run):
    """As `make stop` and a terminal send it."""
    run.program = COUNTED
    process = run.start(0, 2000)
    wait_until(lambda: run.executed_steps() > 30, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 75, printed
    assert printed.count("is saved, and the same command goes on") == 1


def test_a_training_ends_with_the_process_that_watches_it(run):
    run.program = COUNTED
    process = run.start(0, 100_000)
    wait_until(lambda: run.executed_steps() > 30, process)
    (trainer,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    trainer.wait(60)
    assert run.states(), "it saved, as on a signal to stop"


def test_a_failure_of_several_processes_is_recorded_too(run):
    run.train["batch_size"] = 2**16
    run.how.update(memory_mb_per_process=TOO_LITTLE, gpus=2)
    run.complete(0, 20)
    assert left(run, 0, 20)["failed"]["status"] == "out of memory"


def test_what_is_no_result_of_the_keys_stops_as_ever(run):
    """A file that is missing, a full disk, another trainer: trying again mends it."""
    run.train["init_from"] = {"path": "", "sha256": "0" * 64}
    run.options = ("--init-from", str(run.folder / "none.safetensors"))
    process = run.start(0, 20)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 2 and "none.safetensors" in printed
    assert not run.manifest(0, 20).exists()


def test_the_first_cause_of_several_words_is_told(tmp_path):
    lost = ProcessFailure("crashed", "RuntimeError: connection closed by peer", 1.0)
    write_failure(failure_file(tmp_path, 0), lost)
    write_failure(failure_file(tmp_path, 1), ProcessFailure("out of memory", "3 GB more", 2.0))
    assert outcome_of(Ended(2), tmp_path).failure.reason == "3 GB more"
    assert outcome_of(Ended(75, signal.SIGTERM), tmp_path).failure is None
    assert outcome_of(Ended(0), tmp_path).failure is None


def test_a_process_that_left_no_word_is_judged_by_its_end(tmp_path):
    assert outcome_of(Ended(1, exit_code=-9), tmp_path).failure.status == "out of memory"
    assert outcome_of(Ended(1, exit_code=-11), tmp_path).failure.status == "crashed"
    assert outcome_of(Ended(2, exit_code=1), tmp_path).failure is None  # an error for the user


CLOSED = ProcessFailure("crashed", "RuntimeError: Connection closed by peer [127.0.0.1]", 1.0)


def test_the_end_of_another_process_is_no_crash_to_record(tmp_path):
    """One ended with an error for the user, and left no word."""
    write_failure(failure_file(tmp_path, 1), CLOSED)
    assert outcome_of(Ended(2, exit_code=1), tmp_path).failure is None


def test_the_kernels_kill_is_named_and_not_what_others_say_of_it(tmp_path):
    write_failure(failure_file(tmp_path, 1), CLOSED)
    found = outcome_of(Ended(2, exit_code=-9), tmp_path).failure
    assert found.status == "out of memory" and "SIGKILL" in found.reason
    assert "SIGABRT" in outcome_of(Ended(2, exit_code=-6), tmp_path).failure.reason
    write_failure(failure_file(tmp_path, 0), ProcessFailure("out of memory", "3 GB more", 2.0))
    assert outcome_of(Ended(2, exit_code=-9), tmp_path).failure.reason == "3 GB more"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FileNotFoundError(errno.ENOENT, "no such file"), None),
        (OSError(errno.EIO, "input/output error"), None),
        (OSError(errno.ESTALE, "stale file handle"), None),
        (OSError(errno.ENOMEM, "cannot allocate memory"), "out of memory"),
        (ValueError("shapes differ"), "crashed"),
    ],
)
def test_errors_of_files_are_no_results(error, status):
    found = recordable(error, TrainRun(on_failure="record"), None)
    assert (found and found.status) == status


def test_a_watched_training_that_cannot_read_a_file_records_nothing(run):
    (run.folder / "data" / "train.npy").unlink()
    process = run.start(0, 20)
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 2 and "train.npy: is missing; run snakemake again" in printed
    assert not run.manifest(0, 20).exists()


# What follows a failed training

SAMPLES = {
    "version": 1, "image_size": 8, "channels": 1, "model": MODEL,
    "drawing": {"steps": 2, "batch_size": 4},
}  # fmt: skip


def program(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / f"{name}.py", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def draw(folder: Path, manifest: Path, how: dict | None = None, what: dict = SAMPLES) -> Path:
    output = folder / "small" / "samples" / "set" / "step-00000020" / "images-000000-000003.npy"
    done = program(
        "sample", "--what", json.dumps(what), "--how", json.dumps(how or {}),
        "--manifest", manifest, "--step", 20, "--first", 0, "--last", 3,
        "--output", output, "--timing", output.with_suffix(".json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def failed_manifest(tmp_path) -> Path:
    path = tmp_path / "small" / "training" / "job-00000000-00000020.json"
    path.parent.mkdir(parents=True)
    why = {"status": "diverged", "reason": "not finite", "step": 0, "how": {}}
    content = {"checkpoints": [], "fingerprint": "0" * 16, "failed": why}
    path.write_text(json.dumps(content))
    return path


def test_samples_of_a_failed_training_are_no_images_and_say_why(tmp_path, failed_manifest):
    images = draw(tmp_path, failed_manifest)
    drawn = np.load(images)
    assert drawn.shape == (0, 8, 8, 1) and drawn.dtype == np.uint8
    assert failure_of_samples([images]).in_words() == "diverged: not finite"


def test_their_score_is_nulls_with_the_reason(tmp_path, failed_manifest):
    images = draw(tmp_path, failed_manifest)
    reference, output = tmp_path / "train.npz", tmp_path / "score.json"
    write_reference(reference)
    what = {
        "version": 1, "images": 4, "reference": "train",
        "features": {"version": 1, "features": "classifier"},
    }  # fmt: skip
    done = program(
        "score", "--what", json.dumps(what), "--samples", images, "--reference", reference,
        "--train", reference, "--heldout", "--fid-reference", "--weights", "none.safetensors",
        "--output", output, "--nearest", tmp_path / "nearest.npz",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = ScoreRecord.model_validate_json(output.read_text())
    assert record.warning == "no images: diverged: not finite"
    assert all(getattr(record, column) is None for column in METRICS)
    assert (record.images_generated, record.images_reference) == (0, 30)
    assert record.feature_space == "classifier" and record.feature_dimensions == 5
    assert len(np.load(tmp_path / "nearest.npz")["generated_distance"]) == 0


def write_reference(path: Path) -> None:
    from ddpm_bench.scoring.features.references import feature_statistics

    features = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    mu, sigma = feature_statistics(features)
    np.savez(
        path, features=features, mu=mu, sigma=sigma, weights_sha256=CLASSIFIER["weights_sha256"],
        image_shape=np.array([8, 8, 1]),
    )  # fmt: skip


def test_validation_of_a_failed_training_has_no_rows(tmp_path, failed_manifest):
    what = {"version": 1, "model": {**MODEL, "dim": 2**16}}  # which would not fit either
    done = program(
        "validate", "--what", json.dumps(what), "--manifest", failed_manifest,
        "--eval", "none.npy", "--train", "none.npy", "--output", tmp_path / "v.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "v.csv").read_text()
    assert text == "step,images,eval_loss,train_loss,gap_standard_error\n"


@pytest.mark.parametrize(
    ("name", "arguments", "output"),
    [
        ("sample_grid", ["--samples", "{images}"], "grid.png"),
        (
            "plot_samples",
            ["--steps", "20", "--samples", "{images}", "--animation", "{folder}/a.gif"],
            "samples.png",
        ),
        (
            "plot_trajectory",
            ["--manifest", "{manifest}", "--step", "20"],
            "denoising.gif",
        ),
        (
            "plot_closest_pairs",
            ["--nearest", "{folder}/small/scores/a/set/step-00000020.nearest.npz",
             "--samples", "{images}", "--train", "none.npy", "--feature-space", "classifier"],
            "closest.png",
        ),
    ],
)  # fmt: skip
def test_pictures_say_that_there_are_none(tmp_path, failed_manifest, name, arguments, output):
    images = draw(tmp_path, failed_manifest)
    places = {"images": images, "manifest": failed_manifest, "folder": tmp_path}
    what = json.dumps(SAMPLES if name == "plot_trajectory" else {"version": 1})
    target = images.parent / output
    given = [text.format(**places) for text in arguments]
    done = program(name, "--what", what, *given, "--output", target)
    assert done.returncode == 0, done.stderr
    with Image.open(target) as picture:
        assert picture.size[0] > 300 and picture.convert("L").getextrema()[0] < 200


def test_a_drawing_that_runs_out_of_memory_is_recorded(run):
    run.how.clear()
    run.complete_here(0, 20)
    what = {**SAMPLES, "drawing": {"steps": 2, "batch_size": 2**17}}
    how = {**RECORD, "memory_mb_per_process": TOO_LITTLE}
    images = draw(run.folder, run.manifest(0, 20), how, what)
    assert len(np.load(images)) == 0
    found = read_failed(images.with_suffix(".json"))
    assert found.status == "out of memory" and "lower batch_size" in found.reason
    assert len(np.load(draw(run.folder, run.manifest(0, 20)))) == 4  # of a batch that fits


def test_an_animation_that_runs_out_of_memory_says_so(run):
    run.how.clear()
    run.complete_here(0, 20)
    what = {**SAMPLES, "drawing": {"steps": 2, "batch_size": 2**17}}
    arguments = [
        "--what", json.dumps(what), "--manifest", run.manifest(0, 20), "--step", 20,
        "--output", run.folder / "denoising.gif",
    ]  # fmt: skip
    how = {**RECORD, "memory_mb_per_process": TOO_LITTLE}
    done = program("plot_trajectory", "--how", json.dumps(how), *arguments)
    assert done.returncode == 0, done.stderr
    with Image.open(run.folder / "denoising.gif") as picture:
        assert picture.size[0] > 300 and picture.n_frames == 1


# Another try

CONFIG = {
    "datasets": {
        "digits": {"source": {"kind": "sklearn-digits"}, "image_size": 8, "channels": 1},
    },
    "experiments": {
        "small": {
            "dataset": "digits",
            "model": MODEL,
            "train": {"steps": 20, "batch_size": 8, "checkpoint_every": 20,
                      "run": {"on_failure": "record"}},
        }
    },
}  # fmt: skip


def test_other_run_keys_try_a_failed_training_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("results/small/training/job-00000000-00000020.json")
    path.parent.mkdir(parents=True)
    how = how_keys(TrainRun(on_failure="record"))
    why = {"status": "crashed", "reason": "x", "step": 0, "how": how}
    path.write_text(json.dumps({"checkpoints": [], "failed": why}))
    config = check_config(CONFIG)
    assert list(retries.to_try_again(config)) == []
    assert retries.failure_of(config, "small").reason == "x"
    assert str(path) in retries.remedy(config, "small")
    changed = json.loads(json.dumps(CONFIG))
    changed["experiments"]["small"]["train"]["run"]["micro_batch_size"] = 4
    ((name, manifests),) = retries.to_try_again(check_config(changed))
    assert (name, manifests) == ("small", [path])


def test_other_run_keys_try_failed_samples_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs.look_again()
    manifest = Path("results/small/training/job-00000000-00000020.json")
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({"checkpoints": [{"step": 20, "file": "x"}]}))
    images = Path("results/small/samples/few/step-00000020/images-000000-000003.npy")
    images.parent.mkdir(parents=True)
    np.save(images, np.empty((0, 8, 8, 1), "u1"))
    why = {"status": "out of memory", "reason": "x", "step": 20, "how": RECORD}
    timing = images.with_suffix(".json")
    timing.write_text(json.dumps({"images": 0, "failed": why}))
    raw = json.loads(json.dumps(CONFIG))
    drawing = {"images": 4, "batch_size": 4, "run": dict(RECORD)}
    raw["experiments"]["small"]["samples"] = {"few": drawing}
    config = check_config(raw)
    assert list(retries.to_try_again(config)) == []
    (note,) = retries.drawing_notes(config, "small")
    assert "samples few: 1 file failed: out of memory: x" in note and str(timing) in note
    drawing["run"]["memory_mb_per_process"] = 9000
    ((name, files),) = retries.to_try_again(check_config(raw))
    assert (name, files) == ("small: samples few", [timing, images])
    # Those of a training that failed wait for it.
    manifest.write_text(json.dumps({"checkpoints": [], "failed": {**why, "how": {}}}))
    names = [name for name, _ in retries.to_try_again(check_config(raw))]
    assert names == ["small"]
    jobs.look_again()


@pytest.mark.parametrize(
    ("typed", "reports"),
    [
        ("--cores 1 trained", False),
        ("--cores 1 --report a.zip --report-after-run", False),
        ("--report a.zip", True),
        ("--report", True),
        ("--summary", True),
        ("-D", True),
        ("--unlock", True),
        ("--lint", True),
        ("--touch --cores 1", True),
        ("-n", True),
        ("--list", True),
    ],
)
def test_what_has_failed_is_forgotten_by_runs_alone(typed, reports):
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(typed.split())
    assert only_reports(options) is reports


def test_an_autoencoder_cannot_record_its_failure():
    raw = json.loads(json.dumps(CONFIG))
    raw["autoencoders"] = {
        "ae": {"dataset": "digits", "model": {"name": "vqvae"},
               "train": {"steps": 20, "batch_size": 8, "checkpoint_every": 20,
                         "run": {"on_failure": "record"}}}
    }  # fmt: skip
    with pytest.raises(UserError, match=r"autoencoders.ae.train.run.on_failure = 'record'"):
        check_config(raw)
