#!/usr/bin/env bash
# Guess: a job runs again when its params change; that is what the rerun trigger `params` is for.
# What happens (snakemake 9.27.1): the values are compared as a set without names. Where two
# params swap their values (learning rate 0.1 and weight decay 0.2 against 0.2 and 0.1), the
# answer is "Nothing to be done" and the old result stays; a value that is new anywhere is seen.
# Cause: snakemake/persistence/__init__.py, ParamsChange: two sets of values without names, of
# which the difference is taken.
# Why it matters: grids are full of such pairs (beta1 and beta2, decay and dropout, first and last
# step). The table then holds the old training under the new name. One param that holds a dict, or
# sorted JSON, is compared whole.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
  snakemake==9.27.1
cat > Snakefile <<'SNAKEFILE'
import os


rule train:
    output: "weights.txt"
    params:
        rate=os.environ["RATE"],
        decay=os.environ["DECAY"],
    shell: "echo rate={params.rate} decay={params.decay} > {output}"
SNAKEFILE
echo "snakemake $(venv/bin/snakemake --version)"
RATE=0.1 DECAY=0.2 venv/bin/snakemake --cores 1 --quiet all
echo "trained with RATE=0.1 DECAY=0.2: $(cat weights.txt)"
RATE=0.2 DECAY=0.1 venv/bin/snakemake --cores 1 --quiet all
swapped=$(cat weights.txt)
echo "run again with RATE=0.2 DECAY=0.1: $swapped"
RATE=0.3 DECAY=0.1 venv/bin/snakemake --cores 1 --quiet all
changed=$(cat weights.txt)
echo "run again with RATE=0.3 DECAY=0.1: $changed"
if [[ $swapped != "rate=0.1 decay=0.2" || $changed != "rate=0.3 decay=0.1" ]]; then
  echo "changed: snakemake notices that two params have swapped their values" >&2
  exit 1
fi
