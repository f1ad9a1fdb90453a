"""Samples whose weights `keep` has removed: they cannot be drawn again, and stay as they are."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_if_there
from ddpm_bench.planning.earlier_samples import drawing_version
from ddpm_bench.planning.jobs import sample_files
from ddpm_bench.records import layout
from ddpm_bench.records.job_record import JobRecords
from ddpm_bench.records.manifests import CurrentTraining

# The version of samples without a record of their job.
UNRECORDED = 3
SAMPLES = layout.matcher(layout.SAMPLES)


def are_removed(config: Config, experiment: str, samples: str, step: int) -> bool:
    """Return True if `keep` has removed the weights from which samples of a step are drawn."""
    width = config.experiments[experiment].samples[samples].ema_sigma_rel
    current = layout.current_training(config.results_dir, experiment)
    return layout.weights_name(step, width) in _removed(config.results_dir, experiment, current)


def _removed(results: str, experiment: str, current: Path) -> frozenset[str]:
    """Return the names of the removed files of the present training."""
    try:
        fingerprint = _fingerprint(current, current.stat().st_mtime_ns)
        record = layout.removed_weights(results, experiment, fingerprint)
        return _names(record, record.stat().st_mtime_ns)
    except OSError:
        return frozenset()


# Asked for each checkpoint of each set: a file is read again when it has changed.
@functools.lru_cache
def _fingerprint(current: Path, changed: int) -> str:
    found = CurrentTraining.read_if_there(current)
    return "" if found is None else found.fingerprint


@functools.lru_cache
def _names(record: Path, changed: int) -> frozenset[str]:
    return frozenset(read_if_there(record) or ())


def samples_version(config: Config, experiment: str, samples: str, step: int) -> int:
    """Return the version of drawing that samples of a step are to have.

    Where the weights are removed it is that of the samples there are.
    """
    present = drawing_version("sample", config.experiments[experiment], samples)
    if not are_removed(config, experiment, samples, step):
        return present
    first, *_ = sample_files(config, experiment, samples, step)
    if not Path(first).exists():
        return present
    record = JobRecords(config.results_dir, config.resources_dir).read(first)
    return UNRECORDED if record is None else int(record.params["what"]["version"])


def check_kept_samples(config: Config, outputs: Iterable[str]) -> None:
    """Raise UserError if a job would draw samples again whose weights are removed.

    Snakemake deletes the outputs of a job before it runs, and the samples would be lost.
    outputs: of the jobs that a run will run.
    """
    found: dict[tuple[str, str], set[int]] = {}
    for path, match in _samples(config, outputs):
        names = match["experiment"], match["samples"]
        if names[0] in config.experiments and Path(path).exists():
            step = int(match["step"])
            if are_removed(config, *names, step):
                found.setdefault(names, set()).add(step)
    if found:
        (experiment, samples), steps = next(iter(found.items()))
        shown = ", ".join(f"{step:,}" for step in sorted(steps))
        raise UserError(
            f"experiments.{experiment}.samples.{samples}: the samples of step {shown} would be "
            "drawn again, and `keep` has removed the weights; they would be lost. Put the set's "
            "keys back, or give the new ones another name, with checkpoints: [...] of weights that "
            "are kept. No job has run"
        )


def _samples(config: Config, outputs: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """Yield the files of samples among some files, each with its match of the pattern."""
    root = f"{config.results_dir}/"
    for path in outputs:
        match = SAMPLES.fullmatch(path.removeprefix(root)) if path.startswith(root) else None
        if match:
            yield path, match
