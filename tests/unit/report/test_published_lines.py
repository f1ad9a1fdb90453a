"""Published scores are drawn beside comparable scores, and nowhere else."""

import json
from pathlib import Path

import pandas as pd
import pytest
from drawn import texts
from fake_results import INCEPTION, write_scores

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.published import PublishedOf
from ddpm_bench.errors import UserError
from ddpm_bench.planning import stages
from ddpm_bench.report.figures.best_scores_figure import best_figure
from ddpm_bench.report.figures.published_lines import with_published
from ddpm_bench.report.figures.score_figures import score_figures
from ddpm_bench.report.tables import score_tables

LARGE = {**INCEPTION, "images_reference": 50_000}


def line(metric: str = "fid", value: float = 3.17, **keys) -> PublishedOf:
    about = {"source": "Ho et al. 2020", "feature_space": "inception", "dataset": "digits"}
    return PublishedOf.model_validate({"metric": metric, "value": value, **about, **keys})


def evaluation_of(results: Path, **scored) -> pd.DataFrame:
    files = write_scores(results, "a", **{"name": "inception", **LARGE, **scored})
    return score_tables.evaluation_table(files, experiment="a", dataset="digits")


def dashed(axes) -> list[float]:
    """The heights of the published lines in a panel."""
    lines = [one for one in axes.lines if one.get_color() == "0.25"]
    return [float(one.get_ydata()[0]) for one in lines]


def figure_of(evaluation: pd.DataFrame, *published: PublishedOf, name: str = "FID"):
    return dict(score_figures(evaluation, published))[f"{name}_vs_TrainingSteps.png"]


def test_a_line_of_its_kind_is_drawn_and_named(tmp_path):
    (axes,) = figure_of(evaluation_of(tmp_path), line()).axes
    assert dashed(axes) == [3.17] and "3.17, Ho et al. 2020" in texts(axes)
    (axes,) = figure_of(evaluation_of(tmp_path), line("is", 9.46), name="IS").axes
    assert dashed(axes) == [9.46]


@pytest.mark.parametrize(
    "other",
    [
        {"feature_space": "classifier"},
        {"feature_space": "inception-mine"},
        {"reference": "all"},
        {"fid_backend": "pytorch-fid"},
        {"fid_statistics": "cifar10-train"},
        {"dataset": "cars"},
    ],
)
def test_a_line_of_another_kind_is_not_drawn_but_named(tmp_path, other):
    (axes,) = figure_of(evaluation_of(tmp_path), line(**other)).axes
    assert dashed(axes) == []
    written = texts(axes).replace("\n", " ")
    assert "not comparable with the scores here: FID 3.17 (Ho et al. 2020" in written


def test_each_panel_has_the_lines_of_its_own_kind_only(tmp_path):
    ours = evaluation_of(tmp_path)
    theirs = evaluation_of(tmp_path / "b", fid_backend="pytorch-fid")
    both = pd.concat([ours, theirs.assign(score="other")], ignore_index=True)
    published = [line(), line(value=4.0, fid_backend="pytorch-fid")]
    axes = figure_of(both, *published).axes
    assert {one.get_ylabel().split("\n")[0]: dashed(one) for one in axes} == {
        "FID (Inception features, pytorch-fid)": [4.0],
        "FID (Inception features)": [3.17],
    }


def test_is_knows_no_reference(tmp_path):
    rows = evaluation_of(tmp_path, reference="eval")
    (axes,) = figure_of(rows, line("is", 9.46), name="IS").axes
    assert dashed(axes) == [9.46]


def test_a_line_far_off_does_not_press_the_curves_flat(tmp_path):
    rows = evaluation_of(tmp_path)
    (before,) = figure_of(rows).axes
    (axes,) = figure_of(rows, line(value=175.2)).axes
    assert axes.get_ylim() == before.get_ylim() and dashed(axes) == []
    assert "beyond this axis: 175.2, Ho et al. 2020" in texts(axes)


def test_a_line_a_little_below_widens_the_axis(tmp_path):
    rows = evaluation_of(tmp_path)
    (before,) = figure_of(rows).axes
    value = before.get_ylim()[0] - 1
    (axes,) = figure_of(rows, line(value=value)).axes
    assert dashed(axes) == [value] and axes.get_ylim()[0] < value
    assert axes.get_ylim()[1] == pytest.approx(before.get_ylim()[1])


def test_labels_of_close_lines_do_not_cover_each_other(tmp_path):
    lines = [line(value=6 + 0.1 * index, source=f"source {index}") for index in range(3)]
    figure = figure_of(evaluation_of(tmp_path), *lines)
    figure.draw_without_rendering()
    found = [text for text in figure.axes[0].texts if ", source" in text.get_text()]
    boxes = [text.get_window_extent() for text in found]
    assert len(boxes) == 3
    assert not any(one.overlaps(two) for one in boxes for two in boxes if one is not two)


def test_the_table_has_published_values_beside_what_compares(tmp_path):
    best = score_tables.best_scores(evaluation_of(tmp_path))
    assert with_published(best, []) is best, "nothing changes where nothing is published"
    found = with_published(best, [line(), line(value=2.0, source="X"), line("is", 9.46)])
    beside = found.set_index("metric")
    assert (beside.loc["fid", "published"], beside.loc["fid", "published_source"]) == (2.0, "X")
    assert beside.loc["is_mean", "published"] == 9.46
    assert pd.isna(beside.loc["kid_mean", "published"])


def test_what_is_published_reaches_every_figure_and_changes_nothing_else():
    raw = {
        "datasets": {"digits": {"source": {"kind": "sklearn-digits"}, "image_size": 8,
                                "channels": 1}},
        "defaults": {
            "dataset": "digits", "model": {"name": "unet", "dim": 8, "dim_mults": [1]},
            "train": {"steps": 10, "batch_size": 8, "checkpoint_every": 10},
            "samples": {"s": {"images": 8}}, "scores": {"c": {"features": "classifier"}},
            "best": {"metric": "fid"},
        },
        "experiments": {"a": {}, "b": {}},
    }  # fmt: skip
    bare = check_config(raw)
    raw["defaults"]["published"] = [
        {"metric": "fid", "value": 3.17, "source": "Ho", "feature_space": "inception"}
    ]
    named = check_config(raw)
    for name, of in (("plot", ["a"]), ("compare", ["a", "b"]), ("bests", ["a", "b"])):
        without = stages.score_figures_stage(bare, name, of)
        assert without == stages.stage(name)
        published = json.loads(stages.score_figures_stage(named, name, of))["published"]
        assert [(one["dataset"], one["value"]) for one in published] == [("digits", 3.17)]
    for stage in (stages.train_stage, stages.best_stage):
        assert stage(bare, "a") == stage(named, "a")


def test_options_of_fid_are_refused_elsewhere():
    with pytest.raises(ValueError, match="fid_backend is an option of fid, not of is"):
        line("is", 9.46, fid_backend="pytorch-fid")


def test_an_unknown_feature_space_is_refused():
    raw = {"experiments": {"a": {"published": [{"feature_space": "incepton"}]}}}
    with pytest.raises(UserError, match=r"published\.0\.feature_space = 'incepton'"):
        check_config(raw)


def block_texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_picture_of_best_scores_keeps_kinds_apart(tmp_path):
    rows = []
    for index, name in enumerate(("one", "two")):
        for kind, about in (("classifier", {}), ("inception", LARGE)):
            files = write_scores(tmp_path, name, name=kind, checkpoints=2, **about)
            rows.append(score_tables.evaluation_table(files, experiment=name, dataset="digits"))
            rows[-1]["fid"] += index
    best = pd.concat([score_tables.best_scores(table) for table in rows], ignore_index=True)
    figure = best_figure(best, [line(note="50,000 images")], "Best")
    written = block_texts(figure)
    assert written.count("one · dpm20") == written.count("two · dpm20") == 2
    headings = [text for text in written if text.startswith("digits · ")]
    assert headings == ["digits · classifier features", "digits · Inception features"]
    published = written.index("Ho et al. 2020 (published)")
    assert written.index("digits · Inception features") < published
    assert "3.17" in written and "Ho et al. 2020: 50,000 images" in written
    lowest = best[(best["metric"] == "fid") & (best["experiment"] == "one")]["value"]
    bold = [text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert [text for text in bold if text in {f"{value:.2f}" for value in lowest}] == [
        f"{value:.2f}" for value in lowest
    ]


def test_many_experiments_are_cut_with_a_note(tmp_path):
    files = write_scores(tmp_path, "a", checkpoints=1)
    table = score_tables.evaluation_table(files, experiment="a", dataset="digits")
    many = [table.assign(experiment=f"e{index:03}", fid=float(index)) for index in range(70)]
    best = score_tables.best_scores(pd.concat(many, ignore_index=True))
    written = block_texts(best_figure(best, [], "Best"))
    assert "10 more in best_scores.csv." in written
    assert "e000 · dpm20" in written and "e069 · dpm20" not in written
