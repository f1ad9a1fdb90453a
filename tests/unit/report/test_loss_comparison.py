"""Losses of several trainings on one axis, where they compare."""

import copy

import numpy as np
import pandas as pd
import pytest
from drawn import texts

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.reporting import LossGroup
from ddpm_bench.planning import targets
from ddpm_bench.planning.loss_groups import loss_groups
from ddpm_bench.report.figures.loss_comparison import loss_comparison, smoothing_steps

BASE = {
    "dataset": "digits",
    "model": {"name": "unet", "dim": 8, "dim_mults": [1, 2]},
    "train": {"steps": 40, "batch_size": 8, "checkpoint_every": 20},
}


def config_of(**changes: dict):
    """Experiments that differ from BASE, block by block."""
    dataset = {"source": {"kind": "sklearn-digits"}, "image_size": 8, "channels": 1}
    experiments = {}
    for name, blocks in changes.items():
        keys = experiments[name] = copy.deepcopy(BASE)
        for block, value in blocks.items():
            keys[block] = {**keys.get(block, {}), **value} if isinstance(value, dict) else value
    datasets = {"digits": dataset, "cars": dataset}
    return check_config({"datasets": datasets, "experiments": experiments})


def groups_of(**changes: dict) -> list[dict[str, str]]:
    config = config_of(**changes)
    return [group.experiments for group in loss_groups(config, config.experiments)]


def test_the_legend_has_the_differences_and_nothing_else():
    assert groups_of(fp32={}, bf16={"train": {"precision": "bf16"}}) == [
        {"fp32": "precision fp32", "bf16": "precision bf16"}
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "cars"},
        {"diffusion": {"objective": "pred_noise"}},
        {"diffusion": {"timesteps": 200}},
        {"diffusion": {"beta_schedule": "cosine"}},
        {"train": {"min_snr_gamma": 5}},
        {"train": {"offset_noise": 0.1}},
    ],
)
def test_what_another_loss_measures_shares_no_axis(other):
    assert groups_of(one={}, two=other) == []


def test_how_and_how_long_a_training_runs_sets_nothing_apart():
    longer = {"train": {"steps": 80, "checkpoint_every": 40, "run": {"gpus": 2}}}
    assert groups_of(one={}, two=longer) == [{"one": "", "two": ""}]


def test_each_kind_has_a_group_and_a_loner_none():
    cosine = {"diffusion": {"beta_schedule": "cosine"}}
    found = groups_of(
        a={}, b={"train": {"seed": 1}}, c=cosine, d={**cosine, "train": {"learning_rate": 0.01}},
        e={"dataset": "cars"},
    )  # fmt: skip
    assert found == [
        {"a": "seed 0", "b": "seed 1"},
        {"c": "learning rate 0.0001", "d": "learning rate 0.01"},
    ]


def test_many_differences_are_counted():
    other = {
        "model": {"name": "unet", "dim": 16},
        "train": {"precision": "bf16", "seed": 3, "batch_size": 4, "optimizer": "adamw"},
    }
    (found,) = groups_of(a={}, b=other)
    assert found["b"].endswith(" and 2 more")


def test_the_figure_is_asked_for_where_two_losses_compare():
    alone = config_of(a={}, b={"dataset": "cars"})
    assert not [path for path in targets.targets(alone) if "Loss_comparison" in path]
    both = config_of(a={}, b={"train": {"precision": "bf16"}})
    assert "results/report/Loss_comparison.png" in targets.targets(both)


def losses(rows: int = 100, batch: int = 8, every: int = 10, level: float = 0.05) -> pd.DataFrame:
    steps = np.arange(1, rows + 1) * float(every)
    loss = level + 0.9 * np.exp(-steps / 100)
    return pd.DataFrame(
        {"step": steps, "images_seen": steps * batch, "loss": loss, "learning_rate": 1e-3}
    )


GROUP = LossGroup(dataset="digits", about="pred_v", experiments={"a": "fp32", "b": "bf16"})


def test_curves_end_where_their_losses_do(tmp_path):
    tables = {"a": losses(level=0.05), "b": losses(level=0.07)}
    (axes,) = loss_comparison([GROUP], tables, "Losses").axes
    assert len(axes.lines) == 2
    assert [line.get_ydata()[-1] for line in axes.lines] == pytest.approx([0.05, 0.07], rel=0.02)
    assert axes.get_ylabel().startswith("training loss, log axis")
    assert len({line.get_linestyle() for line in axes.lines}) == 2, "seen where they coincide"
    written = texts(axes)
    assert "fp32 · end 0.05" in written and "bf16 · end 0.07" in written and "pred_v" in written


def test_all_curves_are_means_of_equally_many_steps():
    tables = [losses(rows=1000, every=10), losses(rows=50, every=100)]
    assert smoothing_steps(tables) == 200
    (axes,) = loss_comparison([GROUP], dict(zip("ab", tables, strict=True)), "Losses").axes
    assert "mean of 200 steps" in axes.get_ylabel()


def test_other_batches_and_missing_losses_have_notes():
    tables = {"a": losses(batch=8), "b": losses(batch=16)}
    (axes,) = loss_comparison([GROUP], tables, "Losses").axes
    assert "Batches differ" in texts(axes)
    (axes,) = loss_comparison([GROUP], {"a": losses(), "b": losses(rows=0)}, "Losses").axes
    assert "No loss has been recorded yet of b." in texts(axes) and len(axes.lines) == 1


def test_losses_that_are_not_finite_break_nothing():
    broken = losses()
    broken.loc[40:, "loss"] = np.nan
    (axes,) = loss_comparison([GROUP], {"a": losses(), "b": broken}, "Losses").axes
    assert max(axes.lines[1].get_xdata()) == 400


def test_without_groups_the_figure_is_a_sentence():
    (axes,) = loss_comparison([], {}, "Losses").axes
    assert "No two experiments" in texts(axes)
