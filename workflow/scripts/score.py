#!/usr/bin/env python
"""Score a checkpoint's samples: FID, IS, KID, precision and recall from one pass of one network."""

from pathlib import Path

from ddpm_bench.config.scoring import ScoreRun, ScoreStage
from ddpm_bench.devices import lease
from ddpm_bench.files import write_json
from ddpm_bench.program import keys, parser, run


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(ScoreStage), required=True, help="JSON: the stage's keys"
    )
    arguments.add_argument(
        "--how", type=keys(ScoreRun), default=ScoreRun(), help="JSON: the run keys"
    )
    arguments.add_argument(
        "--samples", type=Path, nargs="+", required=True, help="images-<first>-<last>.npy files"
    )
    arguments.add_argument(
        "--reference", type=Path, required=True, help="what reference_features.py wrote"
    )
    arguments.add_argument(
        "--weights", type=Path, required=True, help="classifier.safetensors or the Inception file"
    )
    arguments.add_argument("--output", type=Path, required=True, help="JSON file to write")
    given = arguments.parse_args()

    with lease(1):
        from ddpm_bench.scoring import score_samples

        scores = score_samples(given.what, given.samples, given.reference, given.weights, given.how)
    write_json(given.output, scores)


if __name__ == "__main__":
    run(main)
