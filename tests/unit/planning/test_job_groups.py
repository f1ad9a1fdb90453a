"""Checkpoints that share a cluster job."""

import copy

import yaml
from places import REPOSITORY

from ddpm_bench.config.loading import check_config
from ddpm_bench.planning import jobs
from ddpm_bench.planning.job_groups import ALL_GROUPS, SharedJobs

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def test_checkpoints_that_share_a_cluster_job_are_made_by_one_training_job(tmp_path):
    raw = copy.deepcopy(DEMO)
    raw["results_dir"] = str(tmp_path)
    digits = raw["experiments"]["digits"]
    digits["train"] |= {"steps": 2400, "run": {"steps_per_job": 1200}}
    alone = check_config(raw)
    digits["samples"]["dpm20"]["run"] = {"checkpoints_per_job": 3}
    digits["scores"]["classifier"]["run"] = {"checkpoints_per_job": 8}
    together = check_config(raw)
    steps = jobs.checkpoint_steps(together, "digits", "dpm20")  # 300 to 2400

    def groups(config, *score):
        names = [SharedJobs(config, {}).name("digits", "dpm20", step, *score) for step in steps]
        return [names.index(name) for name in names] if None not in names else None

    assert groups(together) == [0, 0, 0, 3, 4, 4, 4, 7]  # 1,200 steps each, four checkpoints
    assert groups(together, "classifier") == [0] * 4 + [4] * 4
    assert groups(alone) is None
    drawn = {SharedJobs(together, {}).name("digits", "dpm20", step) for step in steps}
    assert drawn.isdisjoint(
        SharedJobs(together, {}).name("digits", "dpm20", step, "classifier") for step in steps
    )


def test_the_profile_joins_every_group_and_lets_its_members_take_turns():
    profile = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text())
    (components,) = profile["group-components"]
    name, most = components.split("=")
    assert name == ALL_GROUPS
    assert int(most) >= 1000
    assert profile["resources"] == ["turn=1"]
