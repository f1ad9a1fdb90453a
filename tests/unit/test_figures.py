import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import (
    INCEPTION,
    SMALL_REFERENCE,
    score,
    write_losses,
    write_samples,
    write_score,
    write_scores,
    write_validation,
)
from PIL import Image

from ddpm_bench import figures, losses, pictures, tables
from ddpm_bench.program import UserError

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
SCORE_FIGURES = [
    "FID_vs_TrainingSteps.png",
    "FID_vs_TrainingSteps_First25.png",
    "IS_vs_TrainingSteps.png",
    "IS_vs_TrainingSteps_First25.png",
    "KID_vs_TrainingSteps.png",
    "PrecisionRecall_vs_TrainingSteps.png",
]


def evaluation_of(results: Path, experiment: str = "digits", dataset: str = "digits-16"):
    files = sorted((results / experiment / "scores").glob("*/*/*.json"))
    return tables.evaluation_table(files, experiment=experiment, dataset=dataset)


def fid_figure(evaluation):
    return figures.score_figure(evaluation, ["fid"], "FID")


def curves(axes) -> list[list[int]]:
    """The steps of each stretch of curve in a panel: neither stars nor the line at zero."""
    lines = (line for line in axes.lines if line.get_marker() not in ("*", "None"))
    return [list(line.get_xdata()) for line in lines]


def curve_points(axes) -> int:
    return sum(map(len, curves(axes)))


def texts(axes) -> str:
    found = [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
    found += axes.get_legend().get_texts() if axes.get_legend() else []
    return "\n".join(text.get_text() for text in found)


def program(name: str, *arguments: object) -> None:
    command = [
        sys.executable,
        SCRIPTS / f"{name}.py",
        "--what",
        '{"version":1}',
        *map(str, arguments),
    ]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_feature_spaces_and_references_never_share_an_axis(tmp_path):
    write_scores(tmp_path, name="classifier")
    write_scores(tmp_path, name="held-out", reference="eval", images_reference=360)
    write_scores(tmp_path, name="inception", **INCEPTION)
    write_scores(tmp_path, name="calibrated", **{**INCEPTION, "feature_space": "inception-mine"})
    panels = fid_figure(evaluation_of(tmp_path)).axes
    assert [curve_points(axes) for axes in panels] == [4, 4, 4, 4]
    labels = [axes.get_ylabel().replace("\n", " ") for axes in panels]
    assert "FID (classifier features)" in labels[0] and "FID (classifier features)" in labels[1]
    assert "(eval)" in texts(panels[0]) and "(train)" in texts(panels[1])
    assert "FID (Inception features)" in labels[2]
    assert "FID (Inception features, weights 'mine', not comparable)" in labels[3]


def test_datasets_never_share_an_axis(tmp_path):
    write_scores(tmp_path, "a")
    write_scores(tmp_path, "b")
    one = evaluation_of(tmp_path, "a", "cars")
    two = evaluation_of(tmp_path, "b", "boats")
    both = pd.concat([one, two], ignore_index=True)
    assert [curve_points(axes) for axes in fid_figure(both).axes] == [4, 4]


def test_sets_of_samples_share_an_axis_with_a_look_each(tmp_path):
    write_scores(tmp_path, samples=("ddim50", "dpm10", "dpm20", "ddpm1000", "ddim250"))
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert curve_points(axes) == 20
    handles = axes.get_legend().legend_handles
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == 5


def test_ten_experiments_of_two_sets_have_a_look_each(tmp_path):
    for number in range(11):
        write_scores(tmp_path, f"e{number}", checkpoints=1, samples=("a", "b"))
    all_rows = [evaluation_of(tmp_path, f"e{number}") for number in range(11)]
    rows = figures.with_curves(pd.concat(all_rows, ignore_index=True))
    looks = figures.curve_looks(rows)
    assert len(looks) == len(set(looks.values())) == 22


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
    (axes,) = figures.score_figure(evaluation_of(tmp_path), ["is_mean"], "IS").axes
    assert "8 at step 600" in texts(axes)


def test_first25_has_the_first_25_checkpoints(tmp_path):
    write_scores(tmp_path, checkpoints=75, every=1000, samples=("a", "b"))
    early = figures.first_checkpoints(evaluation_of(tmp_path))
    assert sorted(early["training_step"].unique()) == list(range(1000, 26_000, 1000))
    drawn = dict(figures.score_figures(evaluation_of(tmp_path)))
    assert list(drawn) == SCORE_FIGURES
    (axes,) = drawn["FID_vs_TrainingSteps_First25.png"].axes
    assert curve_points(axes) == 2 * 25
    (axes,) = drawn["FID_vs_TrainingSteps.png"].axes
    assert curve_points(axes) == 2 * 75


def test_a_line_breaks_where_a_value_is_missing(tmp_path):
    for step in range(1, 8):
        record = score(0.5, fid=None) if step == 4 else score(0.5)
        write_score(tmp_path, "digits", "dpm20", "classifier", step, record)
    (axes,) = fid_figure(evaluation_of(tmp_path)).axes
    assert curves(axes) == [[1, 2, 3], [5, 6, 7]]
    assert "missing at 1 of 7 points" in texts(axes)


def test_a_metric_that_was_never_measured_says_so(tmp_path):
    write_scores(tmp_path, precision=None)
    evaluation = evaluation_of(tmp_path)
    first, second = figures.score_figure(evaluation, ["precision", "recall"], "P").axes
    assert "could not be measured" in texts(first)
    assert curve_points(second) == 4


def test_negative_kid_is_drawn_on_a_linear_axis_that_shows_zero(tmp_path):
    for step, value in ((1, 0.5), (2, 0.001), (3, -0.002)):
        write_score(tmp_path, "digits", "dpm20", "classifier", step, score(0.5, kid_mean=value))
    (axes,) = figures.score_figure(evaluation_of(tmp_path), ["kid_mean"], "KID").axes
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    assert low < -0.002 and high > 0.5


def test_a_warning_is_printed_under_its_panel_only(tmp_path):
    write_scores(tmp_path, name="classifier")
    write_scores(tmp_path, name="inception", **INCEPTION, warning=SMALL_REFERENCE)
    first, second = fid_figure(evaluation_of(tmp_path)).axes
    assert "Warning" not in texts(first)
    assert SMALL_REFERENCE in texts(second).replace("\n", " ")


@pytest.mark.parametrize("checkpoints, every", [(1, 300), (4, 300), (10, 7500), (75, 1000)])
def test_tick_labels_never_overlap(tmp_path, checkpoints, every):
    write_scores(tmp_path, checkpoints=checkpoints, every=every)
    figure = fid_figure(evaluation_of(tmp_path))
    figures.save_figure(figure, tmp_path / "f.png")
    (axes,) = figure.axes
    boxes = [
        label.get_window_extent() for label in axes.get_xticklabels() if label.get_text() != ""
    ]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_figures_are_the_same_bytes_from_two_processes(tmp_path):
    write_scores(tmp_path, checkpoints=5, samples=("a", "b"))
    tables.write_table(tmp_path / "t.csv", evaluation_of(tmp_path))
    for folder in ("one", "two"):
        program(
            "plot_scores", "--evaluation", tmp_path / "t.csv", "--output-dir", tmp_path / folder
        )
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == SCORE_FIGURES
    for name in SCORE_FIGURES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_figure_says_nothing_of_program_or_time(tmp_path):
    write_scores(tmp_path)
    figures.save_figure(fid_figure(evaluation_of(tmp_path)), tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as picture:
        assert set(picture.info) <= {"dpi"}
        assert round(picture.info["dpi"][0]) == figures.DPI


def test_an_experiment_without_scores_has_all_its_figures(tmp_path):
    tables.write_table(tmp_path / "t.csv", tables.table_of([]))
    evaluation = tables.read_table(tmp_path / "t.csv", tables.EVALUATION_COLUMNS)
    drawn = dict(figures.score_figures(evaluation))
    assert list(drawn) == SCORE_FIGURES
    for figure in drawn.values():
        assert "There are no scores" in texts(figure.axes[0])


def test_compare_joins_experiments_in_tables_and_figures(tmp_path):
    for experiment in ("a", "b"):
        write_scores(tmp_path, experiment)
        evaluation = evaluation_of(tmp_path, experiment)
        tables.write_table(tmp_path / f"{experiment}.csv", evaluation)
        tables.write_table(tmp_path / f"{experiment}-best.csv", tables.best_scores(evaluation))
    program(
        "compare", "--evaluations", tmp_path / "a.csv", tmp_path / "b.csv",
        "--bests", tmp_path / "a-best.csv", tmp_path / "b-best.csv",
        "--output-dir", tmp_path / "report",
    )  # fmt: skip
    names = ["FID_comparison.png", "IS_comparison.png", "KID_comparison.png"]
    names += ["all_scores.csv", "best_scores.csv"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == names
    rows = tables.read_table(tmp_path / "report" / "all_scores.csv", tables.EVALUATION_COLUMNS)
    assert list(rows["experiment"]) == ["a"] * 4 + ["b"] * 4
    (axes,) = dict(figures.comparison_figures(rows))["FID_comparison.png"].axes
    assert "a · dpm20" in texts(axes) and "b · dpm20" in texts(axes)


def test_a_loss_that_falls_far_has_a_logarithmic_axis_and_images_seen_above(tmp_path):
    rows = losses.read_losses(write_losses(tmp_path / "metrics.csv", rows=2000, batch=128))
    figure = losses.loss_figure(rows, "Training loss")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    (above,) = axes.child_axes
    assert above.get_xlabel() == "images seen, millions (batch 128)"


def test_images_seen_are_left_out_where_the_batch_changed(tmp_path):
    rows = losses.read_losses(write_losses(tmp_path / "metrics.csv"))
    rows.loc[60:, "images_seen"] += 640
    (axes,) = losses.loss_figure(rows, "Training loss").axes
    assert axes.child_axes == []


def test_a_half_written_last_row_of_losses_is_left_out(tmp_path):
    path = write_losses(tmp_path / "metrics.csv", rows=5)
    path.write_text(path.read_text() + "60,3840,0.")
    assert list(losses.read_losses(path)["step"]) == [10, 20, 30, 40, 50]


def test_validation_losses_are_drawn_at_their_checkpoints_with_their_last_difference(tmp_path):
    write_losses(tmp_path / "metrics.csv")
    jobs = [
        write_validation(tmp_path / "1.csv", {300: (0.09, 0.091), 600: (0.07, 0.066)}),
        write_validation(tmp_path / "2.csv", {900: (0.065, 0.0601)}),
    ]
    arguments = ["--metrics", tmp_path / "metrics.csv", "--validations", *jobs]
    program("plot_loss", *arguments, "--output", tmp_path / "loss.png")
    figure = losses.loss_figure(
        losses.read_losses(tmp_path / "metrics.csv"),
        "Loss",
        tables.join_tables(jobs, tables.VALIDATION_COLUMNS),
    )
    *_, held_out, training = figure.axes[0].lines
    assert list(held_out.get_xdata()) == list(training.get_xdata()) == [300, 600, 900]
    assert list(held_out.get_ydata()) == [0.09, 0.07, 0.065]
    assert list(training.get_ydata()) == [0.091, 0.066, 0.0601]
    names = "\n".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "360 held-out images" in names and "360 training images, same noise" in names
    assert "training at step 900: 0.00490 ± 0.00080" in names
    assert Image.open(tmp_path / "loss.png").format == "PNG"


def test_the_legend_of_losses_covers_no_curve(tmp_path):
    write_losses(tmp_path / "metrics.csv")
    losses_read = losses.read_losses(tmp_path / "metrics.csv")
    validation = tables.read_table(
        write_validation(tmp_path / "v.csv", {1200: (0.9, 0.05)}), tables.VALIDATION_COLUMNS
    )
    figure = losses.loss_figure(losses_read, "Loss", validation)
    figures.save_figure(figure, tmp_path / "loss.png")
    (axes,) = figure.axes
    assert figure.legends[0].get_window_extent().y1 < axes.get_window_extent().y0


def test_a_learning_rate_that_changes_has_a_panel_of_its_own(tmp_path):
    rows = losses.read_losses(write_losses(tmp_path / "metrics.csv"))
    rows["learning_rate"] = 1e-3 * np.minimum(1, rows["step"] / 500)
    above, below = losses.loss_figure(rows, "Loss").axes
    (line,) = below.lines
    assert list(line.get_ydata()) == list(rows["learning_rate"])
    assert below.get_ylabel() == "learning rate" and below.get_xlabel() == "training steps"
    assert above.get_xlim() == below.get_xlim()


def test_skipped_steps_are_marked_where_they_were_and_counted(tmp_path):
    path = write_losses(tmp_path / "metrics.csv", rows=40)
    lines = path.read_text().splitlines()
    counts = [2] * 20 + [5] * 20  # two in the first row, three between rows 20 and 21
    rows = [f"{line},0.5,{count}" for line, count in zip(lines[1:], counts, strict=True)]
    rows[20] = ",".join([*rows[20].split(",")[:2], "nan", *rows[20].split(",")[3:]])
    path.write_text("\n".join([f"{lines[0]},grad_norm,skipped_steps", *rows]) + "\n")
    figure = losses.loss_figure(losses.read_losses(path), "Loss")
    *_, marks = figure.axes[0].lines
    assert list(marks.get_xdata()) == [10, 210]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[-1] == "steps skipped, gradients not finite: 5 in all"


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_plot_loss_draws_few_or_no_rows(tmp_path, rows):
    read = losses.read_losses(write_losses(tmp_path / "metrics.csv", rows=rows))
    figures.save_figure(losses.loss_figure(read, "Training loss"), tmp_path / "loss.png")
    assert Image.open(tmp_path / "loss.png").size[0] > 1000


def test_other_tables_are_refused_as_losses(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,accuracy\n1,0.5\n")
    with pytest.raises(UserError, match="images_seen, loss"):
        losses.read_losses(tmp_path / "metrics.csv")


def test_a_grid_holds_the_first_images_of_all_files_in_order(tmp_path):
    first = write_samples(tmp_path, "digits", 300, images=3, size=64)
    second = write_samples(tmp_path, "digits", 300, images=3, size=64, first=3)
    picture = np.asarray(pictures.sample_grid([first, second], 4))
    tiles = [
        picture[y : y + 64, x : x + 64] for y in (2, 2 + 66) for x in (2, 2 + 66)
    ]  # a 2 by 2 grid of unscaled images, 2 pixels apart
    images = np.concatenate([np.load(first), np.load(second)])[:4, ..., 0]
    assert all(np.array_equal(*pair) for pair in zip(tiles, images, strict=True))


def test_a_grid_of_a_set_smaller_than_asked_for_is_whole(tmp_path):
    file = write_samples(tmp_path, "digits", 300, images=5, channels=3)
    output = tmp_path / "grid.png"
    what = '{"version":1,"images":64}'
    command = [sys.executable, SCRIPTS / "sample_grid.py", "--what", what]
    command += ["--samples", file, "--output", output]
    subprocess.run(command, check=True)
    assert Image.open(output).size == (3 * 50 + 2, 2 * 50 + 2)


def test_files_that_are_no_samples_are_named(tmp_path):
    np.save(tmp_path / "features.npy", np.zeros((3, 64), np.float32))
    with pytest.raises(UserError, match=r"features\.npy: holds float32"):
        pictures.sample_grid([tmp_path / "features.npy"], 64)


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"evil\.npy"):
        pictures.sample_grid([tmp_path / "evil.npy"], 64)


def test_columns_of_samples_over_training_are_pixel_for_pixel_the_checkpoints(tmp_path):
    files = [write_samples(tmp_path, "digits", step, size=30) for step in (300, 600)]
    output = tmp_path / "s.png"
    program("plot_samples", "--steps", 300, 600, "--samples", *files, "--output", output)
    picture = np.asarray(Image.open(output).convert("L"))
    expected = np.load(files[1])[7, ..., 0].repeat(4, axis=0).repeat(4, axis=1)
    canvas_width, margin = 2 * 124 - 4, 60
    left = (900 - canvas_width) // 2 + 124
    bottom = picture.shape[0] - margin
    assert np.array_equal(picture[bottom - 120 : bottom, left : left + 120], expected)


def test_many_checkpoints_are_thinned_and_the_title_says_so(tmp_path):
    steps = list(range(1000, 76_000, 1000))
    files = [write_samples(tmp_path, "digits", step, images=2, size=8) for step in steps]
    figure = pictures.samples_over_training(steps, files, "Samples over training")
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (len(shown), shown[0], shown[-1]) == (12, "1,000", "75,000")
    assert "12 of 75 checkpoints" in figure.texts[0].get_text().replace("\n", " ")


def test_steps_and_files_must_pair(tmp_path):
    with pytest.raises(UserError, match="2 training steps and 1 files"):
        pictures.samples_over_training([1, 2], [write_samples(tmp_path, "digits", 1)], "S")


def test_plot_programs_never_import_torch():
    names = ["tables", "figures", "losses", "pictures", "snapshot", "summary"]
    code = "import sys\n" + "".join(f"import ddpm_bench.{name}\n" for name in names)
    code += "assert 'torch' not in sys.modules and 'snakemake' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SCRIPTS)


def test_what_must_be_valid(tmp_path):
    command = [sys.executable, SCRIPTS / "plot_loss.py", "--what", json.dumps({"version": 0})]
    command += ["--metrics", "m.csv", "--output", tmp_path / "l.png"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2 and "version" in run.stderr
