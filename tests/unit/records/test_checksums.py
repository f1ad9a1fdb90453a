"""Damage is seen in each kind of file that has a checksum; what earlier versions wrote passes."""

import json

import numpy as np
import pandas as pd
import pytest

from ddpm_bench.errors import UserError
from ddpm_bench.files import read_if_there, read_json, sha256, write_json, write_record
from ddpm_bench.records.checksums import check_file, open_array
from ddpm_bench.records.json_record import read_record
from ddpm_bench.records.progress_log import check_progress, read_events, with_line_checksum
from ddpm_bench.report.tables import losses
from ddpm_bench.report.tables.losses import read_losses
from ddpm_bench.report.tables.score_tables import VALIDATION_COLUMNS, read_table, write_table


def replace(path, before, after):
    content = path.read_bytes()
    assert content.count(before) == 1
    path.write_bytes(content.replace(before, after))


def test_a_record_with_one_digit_changed_is_damaged(tmp_path):
    path = tmp_path / "record.json"
    value = {"fid": 31.25, "names": ("é", "b"), "nested": {"1": None}}
    write_record(path, value)
    assert read_json(path) == {**value, "names": ["é", "b"]}
    path.write_text(json.dumps(json.loads(path.read_text())))  # laid out in another way
    assert read_json(path)["fid"] == 31.25
    replace(path, b"31.25", b"31.35")
    with pytest.raises(UserError, match=r"record\.json: missing or damaged \(its record_sha256 is"):
        read_record(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"1" * 5000])
def test_what_is_no_record_ends_in_one_sentence(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"record\.json: missing or damaged .*; delete it"
    ) as raised:
        read_record(path, "checkpoints")
    assert "\n" not in str(raised.value)


def test_an_array_is_checked_against_the_record_beside_it(tmp_path):
    path = tmp_path / "train.npy"
    np.save(path, np.arange(100, dtype=np.uint8))
    assert len(open_array(path)) == 100, "without a record"
    write_json(tmp_path / "summary.json", {"sha256": {"eval": "0" * 64}})
    assert len(open_array(path)) == 100, "of an earlier version"
    write_json(tmp_path / "summary.json", {"sha256": {"train": sha256(path)}})
    assert len(open_array(path)) == 100
    replace(path, b"\x14\x15\x16", b"\x14\x14\x16")
    with pytest.raises(UserError, match=r"train\.npy: damaged \(its sha256 .*; delete it and run"):
        open_array(path)


def test_samples_are_checked_against_their_timing(tmp_path):
    path = tmp_path / "images-000000-000007.npy"
    np.save(path, np.zeros((8, 4, 4, 1), np.uint8))
    write_record(path.with_suffix(".json"), {"images": 8, "sha256": sha256(path)})
    check_file(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UserError, match=r"images-000000-000007\.npy: damaged"):
        check_file(path)


def test_json_of_the_user_beside_an_array_is_no_record_of_it(tmp_path):
    path = tmp_path / "drawn.npy"
    np.save(path, np.zeros((8, 4, 4, 1), np.uint8))
    for other in ([1, 2], {"prompts": ["a cat"]}, "a cat"):
        write_json(tmp_path / "drawn.json", other)
        check_file(path)
    (tmp_path / "drawn.json").write_text('{"line": 1}\n{"line": 2}\n')
    with pytest.raises(
        UserError, match=r"drawn\.json: .*; delete it .* no record of ddpm-bench, move"
    ):
        check_file(path)


def test_a_table_with_one_digit_changed_is_damaged(tmp_path):
    path = tmp_path / "validation.csv"
    write_table(path, pd.DataFrame([[20, 64, 0.25, 0.5, 0.125]], columns=VALIDATION_COLUMNS))
    assert read_table(path, VALIDATION_COLUMNS)["eval_loss"].item() == 0.25
    replace(path, b"0.25", b"0.35")
    with pytest.raises(UserError, match=r"validation\.csv: damaged"):
        read_table(path, VALIDATION_COLUMNS)
    (tmp_path / ".validation.csv.sha256").unlink()  # as earlier versions left it
    assert read_table(path, VALIDATION_COLUMNS)["eval_loss"].item() == 0.35
    path.write_text(path.read_text()[:-10])
    with pytest.raises(UserError, match=r"validation\.csv: cannot be read as a table"):
        read_table(path, VALIDATION_COLUMNS)


NAMES = [(0, "started"), (10, "trained"), (20, "trained"), (20, "job ended")]


def write_log(folder, lines):
    (folder / "training").mkdir(exist_ok=True)
    write_json(folder / "training" / "current.json", {"fingerprint": "a"})
    manifest = {"fingerprint": "a", "last_step": 20}
    write_json(folder / "training" / "job-00000000-00000020.json", manifest)
    (folder / "progress.jsonl").write_text("".join(lines))
    return folder / "progress.jsonl"


def log_lines(checksums=True):
    events = [
        {"time": f"2026-01-01T00:00:{second:02}+00:00", "event": name, "step": step}
        for second, (step, name) in enumerate(NAMES)
    ]
    return [json.dumps(with_line_checksum(one) if checksums else one) + "\n" for one in events]


@pytest.mark.parametrize("checksums", [True, False])
def test_a_whole_log_passes_with_half_a_line_of_a_killed_process(tmp_path, checksums):
    lines = log_lines(checksums)
    for whole in (lines, [*lines, lines[1][:30]], [*lines[:2], lines[1][:30] + "\n", *lines]):
        check_progress(write_log(tmp_path, whole))
    check_progress(write_log(tmp_path, [*lines[:2], lines[1][:30], *lines])), "on the same line"
    assert "crc32" not in read_events(write_log(tmp_path, lines))[0]


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (lambda lines: lines[:2], "ends at step 10 of 20"),
        (lambda lines: [], "ends at step 0 of 20"),
        (lambda lines: [lines[0], lines[1].replace("00:00:01", "00:00:51"), *lines[2:]], "a line"),
        (lambda lines: [lines[0], lines[1][:20] + "\n", *lines[2:]], "a line is not whole"),
        (lambda lines: [*lines[:3], lines[3].replace("20,", "24,")], "a line is not whole"),
    ],
)
def test_a_damaged_log_is_named(tmp_path, damaged, reason):
    with pytest.raises(UserError, match=rf"progress\.jsonl: damaged \(.*{reason}.*; delete it"):
        check_progress(write_log(tmp_path, damaged(log_lines())))


def assert_passes_while_another_state_is_saved(published, monkeypatch):
    """Read a published table that a running training replaces once its states are listed."""
    before = published.read_text()

    def replaced_meanwhile(path):
        found = read_if_there(path)
        published.write_text(before + "50,400,0.5,0.001,1.0,0\n")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(losses, "read_if_there", replaced_meanwhile)
        assert len(read_losses(published)) == 5
    published.write_text(before)


def test_metrics_are_those_of_a_saved_state(tmp_path, monkeypatch):
    experiment = tmp_path / "small"
    rows = "".join(f"{step},{step * 8},0.5,0.001,1.0,0\n" for step in range(10, 50, 10))
    whole = "step,images_seen,loss,learning_rate,grad_norm,skipped_steps\n" + rows
    state = experiment / "training" / "a" / "state" / "step-00000040"
    state.mkdir(parents=True)
    write_json(experiment / "training" / "current.json", {"fingerprint": "a"})
    published = experiment / "metrics.csv"
    for path in (published, state / "metrics.csv"):
        path.write_text(whole)
    write_json(state / "state.json", {"sha256": {"metrics.csv": sha256(published)}})
    assert len(read_losses(published)) == 4
    assert_passes_while_another_state_is_saved(published, monkeypatch)
    published.write_text("".join(whole.splitlines(keepends=True)[:3]))  # half, at the end of a row
    expected = rf"metrics\.csv: damaged .* copy {state / 'metrics.csv'} to its place"
    with pytest.raises(UserError, match=expected):
        read_losses(published)
    published.write_text((state / "metrics.csv").read_text())
    assert len(read_losses(published)) == 4
