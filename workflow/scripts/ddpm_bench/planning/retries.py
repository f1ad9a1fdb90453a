"""What failed and was recorded: in manifests of training jobs, and beside samples.

Such a manifest names the checkpoints that were made before, samples of others are no images, and
their scores are null. Imported at DAG time: the standard library and the configuration only.
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


def failed_jobs(config: Config, experiment: str) -> dict[Path, RecordedFailure]:
    """The manifests of an experiment's training jobs that tell of a failure, in order."""
    jobs = sorted(finished_jobs(config, experiment))
    paths = [Path(manifest(config, experiment, *job)) for job in jobs]
    found = {path: read_failed(path) for path in paths}
    return {path: failed for path, failed in found.items() if failed is not None}


def failure_of(config: Config, experiment: str) -> RecordedFailure | None:
    """Why an experiment's training failed; None where it did not (yet)."""
    return next(iter(failed_jobs(config, experiment).values()), None)


def remedy(config: Config, experiment: str) -> str:
    """What to do about it, in words."""
    path = next(iter(failed_jobs(config, experiment)))
    return f"it is tried again when train.run changes, or {path} is deleted"


def failed_drawings(config: Config, experiment: str) -> Iterator[tuple[str, Path, RecordedFailure]]:
    """The samples that could not be drawn from checkpoints that were made: set, file and why."""
    for samples, keys in config.experiments[experiment].samples.items():
        for step in checkpoint_steps(config, experiment, samples):
            for path in map(Path, sample_files(config, experiment, samples, step)):
                failed = read_failed(path.with_suffix(".json"))
                if failed is None:
                    continue
                manifest = Path(manifest_of_checkpoint(config, experiment, step))
                if failure_of_checkpoint(manifest, step, keys.ema_sigma_rel) is None:
                    yield samples, path, failed


def drawing_notes(config: Config, experiment: str) -> Iterator[str]:
    """Of each set that could not be drawn everywhere: how much of it, why, and what to do."""
    found = failed_drawings(config, experiment)
    for samples, drawings in itertools.groupby(found, key=lambda drawing: drawing[0]):
        _, paths, failures = zip(*drawings, strict=True)
        files = "1 file" if len(paths) == 1 else f"{len(paths):,} files"
        yield (
            f"samples {samples}: {files} failed: {failures[0].in_words()} (tried again when "
            f"samples.{samples}.run changes, or {paths[0].with_suffix('.json')} is deleted)"
        )


def to_try_again(config: Config) -> Iterator[tuple[str, list[Path]]]:
    """What failed with other `run` keys than the config has now, and the files that tell of it.

    Without them an experiment is trained again, from the last saved state, and samples are drawn.
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
                files = [file for path in paths for file in (path.with_suffix(".json"), path)]
                yield f"{name}: samples {samples}", files
