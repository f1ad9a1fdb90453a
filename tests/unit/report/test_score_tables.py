import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from fake_results import INCEPTION, score, write_score, write_scores
from places import SCRIPTS

from ddpm_bench.errors import UserError
from ddpm_bench.records.scores import METRICS
from ddpm_bench.report.tables import score_tables


def evaluation_of(results: Path, experiment: str = "digits"):
    files = sorted((results / experiment / "scores").glob("*/*/*.json"))
    return score_tables.evaluation_table(files, experiment=experiment, dataset="digits-16")


def test_the_best_by_a_metric_has_the_warnings_about_it_alone(tmp_path):
    warning = "FID: few images: read KID; precision, recall: against 50 images noise, too"
    write_score(tmp_path, "digits", "dpm20", "classifier", 300, score(0.5, warning=warning))
    best = score_tables.best_scores(evaluation_of(tmp_path)).set_index("metric")["warning"]
    assert best["fid"] == "FID: few images: read KID" and best["kid_mean"] == ""
    assert best["recall"] == "precision, recall: against 50 images noise, too"


def best_step(best, metric: str) -> int:
    (step,) = best.loc[best["metric"] == metric, "training_step"]
    return step


def test_names_and_steps_come_from_the_path(tmp_path):
    write_score(tmp_path, "digits", "ddim50", "strict", 75_000, score(0.5))
    row = evaluation_of(tmp_path).iloc[0]
    assert (row["experiment"], row["samples"], row["score"]) == ("digits", "ddim50", "strict")
    assert row["training_step"] == 75_000


def test_every_key_of_a_score_is_a_column(tmp_path):
    write_scores(tmp_path)
    assert set(score(0.5)) < set(evaluation_of(tmp_path).columns)


def test_rows_are_sorted_whatever_the_order_of_the_files(tmp_path):
    files = write_scores(tmp_path, checkpoints=12, samples=("b", "a"))
    sorted_table = score_tables.evaluation_table(files, experiment="digits", dataset="d")
    random.Random(0).shuffle(files)
    assert score_tables.evaluation_table(files, experiment="digits", dataset="d").equals(
        sorted_table
    )
    assert list(sorted_table["samples"]) == ["a"] * 12 + ["b"] * 12
    assert sorted_table["training_step"][:12].is_monotonic_increasing


def test_best_scores_are_lowest_or_highest_as_the_metric_wants(tmp_path):
    fids, recalls = [9.0, 5.0, 7.0], [0.2, 0.3, 0.6]
    for step, (fid, recall) in enumerate(zip(fids, recalls, strict=True), 1):
        record = score(0.5, fid=fid, kid_mean=-fid, is_mean=fid, precision=fid / 10, recall=recall)
        write_score(tmp_path, "digits", "dpm20", "classifier", step, record)
    best = score_tables.best_scores(evaluation_of(tmp_path))
    assert best_step(best, "fid") == 2
    assert best_step(best, "kid_mean") == 1
    assert best_step(best, "is_mean") == 1
    assert best_step(best, "precision") == 1
    assert best_step(best, "recall") == 3


def test_of_equal_scores_the_earliest_step_is_best(tmp_path):
    for step in (900, 300, 600):
        write_score(tmp_path, "digits", "dpm20", "classifier", step, score(0.5))
    best = score_tables.best_scores(evaluation_of(tmp_path))
    assert set(best["training_step"]) == {300}


def test_a_null_is_never_best(tmp_path):
    write_score(tmp_path, "digits", "dpm20", "classifier", 300, score(0.1, fid=None))
    write_score(tmp_path, "digits", "dpm20", "classifier", 600, score(0.2))
    assert best_step(score_tables.best_scores(evaluation_of(tmp_path)), "fid") == 600


def test_a_metric_that_was_never_measured_has_no_best_row(tmp_path):
    write_scores(tmp_path, precision=None)
    best = score_tables.best_scores(evaluation_of(tmp_path))
    assert set(best["metric"]) == set(METRICS) - {"precision"}


def test_each_feature_space_has_its_own_best(tmp_path):
    write_scores(tmp_path, name="classifier")
    write_scores(tmp_path, name="inception", **INCEPTION)
    best = score_tables.best_scores(evaluation_of(tmp_path))
    pairs = best.loc[best["metric"] == "fid", ["score", "feature_space"]]
    assert pairs.values.tolist() == [["classifier", "classifier"], ["inception", "inception"]]


def test_floats_round_trip_through_a_table_bit_for_bit(tmp_path):
    generator = random.Random(1)
    numbers = []
    while len(numbers) < 500:
        (number,) = struct.unpack("d", generator.randbytes(8))
        if number == number and abs(number) < 1e300:
            numbers.append(number)
    numbers += [0.1 + 0.2, 1 / 3, 5e-324, 1e22, -0.0]
    rows = [
        {**score_tables.score_row(path, experiment="digits", dataset="d"), "fid": number}
        for number, path in zip(numbers, write_scores(tmp_path, checkpoints=1) * 600, strict=False)
    ]
    score_tables.write_table(tmp_path / "t.csv", score_tables.table_of(rows))
    read = score_tables.read_table(tmp_path / "t.csv", score_tables.EVALUATION_COLUMNS)
    assert [struct.pack("d", value) for value in read["fid"]] == [
        struct.pack("d", value) for value in numbers
    ]


def test_a_table_reads_back_as_it_was_written(tmp_path):
    changed = {"kid_subset_size": None, "kid_mean": None, "warning": 'a, "quoted"\nwarning'}
    write_scores(tmp_path, "NA", samples=("null", "1"), **{**INCEPTION, **changed})
    evaluation = evaluation_of(tmp_path, "NA")
    for table, columns in (
        (evaluation, score_tables.EVALUATION_COLUMNS),
        (score_tables.best_scores(evaluation), score_tables.BEST_COLUMNS),
    ):
        score_tables.write_table(tmp_path / "t.csv", table)
        assert score_tables.read_table(tmp_path / "t.csv", columns).equals(table)


def test_a_table_is_the_same_bytes_when_written_twice(tmp_path):
    write_scores(tmp_path, checkpoints=5)
    for name in ("a.csv", "b.csv"):
        score_tables.write_table(tmp_path / name, evaluation_of(tmp_path))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.csv").read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("recall"), "lacks recall"),
        (lambda record: record.update(is_best=True), "unknown keys is_best"),
        (lambda record: record.update(fid="low"), "fid"),
        (lambda record: record.update(reference="test"), "reference"),
    ],
)
def test_a_file_that_is_no_score_is_named(tmp_path, change, message):
    record = score(0.5)
    change(record)
    path = write_score(tmp_path, "digits", "dpm20", "classifier", 300, record)
    with pytest.raises(UserError, match=message) as error:
        evaluation_of(tmp_path)
    assert str(path) in str(error.value)


def test_a_score_of_another_experiment_is_refused(tmp_path):
    (path,) = write_scores(tmp_path, "other", checkpoints=1)
    with pytest.raises(UserError, match="'other'"):
        score_tables.evaluation_table([path], experiment="digits", dataset="d")


def test_a_table_of_another_version_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("experiment,fid\ndigits,1.0\n")
    with pytest.raises(UserError, match="columns"):
        score_tables.read_table(tmp_path / "t.csv", score_tables.EVALUATION_COLUMNS)


@pytest.mark.parametrize(
    ("changed", "label"),
    [
        ({}, "FID (Inception features)"),
        ({"fid_backend": "pytorch-fid"}, "FID (Inception features, pytorch-fid)"),
        ({"fid_reference": "theirs"}, "FID (Inception features, against theirs)"),
        ({"feature_space": "classifier"}, "FID (classifier features)"),
        ({"feature_space": "dinov2-vit-b-14"}, "FID (DINOv2 ViT-B/14 features)"),
        (
            {"feature_space": "inception-mine"},
            "FID (Inception features, weights 'mine', not comparable)",
        ),
    ],
)
def test_no_two_fids_that_differ_have_one_label(tmp_path, changed, label):
    write_scores(tmp_path, **{**INCEPTION, **changed})
    row = evaluation_of(tmp_path).iloc[0]
    assert score_tables.metric_label(row, METRICS["fid"]) == label


def test_the_backend_of_fid_is_no_matter_of_kid(tmp_path):
    write_scores(tmp_path, **INCEPTION, fid_backend="pytorch-fid", fid_reference="theirs")
    row = evaluation_of(tmp_path).iloc[0]
    assert score_tables.metric_label(row, METRICS["kid_mean"]) == "KID (Inception features)"


@pytest.mark.parametrize("key", ["fid_backend", "fid_reference"])
def test_each_kind_of_fid_has_its_own_best(tmp_path, key):
    other = {"fid_backend": "pytorch-fid", "fid_reference": "theirs"}[key]
    write_scores(tmp_path, name="one", **INCEPTION)
    write_scores(tmp_path, name="other", **INCEPTION, **{key: other})
    best = score_tables.best_scores(evaluation_of(tmp_path))
    assert best.loc[best["metric"] == "fid", key].tolist() == [
        {"fid_backend": "torch-fidelity", "fid_reference": "train"}[key],
        other,
    ]


def test_the_best_value_has_its_deviation_beside_it(tmp_path):
    write_score(tmp_path, "digits", "dpm20", "classifier", 300, score(0.5, fid=9.0, fid_std=0.7))
    best = score_tables.best_scores(evaluation_of(tmp_path)).set_index("metric")
    assert best.loc["fid", "std"] == 0.7
    assert best["std"].isna()["precision"]


@pytest.mark.parametrize(
    ("changed", "first"),
    [
        (INCEPTION, "kid_mean"),  # 1,437 images for 2,048 dimensions
        ({**INCEPTION, "images_reference": 2048}, "fid"),
        ({**INCEPTION, "fid_reference": "theirs"}, "fid"),
        ({}, "fid"),
    ],
)
def test_kid_is_read_first_where_the_reference_is_small(tmp_path, changed, first):
    write_scores(tmp_path, **changed)
    evaluation = evaluation_of(tmp_path)
    assert score_tables.ordered_metrics(evaluation)[0].column == first
    assert score_tables.best_scores(evaluation)["metric"].iloc[0] == first


def collect(results: Path, experiment: str, files: list[Path]) -> subprocess.CompletedProcess:
    folder = results / experiment / "report"
    what = {"version": 1, "experiment": experiment, "dataset": "digits-16"}
    command = [sys.executable, SCRIPTS / "collect.py", "--what", json.dumps(what)]
    command += ["--scores", *files, "--evaluation", folder / "evaluation_results.csv"]
    command += ["--best", folder / "best_scores.csv"]
    return subprocess.run(command, capture_output=True, text=True)


def test_collect_writes_both_tables(tmp_path):
    run = collect(tmp_path, "digits", write_scores(tmp_path, samples=("a", "b")))
    assert run.returncode == 0, run.stderr
    report = tmp_path / "digits" / "report"
    assert (
        len(
            score_tables.read_table(
                report / "evaluation_results.csv", score_tables.EVALUATION_COLUMNS
            )
        )
        == 8
    )
    assert len(score_tables.read_table(report / "best_scores.csv", score_tables.BEST_COLUMNS)) == 14
    assert sorted(path.name for path in report.glob("[!.]*")) == [
        "best_scores.csv",
        "evaluation_results.csv",
    ]


def test_collect_of_no_scores_writes_empty_tables(tmp_path):
    run = collect(tmp_path, "digits", [])
    assert run.returncode == 0, run.stderr
    report = tmp_path / "digits" / "report"
    assert score_tables.read_table(
        report / "evaluation_results.csv", score_tables.EVALUATION_COLUMNS
    ).empty
    assert score_tables.join_tables(
        [report / "best_scores.csv"] * 2, score_tables.BEST_COLUMNS
    ).empty


def test_collect_ends_with_one_line_and_no_table_on_a_broken_score(tmp_path):
    (path,) = write_scores(tmp_path, checkpoints=1)
    path.write_text("{")
    run = collect(tmp_path, "digits", [path])
    assert run.returncode == 2
    assert run.stderr.startswith("error: ") and str(path) in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "digits" / "report").exists()
