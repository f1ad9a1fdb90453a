#!/usr/bin/env python
"""Write config/README.md and config/schema.json from the models of the config."""

from pathlib import Path

from command import local_path, parser, run

from ddpm_bench.config.documentation import config_reference, config_schema
from ddpm_bench.files import write_text


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--folder", type=local_path, default=Path("config"), help="where to write them"
    )
    folder = options.parse_args().folder
    write_text(folder / "README.md", config_reference())
    write_text(folder / "schema.json", config_schema())


if __name__ == "__main__":
    run(main)
