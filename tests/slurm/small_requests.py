"""What the tests' small jobs ask SLURM for: the profile's partitions, and less memory and time.

`--set-resources` replaces all of the profile's, so what stays is said again.
"""

import re

import yaml
from places import REPOSITORY

PROFILE = REPOSITORY / "profiles" / "slurm" / "config.yaml"
RULES = "\n".join(path.read_text() for path in (REPOSITORY / "workflow" / "rules").glob("*.smk"))
MEMORY_MB = 1500
RUNTIME_MINUTES = 10
POLL_SECONDS = 5


def small_requests(**changes: dict[str, object]) -> list[str]:
    """Options of snakemake; `changes`: of a rule's resources, such as train={"mem_mb": 900}."""
    profile = yaml.safe_load(PROFILE.read_text())
    options = ["--default-resources"]
    for key, value in {**profile["default-resources"], **_small()}.items():
        options.append(f"{key}={value}")
    options.append("--set-resources")
    rules = profile["set-resources"]
    for rule in re.findall(r"^rule (\w+):", RULES, flags=re.M):
        asked = {**rules.get(rule, {}), **_small(), **changes.get(rule, {})}
        options += [f"{rule}:{key}={value}" for key, value in asked.items()]
    return [*options, "--slurm-init-seconds-before-status-checks", str(POLL_SECONDS)]


def _small() -> dict[str, int]:
    return {"mem_mb": MEMORY_MB, "runtime": RUNTIME_MINUTES}
