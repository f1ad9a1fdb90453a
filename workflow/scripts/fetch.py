#!/usr/bin/env python
"""Fetch a dataset: write its raw files into a folder, and a marker (JSON) that identifies them.

A source of kind `folder` is used in place. Everything that is downloaded is checked against its
pinned checksum or commit, and removed if it differs.
"""

from pathlib import Path

from ddpm_bench import files
from ddpm_bench.cli import keys, parser, run
from ddpm_bench.config.dataset import FetchStage
from ddpm_bench.data.fetching import fetch


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--what", type=keys(FetchStage), required=True, help="the stage's keys")
    arguments.add_argument("--folder", type=Path, required=True, help="the folder to make")
    arguments.add_argument("--output", type=Path, required=True, help="the marker to write")
    options = arguments.parse_args()
    marker = fetch(options.what.source, options.folder, options.what.listing)
    files.write_record(options.output, marker)
    print(f"{marker['files']} files in {marker['folder']}")


if __name__ == "__main__":
    run(main)
