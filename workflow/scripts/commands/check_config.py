#!/usr/bin/env python
"""Check a config file: name every wrong key at once, with its value and what is allowed.

Files and folders of this machine that it names must exist. Snakemake checks the same when it
starts; a file that it cannot read at all, such as one in Latin-1, this names with the line.
"""

import sys

from command import config_parser, run

from ddpm_bench.config.loading import read_config
from ddpm_bench.machine.cuda_limits import misfit_of_this_machine
from ddpm_bench.planning.local_inputs import check_local_files, check_local_folders


def main() -> None:
    options = config_parser(__doc__)
    config = read_config(options.parse_args().configfile)
    check_local_files(config)
    check_local_folders(config)
    misfit = misfit_of_this_machine()
    for note in (*config.notes(), *([misfit] if misfit else [])):
        print(f"warning: {note}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
