"""Sweeps: which members there are, what they are called, and what is refused."""

import contextlib
import copy
import itertools
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from places import REPOSITORY, SCRIPTS

from ddpm_bench.config.experiment import Experiment
from ddpm_bench.config.loading import check_config, frozen_config, read_config
from ddpm_bench.config.reporting import SweepStage
from ddpm_bench.config.sweep import MOST_MEMBERS, Sweep
from ddpm_bench.config.sweep_keys import NoSuchKeyError, swept_key
from ddpm_bench.config.sweep_members import members, short_names, value_text
from ddpm_bench.errors import UserError
from ddpm_bench.planning import jobs, stages, targets
from ddpm_bench.report.sweeps import sweep_table
from ddpm_bench.report.sweeps.sweep_ranking import ranking_columns
from ddpm_bench.report.terminal.sweep_summary import sweep_summary

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
LONGEST_ARGUMENT = 131_072  # bytes, of Linux
GRID = {"train.learning_rate": [1e-3, 2e-3], "model.dim": [16, 24], "train.seed": [0, 1, 2]}


def swept(keys: dict, **more) -> dict:
    raw = copy.deepcopy(DEMO)
    raw["experiments"]["digits"]["sweep"] = {"keys": keys, **more}
    return raw


def problems(raw: dict) -> str:
    with pytest.raises(UserError) as caught:
        check_config(raw)
    return str(caught.value)


def test_each_combination_is_an_experiment_with_its_values():
    config = check_config(swept(GRID))
    assert len(config.experiments) == 12 and "digits" not in config.experiments
    member = config.experiments["digits.dim-24.learning_rate-0.002.seed-1"]
    assert (member.model.dim, member.train.learning_rate, member.train.seed) == (24, 0.002, 1)
    assert member.sweep is None and member.train.steps == 1200
    values = config.sweeps["digits"].members["digits.dim-24.learning_rate-0.002.seed-1"]
    assert values == {"model.dim": 24, "train.learning_rate": 0.002, "train.seed": 1}
    assert jobs.sweep_of(config, "digits.dim-24.learning_rate-0.002.seed-1") == "digits"


def test_a_further_value_adds_members_and_changes_none():
    before = check_config(swept(GRID))
    keys = {**GRID, "model.dim": [8, 16, 24]}
    after = check_config(swept(dict(reversed(keys.items()))))
    added = set(after.experiments) - set(before.experiments)
    assert set(before.experiments) < set(after.experiments)
    assert all(".dim-8." in name for name in added) and len(added) == 6
    for name in before.experiments:
        assert stages.train_stage(after, name) == stages.train_stage(before, name)


def test_a_member_computes_what_the_same_experiment_by_hand_does():
    alone = copy.deepcopy(DEMO)
    alone["experiments"]["digits"]["train"]["learning_rate"] = 1e-3
    by_hand = check_config(alone)
    config = check_config(swept({"train.learning_rate": [1e-3]}))
    (name,) = config.experiments
    assert stages.train_stage(config, name) == stages.train_stage(by_hand, "digits")
    for samples in by_hand.experiments["digits"].samples:
        assert stages.sample_stage(config, name, samples, 300) == stages.sample_stage(
            by_hand, "digits", samples, 300
        )


def test_members_record_their_failures_unless_the_user_says_otherwise():
    raw = swept({"train.seed": [0, 1]})
    raw["experiments"]["digits"]["samples"]["dpm5"]["run"] = {"on_failure": "stop"}
    for member in check_config(raw).experiments.values():
        assert member.train.run.on_failure == "record"
        assert member.samples["dpm20"].run.on_failure == "record"
        assert member.samples["dpm5"].run.on_failure == "stop"
    assert check_config(copy.deepcopy(DEMO)).experiments["digits"].train.run.on_failure == "stop"


RANDOM = {
    "train.learning_rate": {"from": 1e-5, "to": 1e-2, "log": True},
    "train.batch_size": {"from": 8, "to": 12},
    "diffusion.objective": ["pred_v", "pred_noise"],
}


def drawn(count: int, **more) -> dict:
    config = check_config(swept(RANDOM, method="random", count=count, **more))
    return config.sweeps["digits"].members


def test_more_random_members_leave_those_there_are():
    few, many = drawn(8), drawn(40)
    assert list(many)[:8] == list(few) and len(many) == 40
    assert drawn(8, seed=1) != few


def test_random_values_lie_in_their_ranges_and_spread_over_them():
    values = list(drawn(200).values())
    rates = [one["train.learning_rate"] for one in values]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    # Evenly over the logarithm: a third in each of the three decades, 67 +- 4 standard deviations.
    assert all(
        40 < sum(low <= rate < 10 * low for rate in rates) < 94 for low in (1e-5, 1e-4, 1e-3)
    )
    assert {one["train.batch_size"] for one in values} == {8, 9, 10, 11, 12}
    assert all(type(one["train.batch_size"]) is int for one in values)


def test_draws_that_repeat_are_left_out_and_said():
    config = check_config(swept({"train.seed": [0, 1, 2]}, method="random", count=7))
    assert len(config.experiments) == 3
    assert "3 members, and not 7" in config.sweeps["digits"].note
    enough = check_config(swept({"train.seed": [0, 1, 2]}, method="random", count=3))
    assert len(enough.experiments) == 3 and enough.sweeps["digits"].note is None


def test_names_are_valid_and_differ_however_long_values_are():
    keys = {
        "model.dim_mults": [[1, 2, 4], [1, 24]],
        "samples.dpm20.scheduler": ["dpmsolver++", "ddim"],
        "samples.dpm20.seed": [0, 1],
        "train.seed": [0, 1],
        "train.max_grad_norm": [None, 1e-5, 1e16],
        "train.learning_rate": [0.00012345678, 0.00012345679],
    }
    names = list(check_config(swept(keys)).experiments)
    assert len(set(names)) == len(names) == 96
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name) for name in names)
    assert names[0].startswith("digits.dim_mults-1-2-4.scheduler-")


def test_keys_of_one_last_part_get_longer_names():
    short = short_names(["train.seed", "samples.a.seed", "samples.b.seed", "model.dim"])
    assert short == {
        "train.seed": "train_seed", "samples.a.seed": "a_seed", "samples.b.seed": "b_seed",
        "model.dim": "dim",
    }  # fmt: skip


def test_other_values_have_other_texts():
    values = [1, 1.5, "1", True, "true", None, "null", [1, 2], "1-2", [[1], 2], [], "a", "a+", {}]
    texts = [value_text(value) for value in values]
    assert len(set(texts)) == len(values)
    for one, other in itertools.combinations([1e-3, 1e-4, 1.0e22, 123456789.123], 2):
        assert value_text(one) != value_text(other)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"train.lerning_rate": [1]}, "train.lerning_rate: unknown key `lerning_rate`; did you"),
        ({"train.run.gpus": [1, 2]}, "train.run.gpus: `run` decides how a stage is run"),
        ({"train.learning_rate": [0.1, -1]}, "train.learning_rate has -1: must be above 0"),
        ({"train.learning_rate": ["x"]}, "train.learning_rate has 'x': must be a number"),
        ({"train.learning_rate": []}, "keys.train.learning_rate has no values"),
        ({"train.learning_rate": [1e-3, "1e-3"]}, "train.learning_rate has 0.001 twice"),
        ({"model.dim": [16, 20]}, "model.dim has 20: must be a multiple of 8"),
        ({"model": [{"name": "unet"}]}, "keys.model: is a block: name one of its keys"),
        ({"samples.dpm21.steps": [5]}, "samples.'dpm21': no such name; did you mean 'dpm20'?"),
        ({"train.seed.x": [5]}, "`train.seed` has no keys; remove `.x`"),
        ({"sweep.count": [5]}, "`sweep` is the sweep"),
        ({"dataset": ["digits"]}, "`dataset` decides which scores compare"),
        ({"train.seed": {"from": 0, "to": 9}}, "a range is for method: random"),
        ({"train.seed": list(range(200)), "train.batch_size": list(range(1, 99))}, "19,600"),
    ],
)
def test_a_wrong_sweep_is_told_once_where_it_stands(keys, says):
    text = problems(swept(keys))
    assert "config has 1 problem:" in text, text
    assert "experiments.digits.sweep" in text and says in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"count": 3}, "count is an option of method: random"),
        ({"method": "random"}, "needs `count`"),
        ({"method": "grd"}, "sweep.method = 'grd'"),
        ({"sed": 1}, "sweep.sed: unknown key; did you mean 'seed'?"),
    ],
)
def test_wrong_options_of_a_sweep_are_told(more, says):
    text = problems(swept({"train.seed": [0]}, **more))
    assert "config has 1 problem:" in text and says in text


def test_a_range_that_draws_what_is_not_allowed_is_told_once():
    keys = {"model.dim": {"from": 16, "to": 64}}
    text = problems(swept(keys, method="random", count=20))
    assert "config has 1 problem:" in text
    assert "sweep.keys.model.dim has" in text and "multiple of 8; give a list of values" in text


def test_what_does_not_fit_in_some_members_names_them():
    raw = swept({"train.batch_size": [16, 63, 64, 65], "train.seed": [0, 1]})
    raw["experiments"]["digits"]["train"]["run"] = {"gpus": 2}
    text = problems(raw)
    assert "config has 2 problems:" in text
    assert "experiments.digits.train: run.gpus = 2: batch_size = 63 does not divide" in text
    assert "(members digits.batch_size-63.seed-0, digits.batch_size-63.seed-1)" in text


def test_what_is_wrong_in_all_members_is_told_as_of_one_experiment():
    raw = swept(GRID)
    raw["experiments"]["digits"]["train"]["lerning"] = 1
    raw["experiments"]["digits"]["dataset"] = "digts"
    text = problems(raw)
    assert "config has 2 problems:" in text and "member" not in text
    assert "experiments.digits.train.lerning: unknown key" in text
    assert "experiments.digits.dataset = 'digts': no such dataset" in text


def test_a_wrong_default_is_told_where_it_stands():
    raw = swept({"train.seed": [0, 1]})
    raw["defaults"] = {"train": {"ema_dekay": 0.9}}
    text = problems(raw)
    assert "config has 1 problem:" in text and "defaults.train.ema_dekay: unknown key" in text


def test_several_sweeps_have_no_more_members_than_one_may():
    raw = swept({"train.seed": list(range(200))})
    raw["experiments"]["other"] = copy.deepcopy(raw["experiments"]["digits"])
    text = problems(raw)
    assert "config has 1 problem:" in text and "digits, other have 400 members together" in text


def test_as_many_members_as_there_may_be_fit_in_one_command():
    """Of rules compare and costs, with the longest names and a results_dir of 100 characters."""
    raw = swept({"train.seed": list(range(100, 100 + MOST_MEMBERS))})
    raw["results_dir"] = "/" + 99 * "r"
    experiment = raw["experiments"].pop("digits")
    raw["experiments"][71 * "e"] = experiment  # .seed-100: 80 characters
    dataset, sets = 80 * "d", [letter * 70 for letter in "st"]  # 230 with experiment and score
    raw["datasets"][dataset] = raw["datasets"].pop(experiment["dataset"])
    experiment["dataset"] = dataset
    experiment["samples"] = {name: {"images": 8} for name in sets}
    experiment["scores"] = {"c" * 80: {"features": "classifier"}}
    config = check_config(raw)
    assert {len(name) for name in config.experiments} == {80}
    evaluations, bests = (
        [f"{config.results_dir}/{name}/report/{file}" for name in config.experiments]
        for file in ("evaluation_results.csv", "best_scores.csv")
    )
    compare = " ".join([stages.compare_stage(config, []), *evaluations, *bests])
    for text in (compare, stages.costs_stage(config)):
        assert len(text) < LONGEST_ARGUMENT - 5_000  # for the rest of the command


def test_no_key_that_may_be_swept_has_the_name_of_a_column():
    stage = SweepStage.model_validate({"version": 1, "sweep": "s", "swept": {"keys": {"a": [0]}}})
    columns = {*sweep_table.columns(stage), *ranking_columns(stage)}
    allowed = set()
    for key in Experiment.model_fields:
        with contextlib.suppress(NoSuchKeyError):
            swept_key(Experiment, DEMO["experiments"]["digits"], key)
            allowed.add(key)
    # Paths of more than one key have dots, and columns have none.
    assert "autoencoder" in allowed and not allowed & columns


def test_the_summary_ranks_scores_of_another_fid_reference_apart(tmp_path):
    raw = swept({"train.batch_size": [8, 16]}) | {"results_dir": str(tmp_path)}
    stage = SweepStage.model_validate_json(stages.sweep_stage(check_config(raw), "digits"))
    row = dict.fromkeys(ranking_columns(stage), "1") | {"metric": "fid", "std": ""}
    rows = [row | {"fid_reference": reference} for reference in ("train", "published")]
    folder = tmp_path / "report" / "sweeps" / "digits"
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "ranking.csv", index=False)
    told = list(sweep_summary(check_config(raw), "digits", "make"))
    assert len([line for line in told if line.startswith("  by FID")]) == 2


def test_a_member_with_the_name_of_another_experiment_is_refused():
    raw = swept({"train.seed": [0, 1]})
    raw["experiments"]["digits.seed-1"] = copy.deepcopy(DEMO["experiments"]["digits"])
    assert "member digits.seed-1 has the name of another experiment" in problems(raw)


def test_a_sweep_may_come_from_the_defaults_and_be_refused_by_one():
    raw = copy.deepcopy(DEMO)
    raw["defaults"] = {"sweep": {"keys": {"train.seed": [0, 1]}}}
    raw["experiments"]["alone"] = {**raw["experiments"]["digits"], "sweep": None}
    assert list(check_config(raw).experiments) == ["digits.seed-0", "digits.seed-1", "alone"]


def test_the_config_that_jobs_read_has_the_same_members(tmp_path):
    raw = swept(RANDOM, method="random", count=5)
    read = read_config(frozen_config(raw, tmp_path))
    assert list(read.experiments) == list(check_config(raw).experiments)
    assert check_config(raw).sweeps == read.sweeps


def test_the_sweep_is_all_that_its_program_needs_to_know_the_members():
    config = check_config(swept(RANDOM, method="random", count=5))
    stage = SweepStage.model_validate_json(stages.sweep_stage(config, "digits"))
    assert members(stage.sweep, stage.swept) == config.sweeps["digits"].members
    assert stage.train_seed == 0


def test_a_sweep_of_two_hundred_does_not_swamp_the_report():
    config = check_config(swept({"train.seed": list(range(200))}))
    asked = targets.targets(config)
    of_members = [path for path in asked if "/digits.seed-" in path]
    assert len(of_members) == 200 * 5  # the loss, and a grid of each of four sets
    assert not any(path.endswith(".gif") for path in asked)
    assert not any(path.endswith(".gif") for path in targets.charged(config))
    assert "results/report/sweeps/digits/Ranking.png" in asked


def test_a_sweep_is_expanded_without_torch_or_numpy(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(swept(GRID)))
    code = (
        "import sys; from pathlib import Path; from ddpm_bench.planning import retries\n"
        f"from ddpm_bench.config.loading import read_config; read_config(Path({str(path)!r}))\n"
        "assert not {'torch', 'numpy', 'snakemake'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SCRIPTS)


def test_values_of_a_sweep_block_are_kept_as_they_are():
    sweep = Sweep.model_validate({"keys": RANDOM, "method": "random", "count": 3})
    assert Sweep.model_validate_json(sweep.model_dump_json(exclude_defaults=True)) == sweep
