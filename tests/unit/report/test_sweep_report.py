"""The tables and figures of a sweep, from what its members leave."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import texts
from fake_results import CLASSIFIER, INCEPTION
from fake_sweep import KEYS, OUT_OF_MEMORY, stage_of, write_member, write_sweep_results
from places import SCRIPTS
from scipy import stats

from ddpm_bench.planning.targets import SWEEP_FILES
from ddpm_bench.records.scores import METRICS
from ddpm_bench.report.sweeps import sweep_table
from ddpm_bench.report.sweeps.comparisons_with_best import chances_of_the_best
from ddpm_bench.report.sweeps.key_scales import key_scale
from ddpm_bench.report.sweeps.main_effects import main_effects_figure
from ddpm_bench.report.sweeps.parallel_coordinates import parallel_coordinates_figure
from ddpm_bench.report.sweeps.ranking_figure import ranking_figure
from ddpm_bench.report.sweeps.sweep_curves import loss_curves_figure, score_curves_figure
from ddpm_bench.report.sweeps.sweep_ranking import TIED, WITHIN, against_best, ranking

FAILING = {"model.dim": 32, "train.learning_rate": 0.002}


def table_of(results: Path, stage) -> pd.DataFrame:
    return sweep_table.sweep_table(stage, results, sweep_table.evaluations(stage, results))


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple:
    """A grid of 27 members, of which three have run out of memory: stage, results and table."""
    results, stage = tmp_path_factory.mktemp("sweep"), stage_of()
    write_sweep_results(results, stage, FAILING)
    return stage, results, table_of(results, stage)


def test_the_table_has_a_row_per_member_and_metric_with_its_values(swept):
    stage, _, table = swept
    assert len(table) == 27 * len(METRICS)
    assert list(table.columns) == sweep_table.columns(stage)
    row = table[(table["member"] == "digits.dim-16.learning_rate-0.001.seed-2")].iloc[0]
    assert (row["model.dim"], row["train.learning_rate"], row["train.seed"]) == ("16", "0.001", "2")
    assert (row["status"], row["metric"], row["best_step"]) == ("ok", "fid", 1200)
    assert row["best_value"] == row["final_value"] and row["training_seconds"] == 120
    assert 0.05 < row["final_loss"] < 0.2


def test_a_failed_member_is_a_row_with_its_reason_and_no_value(swept):
    _, _, table = swept
    failed = table[table["status"] != "ok"]
    assert failed["member"].nunique() == 3 and failed["best_value"].isna().all()
    assert set(failed["status"]) == {"out of memory"}
    assert set(failed["reason"]) == {OUT_OF_MEMORY["reason"]}


def test_a_member_that_failed_later_has_the_values_of_before(tmp_path):
    stage = stage_of({"train.seed": [0]})
    write_member(tmp_path, "digits.seed-0", {"train.seed": 0}, OUT_OF_MEMORY, made=2)
    row = table_of(tmp_path, stage).iloc[0]
    assert row["status"] == "out of memory" and row["best_step"] == 600
    assert np.isfinite(row["best_value"]) and pd.isna(row["final_value"])


def test_members_without_scores_have_a_row_each(tmp_path):
    stage = stage_of({"train.seed": [0, 1]})
    table = table_of(tmp_path, stage)
    assert table["member"].tolist() == ["digits.seed-0", "digits.seed-1"]
    assert table["metric"].tolist() == ["", ""]
    assert ranking(stage, table).empty
    for figure in (ranking_figure(stage, table), main_effects_figure(stage, table),
                   parallel_coordinates_figure(stage, table)):  # fmt: skip
        assert "There are no scores" in texts(figure.axes[0])


def test_a_seed_that_is_not_swept_is_a_column_all_the_same(tmp_path):
    stage = stage_of({"model.dim": [16]})
    write_member(tmp_path, "digits.dim-16", {"model.dim": 16})
    stage = stage.model_copy(update={"train_seed": 7})
    assert set(table_of(tmp_path, stage)["train.seed"]) == {"7"}


def test_the_ranking_has_settings_over_seeds_with_their_uncertainty(swept):
    stage, _, table = swept
    found = ranking(stage, table)
    fid = found[found["metric"] == "fid"]
    assert len(fid) == 9 and "train.seed" not in found.columns
    first, second, last = fid.iloc[0], fid.iloc[1], fid.iloc[-1]
    assert (first["model.dim"], first["train.learning_rate"]) == ("32", "0.001")
    assert (first["rank"], first["seeds"], first["compared_with_best"]) == (1, 3, "best")
    values = [
        table[
            (table["metric"] == "fid")
            & (table["model.dim"] == row["model.dim"])
            & (table["train.learning_rate"] == row["train.learning_rate"])
        ]["best_value"]
        for row in (first, second)
    ]
    assert first["mean"] == pytest.approx(values[0].mean())
    assert first["std"] == pytest.approx(values[0].std(ddof=1))
    interval = stats.t.interval(0.95, 2, values[0].mean(), stats.sem(values[0]))
    assert (first["ci95_low"], first["ci95_high"]) == pytest.approx(interval)
    assert 0 < second["p_value"] < 1 and pd.isna(first["p_value"])
    assert pd.isna(last["rank"]) and (last["seeds"], last["failed"]) == (0, 3)
    assert last["reason"].startswith("out of memory: 3.2 GB")


def test_the_ranking_of_a_metric_whose_higher_values_are_better_is_the_other_way(swept):
    stage, _, table = swept
    found = ranking(stage, table)
    means = found[found["metric"] == "is_mean"]["mean"].dropna()
    assert means.is_monotonic_decreasing and means.nunique() > 3


def test_one_seed_is_neither_within_noise_nor_worse(tmp_path):
    stage = stage_of({"model.dim": [16, 32]})
    write_sweep_results(tmp_path, stage)
    found = ranking(stage, table_of(tmp_path, stage))
    verdicts = found[found["metric"] == "fid"]["compared_with_best"].tolist()
    assert verdicts == ["best", "not known: fewer than two seeds"]
    assert found["std"].isna().all() and found["p_value"].isna().all()


@pytest.mark.parametrize("seeds", [3, 5])
def test_of_twenty_equal_settings_one_looks_worse_by_chance(seeds):
    """As the caption of the ranking says."""
    random, sweeps = np.random.default_rng(0), 80
    worse = 0
    for _ in range(sweeps):
        chances = chances_of_the_best(list(random.normal(10, 1, (20, seeds))), True)
        worse += sum(chance < 0.05 for chance in chances)
    assert 0.6 < worse / sweeps < 1.4


def test_the_best_setting_is_rarely_called_worse_and_far_ones_are():
    random, sweeps = np.random.default_rng(1), 300
    means = np.array([10.0, 10.3, 10.3, 10.6, 14.0])
    chances = [
        chances_of_the_best([random.normal(mean, 1, 4) for mean in means], True)
        for _ in range(sweeps)
    ]
    called_worse = (np.array(chances) < 0.05).mean(axis=0)
    assert called_worse[0] < 0.05 and called_worse[4] > 0.95


def test_comparisons_with_the_best_equal_scipys_test_of_dunnett():
    random = np.random.default_rng(2)
    groups = [random.normal(mean, 1, count) for mean, count in [(1, 2), (0, 3), (2, 5), (0.5, 3)]]
    for lower, alternative in ((True, "less"), (False, "greater")):
        found = chances_of_the_best(groups, lower)
        for index, values in enumerate(groups):
            others = groups[:index] + groups[index + 1 :]
            expected = stats.dunnett(*others, control=values, alternative=alternative).pvalue.min()
            is_best = all((values.mean() < other.mean()) == lower for other in others)
            assert found[index] == (1 if is_best else pytest.approx(expected, abs=2e-3))


def test_settings_without_noise_differ_or_are_tied(tmp_path):
    same, other = np.array([1.0, 1.0]), np.array([2.0, 2.0])
    assert chances_of_the_best([same, same, other], True) == [1, 1, 0]
    assert chances_of_the_best([same[:1], other[:1]], True) == [None, None]
    assert chances_of_the_best([same], True) == [1]
    verdicts = [against_best(mean, [1.0, 1.0, 2.0], 0.5) for mean in (1.0, 1.0, 2.0)]
    assert [row["compared_with_best"] for row in verdicts] == [TIED, TIED, WITHIN]


def test_settings_of_equal_means_share_their_rank(tmp_path):
    stage = stage_of({"model.dim": [16, 32, 64]})
    for dim in (16, 32, 64):
        write_member(tmp_path, f"digits.dim-{dim}", {"model.dim": dim}, precision=0.5)
    found = ranking(stage, table_of(tmp_path, stage))
    precision = found[found["metric"] == "precision"]
    assert precision["rank"].tolist() == [1, 1, 1]
    assert set(precision["compared_with_best"]) == {TIED}


def test_the_interval_of_the_winner_is_named_as_a_selected_ones(swept):
    stage, _, table = swept
    found = ranking(stage, table)
    fid = found[found["metric"] == "fid"]
    assert fid["selected_of"].tolist()[0] == 8 and fid["selected_of"].iloc[1:].isna().all()
    assert "that of the best is of a selected one" in fid["method"].iloc[0]
    (axes,) = ranking_figure(stage, table).axes
    assert "3 seeds, best of 8" in texts(axes)
    assert "selected as the best of several" in texts(axes).replace("\n", " ")
    assert axes.get_xlim()[0] == 0


def test_kid_ranks_where_the_reference_is_small(tmp_path):
    stage = stage_of({"model.dim": [16, 32]})
    write_sweep_results(tmp_path, stage, **INCEPTION)
    table = table_of(tmp_path, stage)
    assert ranking(stage, table)["metric"].iloc[0] == "kid_mean"
    (axes,) = ranking_figure(stage, table).axes
    assert "KID (Inception features)" in axes.get_xlabel()


def test_feature_spaces_and_references_never_share_an_axis(tmp_path):
    stage = stage_of({"model.dim": [16, 24, 32]})
    write_member(tmp_path, "digits.dim-16", {"model.dim": 16}, **CLASSIFIER)
    write_member(tmp_path, "digits.dim-24", {"model.dim": 24}, reference="eval")
    write_member(tmp_path, "digits.dim-32", {"model.dim": 32}, **INCEPTION)
    table = table_of(tmp_path, stage)
    evaluation = sweep_table.evaluations(stage, tmp_path)
    for figure in (
        ranking_figure(stage, table),
        main_effects_figure(stage, table),
        score_curves_figure(stage, table, evaluation),
    ):
        labels = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes]
        assert len(labels) == 3
        assert sum("Inception" in label for label in labels) == 1
    figure = parallel_coordinates_figure(stage, table)
    assert len([axes for axes in figure.axes if axes.get_title(loc="left")]) == 3


def test_the_ranking_figure_has_means_seeds_and_failures(swept):
    stage, _, table = swept
    (axes,) = ranking_figure(stage, table).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "dim 32, learning_rate 0.001" and names[-1] == "dim 32, learning_rate 0.002"
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(map(len, (line.get_xdata() for line in dots))) == [3] * 8
    assert "✕ out of memory: 3.2 GB more could not be had" in texts(axes)
    assert "3 seeds" in texts(axes)


def test_main_effects_are_means_over_all_other_keys(swept):
    stage, _, table = swept
    dim, rate, seed = main_effects_figure(stage, table).axes
    assert [axes.get_xlabel() for axes in (dim, rate, seed)] == ["dim", "learning_rate", "seed"]
    of_16 = table[(table["metric"] == "fid") & (table["model.dim"] == "16")]["best_value"]
    (means,) = [line for line in dim.lines if line.get_marker() == "D"]
    assert means.get_ydata()[0] == pytest.approx(of_16.mean()) and len(of_16) == 9
    crosses = [line for line in dim.lines if line.get_marker() == "x"]
    assert [len(line.get_xdata()) for line in crosses] == [3]


def test_parallel_coordinates_have_a_line_per_member_and_failed_ones_apart(swept):
    stage, _, table = swept
    axes = parallel_coordinates_figure(stage, table).axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert len(lines) == 27
    dashed = [line for line in lines if line.get_linestyle() == "--"]
    assert len(dashed) == 3 and all(line.get_ydata()[-1] < 0 for line in dashed)
    best = table[table["metric"] == "fid"]["best_value"].min()
    ends = [line.get_ydata()[-1] for line in lines if line not in dashed]
    assert max(ends) == 1 and min(ends) == 0 and np.isfinite(best)


def test_replicates_are_a_mean_and_a_band(swept):
    stage, results, table = swept
    evaluation = sweep_table.evaluations(stage, results)
    (axes,) = score_curves_figure(stage, table, evaluation).axes
    assert len(axes.lines) == 8 and len(axes.collections) == 8  # settings with values
    rows = evaluation[evaluation["experiment"].str.startswith("digits.dim-32.learning_rate-0.001")]
    expected = rows.groupby("training_step")["fid"].mean()
    assert any(np.allclose(line.get_ydata(), expected) for line in axes.lines)
    assert "bands one standard deviation" in texts(axes)
    (axes,) = loss_curves_figure(stage, table, results).axes
    assert len(axes.lines) == 8 and len(axes.collections) == 8


def test_losses_that_are_not_comparable_have_a_note(tmp_path):
    stage = stage_of({"diffusion.objective": ["pred_v", "pred_noise"]})
    write_sweep_results(tmp_path, stage)
    (axes,) = loss_curves_figure(stage, table_of(tmp_path, stage), tmp_path).axes
    assert "diffusion.objective changes what the loss measures" in texts(axes)


def test_beyond_eight_settings_curves_are_grey(tmp_path):
    stage = stage_of({"train.batch_size": list(range(10, 22))})
    write_sweep_results(tmp_path, stage)
    table = table_of(tmp_path, stage)
    (axes,) = score_curves_figure(stage, table, sweep_table.evaluations(stage, tmp_path)).axes
    assert len(axes.lines) == 12 and "4 other settings" in texts(axes)


@pytest.mark.parametrize(
    ("values", "numeric", "logarithmic"),
    [
        (["0.0005", "0.001", "0.002"], True, True),  # evenly spread by their logarithms
        (["16", "24", "32"], True, False),
        (["0.00001", "0.01"], True, True),
        (["0", "1", "2"], True, False),
        (["100", "101", "1000"], False, False),  # labels would lie on each other
        (["ddim", "ddpm"], False, False),
        (["null", "1.0"], False, False),
        (["[1, 2]", "[1, 2, 4]"], False, False),
        (["7"], False, False),
    ],
)
def test_values_stand_along_axes_as_they_are(values, numeric, logarithmic):
    scale = key_scale(values)
    assert (scale.numeric, scale.logarithmic) == (numeric, logarithmic)
    places = [scale.place(text) for text in values]
    assert all(0 <= place <= 1 for place in places) and len(set(places)) == len(values)


def test_the_program_writes_what_the_workflow_expects(swept, tmp_path):
    stage, results, _ = swept
    for folder in ("one", "two"):
        command = [sys.executable, SCRIPTS / "sweep.py", "--what", stage.model_dump_json()]
        command += ["--results", results, "--output-dir", tmp_path / folder]
        subprocess.run(command, check=True)
    written = {path.name for path in (tmp_path / "one").glob("[!.]*")}
    assert written == set(SWEEP_FILES)
    for name in written:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads(stage.model_dump_json())["swept"]["keys"] == KEYS
