#!/usr/bin/env python
"""Draw the figures of the throughput benchmark: speed and memory against batch size, scaling,
communication."""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.benchmark import FiguresStage
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.throughput.report.batch_figures import throughput_figures
from ddpm_bench.throughput.report.tables import THROUGHPUT_COLUMNS, read_throughput


def main() -> None:
    """Write all figures as PNG files."""
    arguments = parser(__doc__)
    arguments.add_argument("--what", type=keys(FiguresStage), required=True, help="JSON: version")
    arguments.add_argument("--throughput", type=Path, required=True, help="CSV of all repetitions")
    arguments.add_argument("--output-dir", type=Path, required=True, help="folder of the figures")
    given = arguments.parse_args()

    table = read_throughput(given.throughput, THROUGHPUT_COLUMNS)
    for name, figure in throughput_figures(table):
        save_figure(figure, given.output_dir / name)


if __name__ == "__main__":
    run(main)
