#!/usr/bin/env python
"""Write a table and a figure of the time and memory that each stage requested and used."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import CostsStage
from ddpm_bench.machine.gpu_listing import present_devices
from ddpm_bench.report.figures.cost_figure import cost_figure
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables.cost_table import costs_table
from ddpm_bench.report.tables.score_tables import write_table


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument(
        "--what", type=keys(CostsStage), required=True, help="JSON: version, experiments"
    )
    arguments.add_argument(
        "--results", type=Path, required=True, help="folder of results, with the jobs' logs"
    )
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="PNG to write")
    given = arguments.parse_args()

    table = costs_table(given.results, given.what.experiments, bool(present_devices()))
    write_table(given.table, table)
    save_figure(cost_figure(table), given.figure)
    for text in table["advice"].unique():
        if text:
            print(text, flush=True)


if __name__ == "__main__":
    run(main)
