#!/usr/bin/env python
"""Download the published Inception weights, unless the file exists; check their sha256."""

from pathlib import Path

from ddpm_bench.cli import parser, run
from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_SHA256, PUBLISHED_INCEPTION_URLS
from ddpm_bench.data.download import fetch_checked


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--output", type=Path, required=True, help="file to write")
    given = arguments.parse_args()

    fetch_checked(
        PUBLISHED_INCEPTION_URLS, PUBLISHED_INCEPTION_SHA256, given.output, "Inception weights"
    )


if __name__ == "__main__":
    run(main)
