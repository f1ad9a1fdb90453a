"""Jobs that would run after a change of one key of a config, asked of Snakemake itself.

The study is a finished one as far as Snakemake knows: its files are empty, and `--touch` has noted
what they were made from.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from places import REPOSITORY

from ddpm_bench.config.documentation import _inner_models


def finish(folder: Path, base: dict, target: str = "all") -> None:
    """Let Snakemake take the study of a config for finished, in its folder."""
    (jobs,) = dry_runs(folder, [base], target)
    assert isinstance(jobs, list), jobs
    for _, _, outputs in jobs:
        for output in outputs:
            path = folder / output
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (folder / "config.json").write_text(json.dumps(base))
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    touch = [
        *snakemake,
        "--configfile",
        "config.json",
        "--cores",
        "1",
        "--touch",
        "--forceall",
        target,
    ]
    subprocess.run(touch, cwd=folder, capture_output=True, check=True)


def dry_runs(folder: Path, configs: list[dict], target: str = "all") -> list[list | str]:
    """For each config the jobs that would run, as [rule, about, outputs], or an error."""
    program = Path(__file__).with_name("dry_runs.py")
    done = subprocess.run(
        [sys.executable, program, REPOSITORY / "Snakefile", target],
        cwd=folder, input=json.dumps(configs), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def with_value(base: dict, path: str, name: str, value: object) -> dict:
    """The config with another value at a path of the reference."""
    config = json.loads(json.dumps(base))  # a deepcopy would share what the blocks share
    block = config
    *blocks, key = [part.split(" ")[0] for part in path.replace(": ", ":").split(".")]
    names = iter([name, "set" if "samples" in blocks else "score"])
    for part in blocks:
        if part.endswith(")"):
            continue
        if part.endswith("[]"):
            block = block[part[:-2]][0]
            continue
        block = block.setdefault(next(names) if part == "<name>" else part, {})
    assert block.get(key, "none") != value
    block[key] = value
    return config


def keys_of(model, where: str = "") -> Iterator[str]:
    """Every key of the config, by its path in the reference."""
    for name, field in model.model_fields.items():
        inner = list(_inner_models(field.annotation, name))
        if not inner:
            yield f"{where}{field.alias or name}"
        for block, path in inner:
            yield from keys_of(block, f"{where}{path}.")
