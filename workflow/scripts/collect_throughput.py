#!/usr/bin/env python
"""Collect the cells of the throughput benchmark into two tables: all repetitions, and a summary.

A cell that is not ok has a row without numbers.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.benchmark import TablesStage
from ddpm_bench.planning.benchmark_cells import cell_name, cells
from ddpm_bench.report.tables.score_tables import write_table
from ddpm_bench.throughput.report.tables import read_records, summary, throughput_table


def main() -> None:
    """Write both tables."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(TablesStage), required=True, help="JSON: version and grid"
    )
    arguments.add_argument(
        "--cells", type=Path, required=True, help="folder of the records of measure_cell.py"
    )
    arguments.add_argument("--throughput", type=Path, required=True, help="CSV of all repetitions")
    arguments.add_argument("--summary", type=Path, required=True, help="CSV with a row per cell")
    given = arguments.parse_args()

    files = [given.cells / f"{cell_name(cell)}.json" for cell in cells(given.what)]
    table = throughput_table(read_records(files))
    write_table(given.throughput, table)
    write_table(given.summary, summary(table))


if __name__ == "__main__":
    run(main)
