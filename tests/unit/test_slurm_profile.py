"""The SLURM profile sends each rule where it belongs; needs no SLURM."""

import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PROFILE = yaml.safe_load((REPOSITORY / "profiles" / "slurm" / "config.yaml").read_text())
RULES = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))


def rules_with_a_gpu() -> set[str]:
    """Names of the rules whose resources ask for a GPU."""
    blocks = re.split(r"^rule (\w+):", RULES, flags=re.M)[1:]
    return {name for name, text in zip(blocks[::2], blocks[1::2], strict=True) if "gpu=" in text}


def test_every_rule_that_asks_for_a_gpu_goes_to_the_gpu_partition():
    assert "train" in rules_with_a_gpu()
    sent = {
        rule
        for rule, resources in PROFILE["set-resources"].items()
        if resources.get("slurm_partition") == "gpu"
    }
    assert sent == rules_with_a_gpu()


def test_only_rules_that_exist_are_named():
    names = set(re.findall(r"^rule (\w+):", RULES, flags=re.M))
    assert set(PROFILE["set-resources"]) <= names


def test_what_touches_the_network_runs_where_the_workflow_was_started():
    snakefile = (REPOSITORY / "Snakefile").read_text()
    local = re.search(r"localrules:\n((?:    \w+,\n)+)", snakefile)[1]
    assert {"fetch", "fetch_inception"} <= set(re.findall(r"\w+", local))
