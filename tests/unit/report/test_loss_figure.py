import numpy as np
import pytest
from drawn import program
from fake_results import write_losses, write_validation
from PIL import Image

from ddpm_bench.errors import UserError
from ddpm_bench.report.figures import loss_figure
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables import score_tables
from ddpm_bench.report.tables.losses import read_losses


def test_a_loss_that_falls_far_has_a_logarithmic_axis_and_images_seen_above(tmp_path):
    rows = read_losses(write_losses(tmp_path / "metrics.csv", rows=2000, batch=128))
    figure = loss_figure.loss_figure(rows, "Training loss")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    (above,) = axes.child_axes
    assert above.get_xlabel() == "images seen, millions (batch 128)"


def test_images_seen_are_left_out_where_the_batch_changed(tmp_path):
    rows = read_losses(write_losses(tmp_path / "metrics.csv"))
    rows.loc[60:, "images_seen"] += 640
    (axes,) = loss_figure.loss_figure(rows, "Training loss").axes
    assert axes.child_axes == []


def test_a_half_written_last_row_of_losses_is_left_out(tmp_path):
    path = write_losses(tmp_path / "metrics.csv", rows=5)
    path.write_text(path.read_text() + "60,3840,0.")
    assert list(read_losses(path)["step"]) == [10, 20, 30, 40, 50]


def test_validation_losses_are_drawn_at_their_checkpoints_with_their_last_difference(tmp_path):
    write_losses(tmp_path / "metrics.csv")
    jobs = [
        write_validation(tmp_path / "1.csv", {300: (0.09, 0.091), 600: (0.07, 0.066)}),
        write_validation(tmp_path / "2.csv", {900: (0.065, 0.0601)}),
    ]
    arguments = ["--metrics", tmp_path / "metrics.csv", "--validations", *jobs]
    program("plot_loss", *arguments, "--output", tmp_path / "loss.png")
    figure = loss_figure.loss_figure(
        read_losses(tmp_path / "metrics.csv"),
        "Loss",
        score_tables.join_tables(jobs, score_tables.VALIDATION_COLUMNS),
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
    losses_read = read_losses(tmp_path / "metrics.csv")
    validation = score_tables.read_table(
        write_validation(tmp_path / "v.csv", {1200: (0.9, 0.05)}), score_tables.VALIDATION_COLUMNS
    )
    figure = loss_figure.loss_figure(losses_read, "Loss", validation)
    save_figure(figure, tmp_path / "loss.png")
    (axes,) = figure.axes
    assert figure.legends[0].get_window_extent().y1 < axes.get_window_extent().y0


def test_a_learning_rate_that_changes_has_a_panel_of_its_own(tmp_path):
    rows = read_losses(write_losses(tmp_path / "metrics.csv"))
    rows["learning_rate"] = 1e-3 * np.minimum(1, rows["step"] / 500)
    above, below = loss_figure.loss_figure(rows, "Loss").axes
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
    figure = loss_figure.loss_figure(read_losses(path), "Loss")
    *_, marks = figure.axes[0].lines
    assert list(marks.get_xdata()) == [10, 210]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[-1] == "steps skipped, gradients not finite: 5 in all"


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_plot_loss_draws_few_or_no_rows(tmp_path, rows):
    read = read_losses(write_losses(tmp_path / "metrics.csv", rows=rows))
    save_figure(loss_figure.loss_figure(read, "Training loss"), tmp_path / "loss.png")
    assert Image.open(tmp_path / "loss.png").size[0] > 1000


def test_other_tables_are_refused_as_losses(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,accuracy\n1,0.5\n")
    with pytest.raises(UserError, match="images_seen, loss"):
        read_losses(tmp_path / "metrics.csv")
