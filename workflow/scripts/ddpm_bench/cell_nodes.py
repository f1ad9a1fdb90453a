"""The nodes of a cell of several: started by srun, and ended in time."""

import os
import signal
import sys
import threading
from pathlib import Path

from ddpm_bench.cell_processes import CELL_FOLDER, Outcome
from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.machine.launch import run_on_nodes
from ddpm_bench.machine.process_failures import Failure, gravest, read_word

SECONDS_TO_REACH_NODES = 120  # beyond the cell's own time, for srun to begin and to end


def run_nodes(stage: CellStage, minutes: float, folder: Path) -> Outcome:
    """Run this program once on each node of a cell; the words that they leave say how it went.

    minutes: of the cell. Raises UserError outside a SLURM job.
    """
    cell = stage.cell
    os.environ[CELL_FOLDER] = str(folder)
    too_late = threading.Event()

    def stop() -> None:  # as on a signal to stop, which run_on_nodes hands on
        too_late.set()
        os.kill(os.getpid(), signal.SIGTERM)

    # The nodes keep the time themselves; this is for a srun that never gets to start them.
    limit = threading.Timer(60 * minutes + SECONDS_TO_REACH_NODES, stop)
    limit.daemon = True
    limit.start()
    stopped: list[int] = []
    try:
        ended = run_on_nodes(cell.nodes, cell.processes, stage.measuring.cpus, sys.argv, stopped)
    finally:
        limit.cancel()
    if stopped and not too_late.is_set():
        return Outcome(signal=stopped[0])
    said = gravest(read_word(path) for path in folder.glob(word_of_node(folder, "*").name))
    if said is None and too_late.is_set():
        said = Failure("timed out", f"srun did not start and end {cell.nodes} nodes in time")
    if said is None and ended.signal is not None:
        return Outcome(signal=ended.signal)
    if said is None and ended.status:
        said = Failure("crashed", f"srun ended with status {ended.status} (more in the cell's log)")
    return Outcome(said)


def word_of_node(folder: Path, rank: int | str) -> Path:
    """Where a node leaves why its processes failed."""
    return folder / f"node-{rank}.json"
