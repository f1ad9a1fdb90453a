#!/usr/bin/env python
"""Measure one cell of the throughput benchmark: how fast a model trains in one way on one machine.

Starts the processes of the cell, on several nodes through srun, and leaves a record of what they
measured, or of why they could not: out of memory, unsupported, crashed, timed out. The exit status
is 0 whatever happens to them; only a signal to stop, or arguments that cannot be, end it without a
record.
"""

import os
import secrets
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.benchmark import CellRun, CellStage
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, write_json
from ddpm_bench.machine.gpu_leases import lease, present_devices
from ddpm_bench.machine.host import Use
from ddpm_bench.machine.launch import (
    Ended,
    Share,
    die_with_the_launcher,
    free_port,
    is_share_of_several,
    report_ended,
    this_share,
)
from ddpm_bench.machine.memory_limit import lift_ceiling, stay_below
from ddpm_bench.machine.process_failures import ProcessFailure, failure_file, write_failure
from ddpm_bench.machine.slurm_job import job_id
from ddpm_bench.records.cell_record import CellRecord, Environment, Measurement, in_a_line
from ddpm_bench.throughput.cell_environment import as_on_cpus, environment
from ddpm_bench.throughput.cell_failures import ceiling_bytes, why
from ddpm_bench.throughput.cell_processes import (
    CEILING,
    CELL_FOLDER,
    LAUNCHER,
    Launch,
    NodeOutcome,
    run_nodes,
    run_workers,
    word_of_node,
)
from ddpm_bench.throughput.unsupported import Machine, known_reason

MEASUREMENT = "measurement.json"


def arguments():
    options = parser(__doc__)
    options.add_argument("--what", type=keys(CellStage), required=True, help="keys, JSON or @file")
    options.add_argument("--how", type=keys(CellRun), default="{}", help="the run: block, JSON")
    options.add_argument(
        "--images", type=Path, nargs="?", help="train.npy of a prepared dataset; else random images"
    )
    options.add_argument("--output", type=Path, required=True, help="the cell's record, JSON")
    return options.parse_args()


def main() -> int:
    args = arguments()
    if LAUNCHER in os.environ:
        return run_cell_process(args)
    if is_share_of_several():
        return measure_share(args)
    return measure_cell(args)


def measure_cell(args) -> int:
    stage, gpus = args.what, present_devices()
    cores = len(os.sched_getaffinity(0))
    reason = known_reason(stage, Machine(len(gpus), cores, job_id() is not None))
    if reason is not None:
        found = environment(stage, Use.begin(gpus[: stage.cell.processes]))
        return record(args, found, ProcessFailure("unsupported", reason), None)
    with scratch_folder(args.output) as folder:
        if stage.cell.nodes > 1:
            found = environment(stage, Use.begin(gpus[: stage.cell.processes]))
            outcome = run_nodes(stage, args.how.minutes_per_cell, folder)
        else:
            with lease(stage.cell.processes) as leased:
                found = environment(stage, Use.begin(leased))
                share = Share(meeting_point=f"localhost:{free_port()}")
                outcome = run_workers(launch(args, folder, share, leased))
        if outcome.signal is not None:
            return 128 + outcome.signal
        return record(args, found, outcome.failure, measurement_in(folder))


def launch(args, folder: Path, share: Share, leased: list[str]) -> Launch:
    cell, measuring = args.what.cell, args.what.measuring
    return Launch(
        command=sys.argv,
        processes=cell.processes,
        cpus=measuring.cpus,
        minutes=args.how.minutes_per_cell,
        folder=folder,
        # On GPUs memory is theirs, and bounded where it is taken.
        ceiling_bytes=None if leased else ceiling_bytes(measuring, cell.processes),
        on_cpus=not leased,
        share=share,
    )


@contextmanager
def scratch_folder(output: Path) -> Iterator[Path]:
    """A folder beside the record, which all nodes of a cell see; removes those of killed starts."""
    for leftover in output.parent.glob(f".{escape(output.stem)}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = output.absolute().with_name(f".{output.stem}.{secrets.token_hex(8)}.partial")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measurement_in(folder: Path) -> Measurement | None:
    path = folder / MEASUREMENT
    return Measurement.model_validate(read_json(path)) if path.exists() else None


def measure_share(args) -> int:
    """The part of one node; a failure is left in the cell's folder and ends the other nodes."""
    share, folder = this_share(args.what.cell.nodes), Path(os.environ[CELL_FOLDER])
    try:
        with lease(args.what.cell.processes) as leased:
            outcome = run_workers(launch(args, folder, share, leased))
    except UserError as error:
        outcome = NodeOutcome(ProcessFailure("unsupported", str(error)))
    status = 0
    if outcome.failure is not None:
        write_failure(word_of_node(folder, share.rank), outcome.failure)
        status = 1
    if outcome.signal is not None:
        status = 128 + outcome.signal
    report_ended(share, Ended(status, outcome.signal))
    return status


def run_cell_process(args) -> int:
    die_with_the_launcher()
    if os.getppid() != int(os.environ[LAUNCHER]):  # which has died before it could be said
        return 1
    folder, measuring = Path(os.environ[CELL_FOLDER]), args.what.measuring
    ceiling = int(os.environ[CEILING]) if CEILING in os.environ else None
    try:
        import numpy as np

        from ddpm_bench.throughput.measurement import measure

        if ceiling is not None:
            stay_below(ceiling)
        images = np.load(args.images, mmap_mode="r", allow_pickle=False) if args.images else None
        measurement = measure(args.what, images)
        if measurement is not None:
            write_json(folder / MEASUREMENT, measurement.model_dump(mode="json"))
    except BaseException as error:  # a model may be a user's own: whatever it raises is told
        if ceiling is not None:
            lift_ceiling()
        failure = why(error, measuring, ceiling)
        if failure.status != "unsupported":
            traceback.print_exc()
        write_failure(failure_file(folder, int(os.environ["RANK"])), failure)
        return 1
    sys.stderr.flush()
    os._exit(0)  # all is written, and the interpreter takes a second to forget torch


def record(
    args, found: Environment, failure: ProcessFailure | None, measurement: Measurement | None
) -> int:
    if failure is None and measurement is None:
        failure = ProcessFailure("crashed", "its processes ended and left no measurement")
    if failure is not None:
        measurement = None
    elif measurement.memory != "GPU, allocated":
        found = as_on_cpus(args.what, found)
    result = CellRecord(
        cell=args.what.cell,
        status=failure.status if failure else "ok",
        reason=failure.reason if failure else None,
        environment=found,
        measurement=measurement,
    )
    write_json(args.output, result.model_dump(mode="json"))
    print(in_a_line(result), file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    run(main)
