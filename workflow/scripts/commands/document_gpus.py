#!/usr/bin/env python
"""Write the numbers of GPUs into README.md and comparisons/README.md.

They are those of the JSON files of `make gpu-check` in comparisons/gpu/, in a marked block of each
file. Without such files the block says that no GPU has been measured yet.
"""

from pathlib import Path

from command import local_path, parser, run

from ddpm_bench.files import write_text
from ddpm_bench.gpu_check.measured_gpus import measured_block, read_reports, with_block

FILES = ("README.md", "comparisons/README.md")


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--folder", type=local_path, default=Path(), help="where README.md and comparisons are"
    )
    folder = options.parse_args().folder
    block = measured_block(read_reports(folder / "comparisons" / "gpu"))
    texts = {
        folder / name: with_block((folder / name).read_text(encoding="utf-8"), block, name)
        for name in FILES
    }
    for path, text in texts.items():
        write_text(path, text)


if __name__ == "__main__":
    run(main)
