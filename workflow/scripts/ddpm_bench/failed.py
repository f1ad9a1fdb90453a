"""What failed and was recorded: in manifests of training jobs, and beside samples.

Such a manifest names the checkpoints that were made before, samples of others are no images, and
their scores are null. Imported at DAG time: the standard library and the configuration only.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_bench import plan
from ddpm_bench.config.block import Failing
from ddpm_bench.config.experiment import Config

TELLS = '"failed"'  # in the text of the files that tell of a failure


@dataclass(frozen=True)
class Failed:
    """Why something could not be made. step: the last that a training has saved, or the checkpoint
    that was to be drawn from; how: the `run` keys that it failed with, without defaults."""

    status: str
    reason: str
    step: int
    how: dict[str, Any]

    def in_words(self) -> str:
        """As "out of memory: 3.2 GB more could not be had; lower ..."."""
        return f"{self.status}: {self.reason}"


def how_keys(run: Failing) -> dict[str, Any]:
    """A `run` block without defaults, to see later whether another try may end otherwise."""
    return run.model_dump(mode="json", exclude_defaults=True)


def read_failed(path: Path) -> Failed | None:
    """What a manifest, or the file beside samples, tells of a failure; None where it tells of none,
    or is missing."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text).get("failed") if TELLS in text else None
    except (OSError, ValueError):
        return None
    return None if found is None else Failed(**found)


def failure_before(manifest: Path, first: int) -> Failed | None:
    """The failure of the job that a training job goes on from; both lie in one folder."""
    jobs = manifest.parent.glob(f"job-*-{plan.padded_step(first)}.json") if first else ()
    found = (read_failed(path) for path in jobs)
    return next((failed for failed in found if failed is not None), None)


def failure_of_checkpoint(manifest: Path, step: int, sigma_rel: float | None) -> Failed | None:
    """Why a checkpoint was never made; None where it was, or its manifest tells of no failure."""
    failed = read_failed(manifest)
    if failed is None:
        return None
    checkpoints = json.loads(manifest.read_text(encoding="utf-8"))["checkpoints"]
    made = {(entry["step"], entry.get("ema_sigma_rel")) for entry in checkpoints}
    return None if (step, sigma_rel) in made else failed


def failure_of_samples(files: Sequence[Path]) -> Failed | None:
    """Why the images of a set could not be drawn, from what lies beside its files; None where they
    were."""
    found = (read_failed(path.with_suffix(".json")) for path in files)
    return next((failed for failed in found if failed is not None), None)


def failed_jobs(config: Config, experiment: str) -> dict[Path, Failed]:
    """The manifests of an experiment's training jobs that tell of a failure, in order."""
    jobs = sorted(plan.finished_jobs(config, experiment))
    paths = [Path(plan.manifest(config, experiment, *job)) for job in jobs]
    found = {path: read_failed(path) for path in paths}
    return {path: failed for path, failed in found.items() if failed is not None}


def failure_of(config: Config, experiment: str) -> Failed | None:
    """Why an experiment's training failed; None where it did not (yet)."""
    return next(iter(failed_jobs(config, experiment).values()), None)


def remedy(config: Config, experiment: str) -> str:
    """What to do about it, in words."""
    path = next(iter(failed_jobs(config, experiment)))
    return f"it is tried again when train.run changes, or {path} is deleted"


def failed_drawings(config: Config, experiment: str) -> Iterator[tuple[str, Path, Failed]]:
    """The samples that could not be drawn from checkpoints that were made: set, file and why."""
    for samples, keys in config.experiments[experiment].samples.items():
        for step in plan.checkpoint_steps(config, experiment, samples):
            for path in map(Path, plan.sample_files(config, experiment, samples, step)):
                failed = read_failed(path.with_suffix(".json"))
                if failed is None:
                    continue
                manifest = Path(plan.manifest_of_checkpoint(config, experiment, step))
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
