"""The comparison of samplers: its table, its Pareto front, and the fewest sufficient steps."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from drawn import texts
from fake_results import INCEPTION, score, write_score, write_timing
from places import SCRIPTS

from ddpm_bench.config.sampling import Drawing
from ddpm_bench.errors import UserError
from ddpm_bench.report.figures import sampler_figure
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables import sampler_comparison, score_tables

# Set: its keys, FID, KID, seconds per image.
STUDY = {
    "dpm10": (Drawing(steps=10), 12.0, 0.010, 0.010),
    "dpm20": (Drawing(steps=20), 8.2, 0.004, 0.020),
    "dpm50": (Drawing(steps=50), 8.0, 0.0042, 0.050),
    "ddim50": (Drawing(scheduler="ddim", steps=50), 9.0, 0.005, 0.051),
    "ddim100": (Drawing(scheduler="ddim", steps=100), 7.9, 0.003, 0.100),
}


def study(folder, sets=STUDY, devices=("NVIDIA H200",), **changed) -> pd.DataFrame:
    """The comparison of sets at step 300, as the workflow makes it."""
    files, timings = [], []
    for (name, (_, fid, kid, seconds)), device in zip(
        sets.items(), itertools.cycle(devices), strict=False
    ):
        record = score(1.0, **changed) | {"fid": fid, "kid_mean": kid}
        files.append(write_score(folder, "digits", name, "classifier", 300, record))
        timings.append(write_timing(folder, name, 300, seconds, device=device))
    evaluation = score_tables.evaluation_table(files, experiment="digits", dataset="digits-16")
    drawings = {name: keys for name, (keys, *_) in sets.items()}
    timed = sampler_comparison.read_timings(timings)
    return sampler_comparison.comparison_table(evaluation, timed, drawings, 300)


def on_front(compared: pd.DataFrame, column: str) -> set[str]:
    return set(compared["samples"][compared[f"on_pareto_front_{column}"]])


def test_the_pareto_front_is_what_no_other_set_beats_in_both(tmp_path):
    compared = study(tmp_path)
    assert on_front(compared, "fid") == {"dpm10", "dpm20", "dpm50", "ddim100"}
    assert on_front(compared, "kid_mean") == {"dpm10", "dpm20", "ddim100"}


def test_points_without_a_value_are_on_no_front_and_equal_ones_are_both():
    seconds = np.array([1.0, 1.0, 2.0, 3.0])
    values = np.array([5.0, 5.0, np.nan, 1.0])
    assert sampler_comparison.on_pareto_front(seconds, values).tolist() == [True, True, False, True]


def test_the_fewest_steps_within_5_percent_of_a_samplers_best(tmp_path):
    table = sampler_comparison.steps_to_quality(study(tmp_path)).set_index(["sampler", "metric"])
    found = table.loc[("dpmsolver++", "fid")]
    assert (found["steps"], found["value"]) == (20, 8.2)  # 8.2 <= 1.05 * 8.0
    assert (found["best_steps"], found["best_value"], found["step_counts"]) == (50, 8.0, 3)
    assert found["seconds_per_image"] == pytest.approx(0.020)
    assert table.loc[("ddim", "fid")]["steps"] == 100
    assert list(table.index.get_level_values("metric")) == ["fid", "kid_mean"] * 2


def test_a_best_kid_below_zero_is_reached_by_what_is_near_it(tmp_path):
    sets = {
        f"dpm{steps}": (Drawing(steps=steps), 1.0, kid, 0.1)
        for steps, kid in ((5, 0.1), (10, -0.00098), (20, -0.001))
    }
    table = sampler_comparison.steps_to_quality(study(tmp_path, sets)).set_index("metric")
    assert table.loc["kid_mean"]["steps"] == 10


def test_the_table_holds_the_options_of_each_set_and_its_scores(tmp_path):
    sets = {
        "heun": (Drawing(scheduler="heun", karras_sigmas=True, steps=8), 9.0, 0.01, 0.1),
        "skip": (
            Drawing(timesteps=[{"from": 999, "to": 219, "every": 20}, 100, 0], solver_order=3),
            8.0, 0.02, 0.2,
        ),
    }  # fmt: skip
    compared = study(tmp_path, sets)
    assert list(compared.columns) == sampler_comparison.COLUMNS
    rows = compared.set_index("samples")
    assert rows.loc["heun"]["sampler"] == "heun, Karras"
    assert rows.loc["skip"]["sampler"] == "dpmsolver++ order 3, at 999-219/20 100 0"
    assert rows.loc["skip"]["steps"] == 42
    assert rows.loc["heun"]["sampling_precision"] == "fp32"
    assert rows.loc["heun"]["precision"] == pytest.approx(score(1.0)["precision"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Drawing(steps=5), Drawing(steps=50, seed=3, batch_size=8)),
        (Drawing(), Drawing(precision="bf16")),
        (Drawing(), Drawing(timestep_spacing="leading")),
        (Drawing(scheduler="ddim"), Drawing(scheduler="ddim", eta=0.5)),
        (Drawing(scheduler="ddpm"), Drawing(scheduler="ddpm", variance="fixed-large")),
        (
            Drawing(scheduler="ddpm", steps=5),
            Drawing(scheduler="ddpm", variance="fixed-small", steps=6),
        ),
    ],
)
def test_samplers_differ_by_all_keys_but_steps_seed_and_batch(one, other):
    alike = other.steps != 20
    assert (sampler_comparison.sampler_name(one) == sampler_comparison.sampler_name(other)) == alike


def test_the_variances_of_ddpm_are_two_samplers_in_table_and_figure(tmp_path):
    sets = {
        f"{variance}-{steps}": (
            Drawing(scheduler="ddpm", variance=f"fixed-{variance}", steps=steps), 9.0, 0.01, 0.1,
        )
        for variance in ("small", "large") for steps in (10, 20)
    }  # fmt: skip
    compared = study(tmp_path, sets)
    assert set(compared["variance"]) == {"fixed-small", "fixed-large"}
    assert set(sampler_figure.sampler_styles(compared)) == {"ddpm", "ddpm, fixed-large"}
    assert sampler_comparison.steps_to_quality(compared)["step_counts"].tolist() == [2] * 4


def test_seconds_of_a_set_are_those_of_all_its_files(tmp_path):
    paths = [write_timing(tmp_path, "a", 300, 0.1, images=16)]
    paths.append(write_timing(tmp_path, "a", 300, 0.4, images=32, device="CPU, 2 threads"))
    (row,) = sampler_comparison.read_timings(paths).to_dict("records")
    assert row["seconds_per_image"] == pytest.approx((16 * 0.1 + 32 * 0.4) / 48)
    assert row["device"] == "CPU, 2 threads and NVIDIA H200"


def test_files_that_are_no_timings_are_named(tmp_path):
    path = write_timing(tmp_path, "a", 300, 0.1)
    path.write_text("{}")
    with pytest.raises(UserError, match=r"json: cannot be read as a timing of samples"):
        sampler_comparison.read_timings([path])
    with pytest.raises(UserError, match="is not named as the timing of samples is"):
        sampler_comparison.read_timings([tmp_path / "timing.json"])


def test_each_device_has_panels_of_its_own(tmp_path):
    figure = sampler_figure.sampler_figure(study(tmp_path, devices=("A", "B")), "T", [])
    assert [axes.get_xlabel() for axes in figure.axes] == [
        f"seconds per image on {device}, log axis" for device in "AABB"
    ]
    assert "Seconds on different devices are not comparable" in texts(figure.axes[0])


def test_kid_stands_above_fid_where_the_reference_is_small(tmp_path):
    figure = sampler_figure.sampler_figure(study(tmp_path, **INCEPTION), "T", [])
    assert [axes.get_ylabel()[:3] for axes in figure.axes] == ["KID", "FID"]
    assert "read KID first" in figure.axes[1].get_ylabel()


def test_points_have_their_steps_in_the_panel_and_apart_and_the_legend_names_the_sets(tmp_path):
    figure = sampler_figure.sampler_figure(study(tmp_path), "T", ["few"])
    save_figure(figure, tmp_path / "s.png")
    for axes in figure.axes:
        labels = [text for text in axes.texts if text.get_text().isdigit()]
        assert sorted(int(text.get_text()) for text in labels) == [10, 20, 50, 50, 100]
        boxes = [text.get_window_extent() for text in labels]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        panel = axes.get_window_extent()
        assert all(panel.x0 <= box.x0 and box.x1 <= panel.x1 for box in boxes)
        entries = [text.get_text().split("\n") for text in axes.get_legend().get_texts()]
        assert ["ddim", "ddim50 (50), ddim100 (100)"] in entries
        assert ["dpmsolver++", "dpm10 (10), dpm20 (20),", "dpm50 (50)"] in entries
        assert "Left out, as their checkpoint or number of images differs: few." in texts(axes)


def test_a_legend_of_many_sets_stays_beside_its_panel(tmp_path):
    sets = {
        f"{name}{steps}": (Drawing(scheduler=name, steps=steps), 9.0, 0.01, steps / 100)
        for name in ("ddim", "ddpm", "euler", "heun", "dpmsolver++")
        for steps in range(10, 100, 10)
    }
    sets = {name.replace("+", ""): keys for name, keys in sets.items()}
    figure = sampler_figure.sampler_figure(study(tmp_path, sets), "T", [])
    save_figure(figure, tmp_path / "s.png")
    for axes in figure.axes:
        legend, panel = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert panel.y0 - 80 < legend.y0


def test_a_single_set_is_drawn_with_a_note(tmp_path):
    sets = {"dpm10": STUDY["dpm10"]}
    figure = sampler_figure.sampler_figure(study(tmp_path, sets), "T", [])
    assert all("There is only one set" in texts(axes) for axes in figure.axes)


def test_without_scored_sets_the_figure_is_a_sentence(tmp_path):
    compared = study(tmp_path)
    figure = sampler_figure.sampler_figure(compared.iloc[:0], "T", [])
    assert "No set of samples is scored" in texts(figure.axes[0])
    assert (
        list(sampler_comparison.steps_to_quality(compared.iloc[:0]))
        == sampler_comparison.STEPS_COLUMNS
    )


def test_plot_samplers_writes_its_tables_and_figure(tmp_path):
    compared = study(tmp_path)
    files = sorted((tmp_path / "digits" / "scores").glob("*/*/*.json"))
    evaluation = score_tables.evaluation_table(files, experiment="digits", dataset="digits-16")
    score_tables.write_table(tmp_path / "e.csv", evaluation)
    timings = sorted((tmp_path / "digits" / "samples").rglob("images-*.json"))
    what = {name: keys.model_dump(exclude_defaults=True) for name, (keys, *_) in STUDY.items()}
    command = [sys.executable, SCRIPTS / "plot_samplers.py", "--evaluation", tmp_path / "e.csv"]
    command += ["--what", json.dumps({"version": 1, "sets": what}), "--timings", *timings]
    subprocess.run([*command, "--step", "300", "--output-dir", tmp_path / "out"], check=True)
    written = pd.read_csv(tmp_path / "out" / "sampler_comparison.csv")
    assert written["samples"].tolist() == compared["samples"].tolist()
    assert len(pd.read_csv(tmp_path / "out" / "steps_to_quality.csv")) == 4
    assert (tmp_path / "out" / "Quality_vs_SecondsPerImage.png").stat().st_size > 10_000
