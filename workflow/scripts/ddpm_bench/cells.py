"""The cells of the throughput benchmark: which there are, and where each leaves its measurement.

Imported at DAG time: the standard library and the configuration only.
"""

import itertools
from pathlib import Path

from .config.benchmark import Benchmark, Cell
from .config.loading import Config


class UnsupportedError(Exception):
    """A combination that cannot be measured, with the reason, in words for the user."""


def cells(benchmark: Benchmark) -> list[Cell]:
    """The grid, and the `single` cells that its efficiencies are held against; each once."""
    grid = [
        Cell(
            model=model,
            strategy=strategy,
            precision=precision,
            batch_size=batch_size,
            processes=processes,
            nodes=nodes,
        )
        for model, strategy, precision, batch_size, nodes, processes in itertools.product(
            benchmark.models,
            benchmark.strategies,
            benchmark.precision,
            benchmark.batch_size,
            benchmark.nodes,
            benchmark.processes,
        )
    ]
    if benchmark.baselines:
        grid += [
            baseline(cell, size)
            for cell in grid
            if cell.world > 1 and cell.strategy != "single"
            for size in (cell.batch_size, cell.global_batch)
        ]
    return list(dict.fromkeys(grid))


def baseline(cell: Cell, batch_size: int) -> Cell:
    """One process with a batch of this size, all else as in the cell: what weak scaling is held
    against at the cell's batch, and strong scaling at its global batch."""
    alone = {"strategy": "single", "batch_size": batch_size, "processes": 1, "nodes": 1}
    return cell.model_copy(update=alone)


def cell_name(cell: Cell) -> str:
    """The stem of a cell's files."""
    return (
        f"{cell.model}.{cell.strategy}.{cell.precision}.batch-{cell.batch_size}"
        f".processes-{cell.processes}.nodes-{cell.nodes}"
    )


def cell_file(config: Config, cell: Cell) -> str:
    """What the program of a cell leaves: a CellRecord (cell_record.py) as JSON."""
    return str(Path(config.results_dir, "benchmark", "cells", f"{cell_name(cell)}.json"))
