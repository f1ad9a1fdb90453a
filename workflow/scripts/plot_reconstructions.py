#!/usr/bin/env python
"""Draw the reconstructions of an autoencoder, their errors and the use of its codes.

Writes into the output folder: reconstructions.png, Codebooks_vs_TrainingSteps.png and
reconstructions.csv.
"""

from pathlib import Path

from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.reporting import PlotStage
from ddpm_bench.report.figures.reconstruction_figures import (
    pairs_figure,
    read_summaries,
    use_figure,
    use_table,
)
from ddpm_bench.report.figures.style import save_figure
from ddpm_bench.report.tables.score_tables import write_table


def main() -> None:
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("--what", type=keys(PlotStage), required=True, help="JSON: version")
    add("--images", type=Path, required=True, help="images, uint8 [N, H, W, C], .npy")
    add(
        "--reconstructed",
        type=Path,
        nargs="+",
        required=True,
        help="reconstructions of each checkpoint, .npy",
    )
    add("--summaries", type=Path, nargs="+", required=True, help="JSON of each checkpoint")
    add("--name", required=True, help="name of the autoencoder")
    add("--output-dir", type=Path, required=True, help="folder to write into")
    given = arguments.parse_args()

    summaries = read_summaries(given.summaries)
    write_table(given.output_dir / "reconstructions.csv", use_table(summaries, given.name))
    figure = use_figure(summaries, given.name)
    save_figure(figure, given.output_dir / "Codebooks_vs_TrainingSteps.png")
    latest = pairs_figure(given.images, given.reconstructed[-1], summaries[-1]["step"], given.name)
    save_figure(latest, given.output_dir / "reconstructions.png")


if __name__ == "__main__":
    run(main)
