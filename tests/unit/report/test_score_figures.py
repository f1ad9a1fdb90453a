import itertools
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from drawn import program, texts
from fake_results import (
    INCEPTION,
    SMALL_REFERENCE,
    score,
    write_score,
    write_scores,
)
from PIL import Image
from places import SCRIPTS

from ddpm_bench.records.layout import FIRST_FIGURES, SCORE_FIGURES
from ddpm_bench.records.scores import METRICS
from ddpm_bench.report.figures import score_figures
from ddpm_bench.report.figures.style import DPI, save_figure
from ddpm_bench.report.tables import score_tables


def evaluation_of(results: Path, experiment: str = "digits", dataset: str = "digits-16"):
    files = sorted((results / experiment / "scores").glob("*/*/*.json"))
    return score_tables.evaluation_table(files, experiment=experiment, dataset=dataset)


def fid_figure(evaluation):
    return score_figures.score_figure(evaluation, [METRICS["fid"]], "FID")


def curves(axes) -> list[list[int]]:
    """The steps of each stretch of curve in a panel: neither stars nor the line at zero."""
    lines = (line for line in axes.lines if line.get_marker() not in ("*", "None"))
    return [list(line.get_xdata()) for line in lines]


def curve_points(axes) -> int:
    return sum(map(len, curves(axes)))


def test_feature_spaces_and_references_never_share_an_axis(tmp_path):
    write_scores(tmp_path, name="classifier")
    write_scores(tmp_path, name="held-out", reference="eval", images_reference=360)
    write_scores(tmp_path, name="inception", **INCEPTION)
    write_scores(tmp_path, name="calibrated", **{**INCEPTION, "feature_space": "inception-mine"})
    panels = fid_figure(evaluation_of(tmp_path)).axes
    assert [curve_points(axes) for axes in panels] == [4] * 6  # KID and FID of both Inceptions
    labels = [axes.get_ylabel().replace("\n", " ") for axes in panels]
    assert "FID (classifier features)" in labels[0] and "FID (classifier features)" in labels[1]
    assert "(eval)" in texts(panels[0]) and "(train)" in texts(panels[1])
    assert "FID (Inception features)" in labels[3]
    assert "FID (Inception features, weights 'mine', not comparable)" in labels[5]


def test_fids_of_other_programs_and_statistics_never_share_an_axis(tmp_path):
    large = {**INCEPTION, "images_reference": 50_000}
    write_scores(tmp_path, name="a", **large)
    write_scores(tmp_path, name="b", **large, fid_backend="pytorch-fid")
    write_scores(tmp_path, name="c", **large, fid_reference="cifar10-train")
    figure = fid_figure(evaluation_of(tmp_path))
    labels = [axes.get_ylabel().replace("\n", " ").partition(" ±")[0] for axes in figure.axes]
    assert labels == [
        "FID (Inception features, pytorch-fid)",
        "FID (Inception features, against cifar10-train)",
        "FID (Inception features)",
    ]
    assert "512 generated against the published statistics cifar10-train" in texts(figure.axes[1])
    (kid,) = score_figures.score_figure(evaluation_of(tmp_path), [METRICS["kid_mean"]], "KID").axes
    assert curve_points(kid) == 12  # the same measure, whatever FID is held against


def test_kid_stands_above_an_fid_that_is_biased_by_a_small_reference(tmp_path):
    write_scores(tmp_path, **INCEPTION)
    above, below = fid_figure(evaluation_of(tmp_path)).axes
    assert "KID (Inception features)" in above.get_ylabel()
    assert "read KID first" in below.get_ylabel() and "read KID first" not in above.get_ylabel()


def test_fid_against_published_statistics_is_not_taken_for_biased(tmp_path):
    write_scores(tmp_path, **INCEPTION, fid_reference="cifar10-train")
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert "read KID first" not in axes.get_ylabel()


def test_the_band_of_fid_is_named_where_there_is_one(tmp_path):
    write_scores(tmp_path)
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert "± 1 std" in axes.get_ylabel() and len(axes.collections) == 1
    write_scores(tmp_path, fid_std=None)
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert "std" not in axes.get_ylabel() and len(axes.collections) == 0


@pytest.mark.parametrize(
    ("changed", "rough"),
    [
        ({}, False),
        ({"images_generated": 255}, True),
        ({"images_reference": 255}, True),
        ({"images_reference": 255, "fid_reference": "cifar10-train"}, False),
    ],
)
def test_a_band_of_fid_of_few_images_is_named_rough(tmp_path, changed, rough):
    """Of fewer than four for each of 64 dimensions, on a side whose images are known."""
    write_scores(tmp_path, feature_dimensions=64, **changed)
    fid, kid = (
        score_figures.score_figure(evaluation_of(tmp_path), [METRICS[name]], name).axes[0]
        for name in ("fid", "kid_mean")
    )
    assert ("± 1 rough std" in fid.get_ylabel()) == rough
    assert "± 1 std" in kid.get_ylabel()


def test_memorising_is_drawn_beside_what_is_to_be_expected_and_without_a_best(tmp_path):
    write_scores(tmp_path)
    closer, share = score_figures.score_figure(
        evaluation_of(tmp_path), score_figures.MEMORISING, "Memorising"
    ).axes
    for axes, expected in ((closer, 0.5), (share, 0.05)):
        assert f"{expected:g} expected" in texts(axes) and "★" not in texts(axes)
        assert [expected, expected] in [list(line.get_ydata()) for line in axes.lines]
    assert "latest: 0.5127 at step 1,200" in texts(closer)


def test_memorising_without_held_out_images_has_a_note_on_them(tmp_path):
    write_scores(tmp_path, closer_than_heldout=None, memorised_share=None)
    for axes in score_figures.score_figure(
        evaluation_of(tmp_path), score_figures.MEMORISING, "M"
    ).axes:
        assert "It needs held-out images" in texts(axes).replace("\n", " ")


def test_datasets_never_share_an_axis(tmp_path):
    write_scores(tmp_path, "a")
    write_scores(tmp_path, "b")
    one = evaluation_of(tmp_path, "a", "cars")
    two = evaluation_of(tmp_path, "b", "boats")
    both = pd.concat([one, two], ignore_index=True)
    assert [curve_points(axes) for axes in fid_figure(both).axes] == [4, 4]


def test_sets_of_samples_share_an_axis_with_a_style_each(tmp_path):
    write_scores(tmp_path, samples=("ddim50", "dpm10", "dpm20", "ddpm1000", "ddim250"))
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert curve_points(axes) == 20
    handles = axes.get_legend().legend_handles
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == 5


def test_eleven_experiments_of_two_sets_have_a_style_each(tmp_path):
    for number in range(11):
        write_scores(tmp_path, f"e{number}", checkpoints=1, samples=("a", "b"))
    all_rows = [evaluation_of(tmp_path, f"e{number}") for number in range(11)]
    rows = score_figures.with_curves(
        pd.concat(all_rows, ignore_index=True), score_figures.FID_PANEL
    )
    styles = score_figures.curve_styles(rows)
    assert len(styles) == len(set(styles.values())) == 22


def test_axes_name_units_and_both_image_counts(tmp_path):
    write_scores(tmp_path)
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert axes.get_xlabel() == "training steps"
    assert "512 generated against 1,437 reference images (train)" in texts(axes)
    assert "classifier accuracy 98.3%" in texts(axes)


def test_differing_image_counts_stand_in_the_legend(tmp_path):
    write_score(tmp_path, "digits", "few", "classifier", 300, score(0.5, images_generated=64))
    write_score(tmp_path, "digits", "many", "classifier", 300, score(0.5, images_generated=50_000))
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert "few (64 images)" in texts(axes) and "many (50,000 images)" in texts(axes)


def test_the_star_stands_at_the_best_checkpoint_with_value_and_step(tmp_path):
    for step, fid in ((300, 46.0), (600, 7.612), (900, 11.0)):
        write_score(tmp_path, "digits", "dpm20", "classifier", step, score(0.5, fid=fid))
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    (star,) = (line for line in axes.lines if line.get_marker() == "*")
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([600], [7.612])
    assert texts(axes).count("7.612 at step 600") == 2  # beside the star, and in the legend


def test_the_highest_inception_score_is_starred(tmp_path):
    for step, value in ((300, 5.0), (600, 8.0), (900, 7.0)):
        write_score(tmp_path, "digits", "dpm20", "classifier", step, score(0.5, is_mean=value))
    (axes,) = score_figures.score_figure(evaluation_of(tmp_path), [METRICS["is_mean"]], "IS").axes
    assert "8 at step 600" in texts(axes)


def test_first25_has_the_first_25_checkpoints(tmp_path):
    write_scores(tmp_path, checkpoints=75, every=1000, samples=("a", "b"))
    early = score_figures.first_checkpoints(evaluation_of(tmp_path))
    assert sorted(early["training_step"].unique()) == list(range(1000, 26_000, 1000))
    drawn = dict(score_figures.first_figures(evaluation_of(tmp_path)))
    assert tuple(drawn) == FIRST_FIGURES
    (axes,) = drawn["FID_vs_TrainingSteps_First25.png"].axes
    assert curve_points(axes) == 2 * 25
    drawn = dict(score_figures.score_figures(evaluation_of(tmp_path)))
    (axes,) = drawn["FID_vs_TrainingSteps.png"].axes
    assert curve_points(axes) == 2 * 75


def test_a_line_breaks_where_a_value_is_missing(tmp_path):
    for step in range(1, 8):
        record = score(0.5, fid=None) if step == 4 else score(0.5)
        write_score(tmp_path, "digits", "dpm20", "classifier", step, record)
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert curves(axes) == [[1, 2, 3], [5, 6, 7]]
    assert "missing at 1 of 7 points" in texts(axes)


def test_a_metric_that_was_never_measured_has_a_sentence_in_place_of_curves(tmp_path):
    write_scores(tmp_path, precision=None)
    evaluation = evaluation_of(tmp_path)
    first, second = score_figures.score_figure(
        evaluation, [METRICS["precision"], METRICS["recall"]], "P"
    ).axes
    assert "could not be measured" in texts(first)
    assert curve_points(second) == 4


def test_negative_kid_is_drawn_on_a_linear_axis_that_shows_zero(tmp_path):
    for step, value in ((1, 0.5), (2, 0.001), (3, -0.002)):
        write_score(tmp_path, "digits", "dpm20", "classifier", step, score(0.5, kid_mean=value))
    (axes,) = score_figures.score_figure(evaluation_of(tmp_path), [METRICS["kid_mean"]], "KID").axes
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    assert low < -0.002 and high > 0.5


def test_a_warning_is_printed_under_its_panel_only(tmp_path):
    write_scores(tmp_path, name="classifier")
    write_scores(tmp_path, name="inception", **INCEPTION, warning=SMALL_REFERENCE)
    first, kid, fid = fid_figure(evaluation_of(tmp_path)).axes
    assert "Warning" not in texts(first)
    assert SMALL_REFERENCE in texts(fid).replace("\n", " ")
    assert "Warning" not in texts(kid)  # which the warning advises to read


def test_equal_values_are_starred_alike_and_not_at_all_where_nothing_is_worse(tmp_path):
    for step, (fid, precision) in enumerate([(9.0, 1.0), (7.5, 1.0), (7.5, 1.0)], start=1):
        record = score(0.5, fid=fid, precision=precision)
        write_score(tmp_path, "digits", "dpm20", "classifier", 300 * step, record)
    evaluation = evaluation_of(tmp_path)
    (axes,) = fid_figure(evaluation).axes
    (stars,) = (line for line in axes.lines if line.get_marker() == "*")
    assert list(stars.get_xdata()) == [600, 900]
    (axes,) = score_figures.score_figure(evaluation, [METRICS["precision"]], "P").axes
    assert not any(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "*")
    assert "all equal: 1 at step 300" in texts(axes) and "★" not in texts(axes)


@pytest.mark.parametrize("column", [name for name in METRICS if name != "kid_mean"])
def test_axes_of_what_cannot_be_negative_begin_at_zero(tmp_path, column):
    for step, value in ((300, 0.9), (600, 0.5), (900, 0.2)):
        record = score(0.5, **{column: value}, fid_std=0.3)
        write_score(tmp_path, "digits", "dpm20", "classifier", step, record)
    (axes,) = score_figures.score_figure(evaluation_of(tmp_path), [METRICS[column]], "T").axes
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 0.9


def test_the_share_of_memorised_images_has_the_interval_of_chance(tmp_path):
    write_scores(tmp_path)
    figure = score_figures.score_figure(evaluation_of(tmp_path), score_figures.MEMORISING, "M")
    assert [axes.get_ylim()[0] for axes in figure.axes] == [0, 0]
    assert "0.05 expected, 0.023 to 0.082 by chance (95%)" in texts(figure.axes[1])
    (band,) = figure.axes[1].patches
    assert (band.get_y(), band.get_height()) == pytest.approx((0.023, 0.059))


@pytest.mark.parametrize("checkpoints, every", [(1, 300), (4, 300), (10, 7500), (75, 1000)])
def test_tick_labels_never_overlap(tmp_path, checkpoints, every):
    write_scores(tmp_path, checkpoints=checkpoints, every=every)
    figure = fid_figure(evaluation_of(tmp_path))
    save_figure(figure, tmp_path / "f.png")
    (axes,) = figure.axes
    boxes = [
        label.get_window_extent() for label in axes.get_xticklabels() if label.get_text() != ""
    ]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_all_figures_are_there_and_the_same_bytes_from_another_process(tmp_path):
    write_scores(tmp_path, checkpoints=5, samples=("a", "b"))
    evaluation = evaluation_of(tmp_path)
    score_tables.write_table(tmp_path / "t.csv", evaluation)
    program("plot_scores", "--evaluation", tmp_path / "t.csv", "--output-dir", tmp_path / "drawn")
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == set(SCORE_FIGURES)
    # Of twenty-five checkpoints or fewer there is no figure of the first: an earlier one goes.
    (tmp_path / "drawn" / FIRST_FIGURES[0]).write_bytes(b"of more checkpoints")
    program("plot_scores", "--evaluation", tmp_path / "t.csv", "--output-dir", tmp_path / "drawn")
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == set(SCORE_FIGURES)
    name, figure = next(score_figures.score_figures(evaluation))
    save_figure(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes() == (tmp_path / "drawn" / name).read_bytes()


def test_a_figure_holds_no_program_or_time(tmp_path):
    write_scores(tmp_path)
    save_figure(fid_figure(evaluation_of(tmp_path)), tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as picture:
        assert set(picture.info) <= {"dpi"}
        assert round(picture.info["dpi"][0]) == DPI


def test_an_experiment_without_scores_has_all_its_figures(tmp_path):
    score_tables.write_table(tmp_path / "t.csv", score_tables.table_of([]))
    evaluation = score_tables.read_table(tmp_path / "t.csv", score_tables.EVALUATION_COLUMNS)
    drawn = dict(score_figures.score_figures(evaluation))
    assert tuple(drawn) == SCORE_FIGURES
    for figure in drawn.values():
        assert "There are no scores" in texts(figure.axes[0])


def test_compare_joins_experiments_in_tables_and_figures(tmp_path):
    for experiment in ("a", "b"):
        write_scores(tmp_path, experiment)
        evaluation = evaluation_of(tmp_path, experiment)
        score_tables.write_table(tmp_path / f"{experiment}.csv", evaluation)
        score_tables.write_table(
            tmp_path / f"{experiment}-best.csv", score_tables.best_scores(evaluation)
        )
    program(
        "compare", "--evaluations", tmp_path / "a.csv", tmp_path / "b.csv",
        "--bests", tmp_path / "a-best.csv", tmp_path / "b-best.csv",
        "--output-dir", tmp_path / "report",
    )  # fmt: skip
    names = ["FID_comparison.png", "IS_comparison.png", "KID_comparison.png"]
    names += ["all_scores.csv", "best_scores.csv"]
    assert sorted(path.name for path in (tmp_path / "report").glob("[!.]*")) == names
    rows = score_tables.read_table(
        tmp_path / "report" / "all_scores.csv", score_tables.EVALUATION_COLUMNS
    )
    assert list(rows["experiment"]) == ["a"] * 4 + ["b"] * 4
    (axes,) = dict(score_figures.comparison_figures(rows))["FID_comparison.png"].axes
    assert "a · dpm20" in texts(axes) and "b · dpm20" in texts(axes)


def test_plot_programs_never_import_torch():
    names = ["report.tables.score_tables", "report.tables.training_hours", "report.snapshot"]
    names += ["report.terminal.run_summary", "images.png_export", "planning.targets"]
    figures = ["score_figures", "loss_figure", "sample_pictures", "animations", "closest_pairs"]
    figures += ["sampler_figure", "hours_figures", "loss_comparison", "best_scores_figure"]
    figures += ["reconstruction_figures"]
    names += ["planning.loss_groups", *(f"report.figures.{name}" for name in figures)]
    code = "import sys\n" + "".join(f"import ddpm_bench.{name}\n" for name in names)
    code += "assert 'torch' not in sys.modules and 'snakemake' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SCRIPTS)


def test_what_must_be_valid(tmp_path):
    command = [sys.executable, SCRIPTS / "plot_loss.py", "--what", json.dumps({"version": 0})]
    command += ["--metrics", "m.csv", "--output", tmp_path / "l.png"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2 and "version" in run.stderr
