#!/usr/bin/env python
"""Score images against others: FID, IS, KID, precision, recall and more from one pass.

On its own it scores a folder of images (or .npy files) against another folder, a prepared dataset
or an .npz, and prints a table: score.py --samples generated --reference photographs. The workflow
calls it with --what and with the features that reference_features.py wrote.
"""

import argparse
from pathlib import Path

from ddpm_bench.cli import keys, local_path, parser, run
from ddpm_bench.config.scoring import Score, ScoreRun, ScoreStage
from ddpm_bench.errors import UserError
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.scoring.given_files import check_given, given_weights
from ddpm_bench.scoring.options import option_fields, score_keys


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    options = parser(__doc__)
    add = options.add_argument
    add("--samples", type=local_path, nargs="+", required=True, help="a folder, or .npy files")
    add(
        "--reference",
        type=local_path,
        nargs="+",
        required=True,
        help="a folder, a dataset or an .npz",
    )
    add(
        "--weights",
        type=local_path,
        help="the network's; without it the published Inception's, which is downloaded once",
    )
    add("--output", type=local_path, help="JSON file to write")

    add = options.add_argument_group("on its own").add_argument
    add("--split", choices=("train", "eval", "all"), default="train", help="of a prepared dataset")
    add("--images", type=int, help="score the first N samples only; without it all")
    add("--features", default="inception", help="inception, dinov2 or classifier")
    add("--weights-sha256", help="of weights other than the published Inception's")
    add("--weights-name", help="name of those weights; of dinov2 vit-s-14, vit-b-14, ...")
    add(
        "--save-reference",
        type=local_path,
        help=".npz to write: the reference's features, for later",
    )
    for name, field in option_fields().items():
        add(f"--{name.replace('_', '-')}", default=field.default, help=field.description)

    add = options.add_argument_group("in the workflow").add_argument
    add("--what", type=keys(ScoreStage), help="JSON: the stage's keys")
    add("--how", type=keys(ScoreRun), default=ScoreRun(), help="JSON: the run keys")
    add(
        "--fid-reference",
        type=local_path,
        nargs="*",
        default=[],
        help="FID's, where it has its own",
    )
    add("--train", type=local_path, help="features of the training images")
    add("--heldout", type=local_path, nargs="?", help="features of the held-out images")
    add(
        "--nearest", type=local_path, help=".npz to write: distances to the nearest training images"
    )
    given = options.parse_args()
    if given.what is not None and (given.output is None or given.weights is None):
        options.error("--what needs --weights and --output")
    return given


def in_the_workflow(given: argparse.Namespace) -> None:
    """Score a checkpoint's samples against features that reference_features.py wrote."""
    from ddpm_bench.scoring.score_samples import ScoreFiles, write_scores

    files = ScoreFiles(
        samples=given.samples,
        reference=given.reference,
        weights=given.weights,
        fid_reference=given.fid_reference,
        train=given.train,
        heldout=given.heldout,
    )
    write_scores(given.what, files, given.how, given.output, given.nearest)


def on_its_own(given: argparse.Namespace) -> None:
    """Score any images against any others, and print a table."""
    chosen = score_keys(vars(given), given.weights, given.weights_sha256, given.weights_name)
    if len(given.reference) > 1:
        raise UserError("--reference is one folder or file: put the images in one folder")
    check_given(given.samples, given.reference[0])
    weights = given_weights(chosen, given.weights)
    with lease(1):
        score_given(given, chosen, weights)


def score_given(given: argparse.Namespace, chosen: Score, weights: Path) -> None:
    """Score what is asked for, on the GPU that is leased."""
    from ddpm_bench.scoring.score_folders import Request, report_scores

    request = Request(
        samples=given.samples,
        reference=given.reference[0],
        split=given.split,
        images=given.images,
        keys=chosen,
        weights=weights,
        save_reference=given.save_reference,
    )
    report_scores(request, given.output)


def main() -> None:
    given = arguments()
    if given.what is None:
        on_its_own(given)
    else:
        with lease(1):
            in_the_workflow(given)


if __name__ == "__main__":
    run(main)
