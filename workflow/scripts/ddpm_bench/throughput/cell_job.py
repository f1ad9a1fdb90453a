"""The job of one cell of the throughput benchmark, from its arguments to its record.

A program that hands its arguments to `run_cell_job` runs in three roles. Started by a user or a
workflow, it starts the processes of the cell and writes the record. On several nodes, srun starts
it once on each node, where it starts that node's processes. In each of these processes it measures.
Only the last of them imports torch.
"""

import os
import secrets
import shutil
import sys
import traceback
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from ddpm_bench.config.benchmark import CellMeasuring
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, with_checksum, write_json
from ddpm_bench.machine.compute_device import check_gpu_in_another_process
from ddpm_bench.machine.gpu_leases import lease
from ddpm_bench.machine.gpu_listing import present_devices
from ddpm_bench.machine.host import Use, usable_cores
from ddpm_bench.machine.launch import (
    Ended,
    Share,
    die_with_the_launcher,
    free_port,
    is_share_of_several,
    report_ended,
    this_share,
)
from ddpm_bench.machine.memory_limit import lift_ceiling, share_bytes, stay_below
from ddpm_bench.machine.process_failures import ProcessFailure, failure_file, write_failure
from ddpm_bench.machine.process_group import LOOPBACK
from ddpm_bench.machine.slurm_job import job_id
from ddpm_bench.records.cell_record import CellRecord, Environment, Measurement, in_a_line
from ddpm_bench.records.checksums import check_file
from ddpm_bench.throughput.cell_environment import environment, on_cpus
from ddpm_bench.throughput.cell_failures import failure_of
from ddpm_bench.throughput.cell_processes import (
    CEILING,
    CELL_FOLDER,
    LAUNCHER,
    Launch,
    NodeOutcome,
    node_failure_file,
    run_nodes,
    run_workers,
)
from ddpm_bench.throughput.unsupported import Machine, known_reason

MEASUREMENT = "measurement.json"


def run_cell_job(args: Namespace) -> int:
    """Run the role of this process in a cell's job and return its exit status.

    args: `what`, the CellStage; `how`, the CellRun; `images`, the path of a dataset's train.npy
    (uint8 [N, H, W, C]) or None; `output`, the path of the record.
    """
    if LAUNCHER in os.environ:
        return run_cell_process(args)
    if is_share_of_several():
        return measure_share(args)
    return measure_cell(args)


def measure_cell(args: Namespace) -> int:
    """Measure a cell in processes of its own, write its record and return the exit status.

    The status is 0 whether or not the cell could be measured, and 128 + n after a signal n to stop,
    which leaves no record. Raises UserError, with no record, where there are GPUs that torch cannot
    use.
    """
    if args.images is not None:
        check_file(args.images)
    stage, gpus = args.what, present_devices()
    cores = usable_cores(sys.maxsize)
    reason = known_reason(stage, Machine(len(gpus), cores, job_id() is not None))
    if reason is not None:
        found = environment(stage, Use.begin(gpus[: stage.cell.processes]))
        return write_record(args, found, ProcessFailure("unsupported", reason), None)
    with scratch_folder(args.output) as folder:
        if stage.cell.nodes > 1:
            found = environment(stage, Use.begin(gpus[: stage.cell.processes]))
            outcome = run_nodes(stage, args.how.minutes_per_cell, folder)
        else:
            with lease(stage.cell.processes) as leased:
                if leased:
                    check_gpu_in_another_process()
                found = environment(stage, Use.begin(leased))
                share = Share(meeting_point=f"{LOOPBACK}:{free_port()}")
                outcome = run_workers(launch_of(args, folder, share, leased))
        if outcome.signal is not None:
            return 128 + outcome.signal
        return write_record(args, found, outcome.failure, measurement_in(folder))


def launch_of(args: Namespace, folder: Path, share: Share, leased: list[str]) -> Launch:
    """Return how this node starts the processes of a cell.

    folder: of the cell's scratch files; leased: the GPUs of this node, none on CPUs.
    """
    cell, measuring = args.what.cell, args.what.measuring
    # On GPUs the processes themselves limit the memory that they take.
    ceiling = None if leased else share_bytes(measuring.memory_mb_per_process, cell.processes)
    return Launch(
        command=sys.argv,
        processes=cell.processes,
        cpus=measuring.cpus,
        minutes=args.how.minutes_per_cell,
        folder=folder,
        ceiling_bytes=ceiling,
        on_cpus=not leased,
        share=share,
    )


@contextmanager
def scratch_folder(output: Path) -> Iterator[Path]:
    """Make a folder beside the record, which all nodes of a cell see, for as long as the block
    lasts; remove those that killed starts left behind."""
    for leftover in output.parent.glob(f".{escape(output.stem)}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = output.absolute().with_name(f".{output.stem}.{secrets.token_hex(8)}.partial")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measurement_in(folder: Path) -> Measurement | None:
    """Read the measurement that the first process of a cell wrote; None if there is none."""
    path = folder / MEASUREMENT
    return Measurement.model_validate(read_json(path)) if path.exists() else None


def measure_share(args: Namespace) -> int:
    """Run one node's processes of a cell on several nodes and return the exit status.

    A failure is written into the cell's folder, and its status makes srun end the other nodes.
    """
    share, folder = this_share(args.what.cell.nodes), Path(os.environ[CELL_FOLDER])
    try:
        with lease(args.what.cell.processes) as leased:
            outcome = run_workers(launch_of(args, folder, share, leased))
    except UserError as error:
        outcome = NodeOutcome(ProcessFailure("unsupported", str(error)))
    status = 0
    if outcome.failure is not None:
        write_failure(node_failure_file(folder, share.rank), outcome.failure)
        status = 1
    if outcome.signal is not None:
        status = 128 + outcome.signal
    report_ended(share, Ended(status, outcome.signal))
    return status


def run_cell_process(args: Namespace) -> int:
    """Measure as one process of a cell; write the measurement or the failure into its folder.

    Returns the exit status of a failure; a process that succeeds ends here.
    """
    die_with_the_launcher()
    if os.getppid() != int(os.environ[LAUNCHER]):  # it died before that call took effect
        return 1
    folder = Path(os.environ[CELL_FOLDER])
    ceiling = int(os.environ[CEILING]) if CEILING in os.environ else None
    try:
        measurement = _measurement(args, ceiling)
        if measurement is not None:
            write_json(folder / MEASUREMENT, measurement.model_dump(mode="json"))
    except BaseException as error:  # a model may be a user's own and raise anything
        if ceiling is not None:
            lift_ceiling()
        _write_failure(folder, error, args.what.measuring, ceiling)
        return 1
    sys.stderr.flush()
    os._exit(0)  # all is written, and the interpreter takes a second to unload torch


def _measurement(args: Namespace, ceiling: int | None) -> Measurement | None:
    """Measure the cell below a memory limit in bytes; None in all processes but the first."""
    import numpy as np

    from ddpm_bench.throughput.measurement import measure

    if ceiling is not None:
        stay_below(ceiling)
    images = np.load(args.images, mmap_mode="r", allow_pickle=False) if args.images else None
    return measure(args.what, images)


def _write_failure(
    folder: Path, error: BaseException, measuring: CellMeasuring, ceiling: int | None
) -> None:
    """Write an exception of this process into the cell's folder, and its traceback to stderr."""
    failure = failure_of(error, measuring, ceiling)
    if failure.status != "unsupported":
        traceback.print_exception(error)
    write_failure(failure_file(folder, int(os.environ["RANK"])), failure)


def write_record(
    args: Namespace,
    found: Environment,
    failure: ProcessFailure | None,
    measurement: Measurement | None,
) -> int:
    """Write a cell's record, print it in one line and return the exit status 0.

    found: the environment as it was known before torch was imported.
    """
    if failure is None and measurement is None:
        failure = ProcessFailure("crashed", "its processes ended and left no measurement")
    if failure is not None:
        measurement = None
    elif measurement.memory != "GPU, allocated":
        found = on_cpus(args.what, found)
    result = CellRecord(
        cell=args.what.cell,
        status=failure.status if failure else "ok",
        reason=failure.reason if failure else None,
        environment=found,
        measurement=measurement,
    )
    write_json(args.output, with_checksum(result.model_dump(mode="json")))
    print(in_a_line(result), file=sys.stderr, flush=True)
    return 0
