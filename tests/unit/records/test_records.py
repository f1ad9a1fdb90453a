"""Records are read as they were written, to the byte, and other files are none."""

import json

import pytest

from ddpm_bench.files import write_json
from ddpm_bench.records.datasets import DatasetSummary, FetchedFiles
from ddpm_bench.records.manifests import CurrentTraining
from ddpm_bench.records.samples import SampleTiming
from ddpm_bench.records.scores import METRICS, ScoreRecord

DIGEST = "a" * 64
KEYS = {"version": 2, "train": {"max_grad_norm": None, "batch_size": 8}}
FAILED = {"status": "out of memory", "reason": "x", "step": 0, "how": {"gpus": 2}}
TIMING = {
    "images": 8, "seconds": 4.0, "batch_size": 8, "precision": "fp32", "device": "a CPU",
    "network_evaluations": 20, "started": "2026-01-01T00:00:00+00:00",
    "ended": "2026-01-01T00:01:00+00:00", "node": "n1", "gpus": [], "slurm_job": None,
}  # fmt: skip
SUMMARY = {
    "files": 4, "train": 2, "eval": 1, "left_out": {"too large": 1}, "distinct": 3,
    "labels": {"cat": 3}, "image_size": 8, "channels": 3, "grayscale_to_rgb": 0,
    "rgb_to_grayscale": 0, "sha256": {"train": DIGEST, "eval": DIGEST},
}  # fmt: skip
FETCHED = {"kind": "folder", "folder": "photos", "files": 3, "sha256": DIGEST}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (CurrentTraining, {"fingerprint": "f" * 16, "keys": KEYS}),
        (SampleTiming, TIMING),
        (SampleTiming, {key: TIMING[key] for key in list(TIMING)[:6]}),
        (DatasetSummary, SUMMARY),
        (FetchedFiles, FETCHED),
    ],
)
def test_a_record_is_written_as_it_was_read(tmp_path, kind, content):
    write_json(tmp_path / "theirs.json", content)
    kind.read(tmp_path / "theirs.json").write(tmp_path / "ours.json")
    assert (tmp_path / "ours.json").read_bytes() == (tmp_path / "theirs.json").read_bytes()


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"images": 0, "failed": FAILED})])
def test_a_file_that_is_no_record_is_passed_over(tmp_path, text):
    path = tmp_path / "images.json"
    path.write_text(text)
    assert SampleTiming.read_if_there(path) is None
    assert SampleTiming.read_if_there(tmp_path / "missing.json") is None
    with pytest.raises(ValueError):
        SampleTiming.read(path)


def test_metrics_are_columns_of_a_score_and_have_the_better_direction():
    assert set(METRICS) <= set(ScoreRecord.model_fields)
    lower = {column for column, metric in METRICS.items() if metric.lower_is_better}
    assert lower == {"fid", "kid_mean"}
