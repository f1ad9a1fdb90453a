"""Recorded failures of a config's jobs, and which of them are tried again.

The manifest of a failed training job names the checkpoints that were made before. Samples of other
checkpoints are files without images, and their scores are null.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

from ddpm_bench.config.experiment import Config
from ddpm_bench.planning.jobs import (
    checkpoint_steps,
    finished_jobs,
    manifest,
    manifest_of_checkpoint,
    sample_files,
)
from ddpm_bench.records.failures import (
    RecordedFailure,
    failure_of_checkpoint,
    how_keys,
    read_failed,
)
from ddpm_bench.records.layout import timing_file
from ddpm_bench.text import counted


def failed_jobs(config: Config, experiment: str) -> dict[Path, RecordedFailure]:
    """Return the failures of an experiment's training jobs by their manifests, in order."""
    jobs = sorted(finished_jobs(config, experiment))
    paths = [Path(manifest(config, experiment, *job)) for job in jobs]
    found = {path: read_failed(path) for path in paths}
    return {path: failed for path, failed in found.items() if failed is not None}


def failure_of(config: Config, experiment: str) -> RecordedFailure | None:
    """Return the first failure of an experiment's training; None without one."""
    return next(iter(failed_jobs(config, experiment).values()), None)


def remedy(config: Config, experiment: str) -> str:
    """Return what to do about the failure of an experiment's training, as text."""
    path = next(iter(failed_jobs(config, experiment)))
    return f"it is tried again when train.run changes, or {path} is deleted"


def failed_drawings(config: Config, experiment: str) -> Iterator[tuple[str, Path, RecordedFailure]]:
    """Yield set, file and failure of samples that could not be drawn from existing checkpoints."""
    for samples, keys in config.experiments[experiment].samples.items():
        for step in checkpoint_steps(config, experiment, samples):
            for path in map(Path, sample_files(config, experiment, samples, step)):
                failed = read_failed(timing_file(path))
                if failed is None:
                    continue
                manifest = Path(manifest_of_checkpoint(config, experiment, step))
                if failure_of_checkpoint(manifest, step, keys.ema_sigma_rel) is None:
                    yield samples, path, failed


def drawing_notes(config: Config, experiment: str) -> Iterator[str]:
    """Yield a note for each set with failed files: their number, the reason and a remedy."""
    found = failed_drawings(config, experiment)
    for samples, drawings in itertools.groupby(found, key=lambda drawing: drawing[0]):
        _, paths, failures = zip(*drawings, strict=True)
        yield (
            f"samples {samples}: {counted(len(paths), 'file')} failed: {failures[0].in_words()} "
            f"(tried again when samples.{samples}.run changes, or {timing_file(paths[0])} "
            "is deleted)"
        )


def to_try_again(config: Config) -> Iterator[tuple[str, list[Path]]]:
    """Yield what failed with other `run` keys than the config has now, and the failures' files.

    When these are deleted, the training goes on from the last saved state, and samples are drawn
    again.
    """
    for name, keys in config.experiments.items():
        failed = failed_jobs(config, name)
        if failed and next(iter(failed.values())).how != how_keys(keys.train.run):
            yield name, list(failed)
        drawings = failed_drawings(config, name)
        for samples, found in itertools.groupby(drawings, key=lambda drawing: drawing[0]):
            how = how_keys(keys.samples[samples].run)
            paths = [path for _, path, failed in found if failed.how != how]
            if paths:
                files = [file for path in paths for file in (timing_file(path), path)]
                yield f"{name}: samples {samples}", files
