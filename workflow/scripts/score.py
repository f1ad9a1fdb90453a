#!/usr/bin/env python
"""Score images against others: FID, IS, KID, precision, recall and more from one pass.

On its own it scores a folder of images (or .npy files) against another folder, a prepared dataset
or an .npz, and prints a table: score.py --samples generated --reference photographs. The workflow
calls it with --what and with what reference_features.py wrote.
"""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.scoring import Score, ScoreRun, ScoreSettings, ScoreStage
from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.records.failures import failure_of_samples

# Which checkpoints share a cluster job is no matter of one pass.
RUN_FIELDS = {
    name: field for name, field in ScoreRun.model_fields.items() if name != "checkpoints_per_job"
}


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    add = options.add_argument
    add("--samples", type=Path, nargs="+", required=True, help="a folder, or .npy files")
    add("--reference", type=Path, nargs="+", required=True, help="a folder, a dataset or an .npz")
    add("--weights", type=Path, help="the network's; the published Inception's without it")
    add("--output", type=Path, help="JSON file to write")

    add = options.add_argument_group("on its own").add_argument
    add("--split", choices=("train", "eval", "all"), default="train", help="of a prepared dataset")
    add("--images", type=int, help="the first N of the samples; all without it")
    add("--features", default="inception", help="inception, dinov2 or classifier")
    add("--weights-sha256", help="of weights other than the published Inception's")
    add("--weights-name", help="what those are called; of dinov2 vit-s-14, vit-b-14, ...")
    add("--save-reference", type=Path, help=".npz to write: the reference's features, for later")
    for name, field in (ScoreSettings.model_fields | RUN_FIELDS).items():
        add(f"--{name.replace('_', '-')}", default=field.default, help=field.description)

    add = options.add_argument_group("in the workflow").add_argument
    add("--what", type=keys(ScoreStage), help="JSON: the stage's keys")
    add("--how", type=keys(ScoreRun), default=ScoreRun(), help="JSON: the run keys")
    add("--fid-reference", type=Path, nargs="*", default=[], help="FID's, where it has its own")
    add("--train", type=Path, help="features of the training images")
    add("--heldout", type=Path, nargs="?", help="features of the held-out images")
    add("--nearest", type=Path, help=".npz to write: distances to the nearest training images")
    given = options.parse_args()
    if given.what is not None and (given.output is None or given.weights is None):
        options.error("--what needs --weights and --output")
    return given


def in_the_workflow(given: argparse.Namespace) -> None:
    from ddpm_bench.records.nearest import write_nearest
    from ddpm_bench.scoring.score_samples import ScoreFiles, score_samples, without_scores

    files = ScoreFiles(
        samples=given.samples,
        reference=given.reference,
        weights=given.weights,
        fid_reference=given.fid_reference,
        train=given.train,
        heldout=given.heldout,
    )
    failed = failure_of_samples(files.samples)
    if failed is None:
        scored = score_samples(given.what, files, given.how)
    else:
        print(f"nothing to score: {failed.in_words()}", file=sys.stderr)
        scored = without_scores(given.what, files, f"no images: {failed.in_words()}")
    if given.nearest is not None:
        write_nearest(given.nearest, scored.nearest)
    write_json(given.output, scored.record)


def score_keys(given: argparse.Namespace) -> Score:
    """The keys that the config would hold for this score."""
    keys = {name: getattr(given, name) for name in ScoreSettings.model_fields}
    keys["run"] = {name: getattr(given, name) for name in RUN_FIELDS}
    if given.weights_sha256 is not None:
        other = {"sha256": given.weights_sha256, "name": given.weights_name}
        keys["weights"] = {"path": str(given.weights), **other}
    try:
        return Score(features=given.features, **keys)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc']))} {one['msg']}" for one in error.errors())
        raise UserError(f"the options do not fit: {'; '.join(problems)}") from None


def on_its_own(given: argparse.Namespace) -> None:
    keys = score_keys(given)
    if len(given.reference) > 1:
        raise UserError("--reference is one folder or file: put the images in one folder")
    from ddpm_bench.scoring.score_folders import (
        DEFAULT_WEIGHTS,
        Request,
        score_images,
        summary_lines,
    )

    request = Request(
        samples=given.samples,
        reference=given.reference[0],
        split=given.split,
        images=given.images,
        keys=keys,
        weights=given.weights or DEFAULT_WEIGHTS,
        save_reference=given.save_reference,
    )
    record = score_images(request)
    print("\n".join(summary_lines(record)))
    if given.output is not None:
        write_json(given.output, record)


def main() -> None:
    given = arguments()
    with lease(1):
        on_its_own(given) if given.what is None else in_the_workflow(given)


if __name__ == "__main__":
    run(main)
