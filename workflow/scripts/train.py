#!/usr/bin/env python
"""Train one job of an experiment: from its last saved state to the job's last step.

Saves the resumable state every `save_seconds`, on SIGTERM and SIGUSR1 (exit status 75: start it
again and it goes on), and at the end; checkpoints of EMA weights at the multiples of
`checkpoint_every`. Several processes (`gpus` of --how) are started through torchrun's agent, on
several nodes (`nodes` of --how) inside a SLURM job through srun. After SIGUSR1, SLURM's warning
before the wall time is over, its job is sent into the queue again where the cluster allows that.

With `on_failure: record` of --how a training that runs out of memory, diverges or crashes leaves a
manifest with the failure and the checkpoints that it has made, and the exit status is 0.
"""

import argparse
import sys
from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.score_sizes import TrainJobRun
from ddpm_bench.config.training import TrainStage
from ddpm_bench.training.description import JobRequest
from ddpm_bench.training.job import run_job
from ddpm_bench.training.needed_images import refuse_too_few_images


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--what", type=keys(TrainStage), required=True, help="keys, JSON or @file")
    options.add_argument("--how", type=keys(TrainJobRun), default="{}", help="the run: block, JSON")
    options.add_argument("--dataset", type=Path, required=True, help="folder of a prepared dataset")
    options.add_argument("--experiment", type=Path, required=True, help="folder of its results")
    options.add_argument("--first", type=int, default=0, help="step that the job goes on from")
    options.add_argument("--last", type=int, required=True, help="step that the job ends at")
    options.add_argument(
        "--init-from", nargs="?", help="file of the weights that init_from of --what names"
    )
    options.add_argument("--output", type=Path, required=True, help="the job's manifest, JSON")
    options.add_argument(
        "--renew-seconds",
        type=float,
        default=10.0,
        help="how often it shows that it lives; nine times that without a sign, and a trainer on "
        "another machine may take over",
    )
    return options.parse_args()


def main() -> int:
    given = arguments()
    refuse_too_few_images(given.how.needed, given.dataset)
    given.how = given.how.settings()
    return run_job(JobRequest(**vars(given), command=sys.argv))


if __name__ == "__main__":
    run(main)
