# Targets of ddpm-bench. `make help` lists them. Needs Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
CONFIG ?= config/config.yaml
CORES ?= all
PROFILE ?=
WHERE := $(if $(PROFILE),--profile profiles/$(PROFILE),--cores $(CORES))
SNAKEMAKE := $(BIN)/snakemake $(WHERE) --configfile $(CONFIG)
RUN := $(BIN)/python workflow/scripts/commands
# A file of tests stays in one process; one thread each, because threads that wait for a core spin.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
# What pytest is to be told beside that, such as --last-failed or --junitxml reports/tests.xml.
OPTIONS ?=
# The lock in envs/ that the environment is made from: the one that it has been made from, if any.
LOCK ?= $(firstword $(patsubst $(VENV)/%,envs/%,$(wildcard $(VENV)/requirements*.lock)) \
          envs/requirements.lock)
# Kept in the environment: a copy of that lock.
STAMP := $(VENV)/$(notdir $(LOCK))

# Told to the user as the command that goes on after a stop.
run benchmark demo stop: export DDPM_BENCH_COMMAND ?= make $(MAKECMDGOALS)$(if $(MAKEOVERRIDES), $(MAKEOVERRIDES))

.DEFAULT_GOAL := help
.PHONY: help env demo run benchmark plan snapshot report status stop test test-slurm test-all lint format compare docs \
        gpu-check findings lock slurm-profile clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  CONFIG=my.yaml chooses another config file, CORES=4 how many cores (all by default),"
	@echo "  LOCK=envs/requirements-cuda12.lock makes .venv for drivers older than 580, and for Volta"
	@echo "  PROFILE=slurm sends jobs to the cluster (profiles/slurm)"

env: $(STAMP) ## make the environment .venv from the lock (nothing to do when it is current)

$(STAMP): $(LOCK)
	@if cmp -s $(LOCK) $(STAMP); then touch $(STAMP); else $(MAKE) --no-print-directory new-env; fi

.PHONY: new-env
new-env:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; try: make env PYTHON=python3.12"; exit 2; }
	@echo "making $(VENV) from $(LOCK): downloads about 3 GB the first time"
	@rm -f $(STAMP)
	@# Emptied for another lock: CUDA's packages of two versions would lie on each other's files.
	@$(PYTHON) -m venv $(if $(filter-out $(STAMP),$(wildcard $(VENV)/*.lock)),--clear) $(VENV) || \
	  { echo "error: Python's venv module is missing (Debian, Ubuntu: apt-get install python3-venv)"; exit 2; }
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r $(LOCK)
	@cp $(LOCK) $(STAMP)

demo: ## run the embedded demo, draw its report, print its scores
	@$(MAKE) --no-print-directory run report summary CONFIG=config/config.yaml

run: env ## run the workflow on CONFIG: only what is missing or stale
	@$(RUN)/check_config.py --configfile $(CONFIG)
	@$(SNAKEMAKE)

benchmark: env ## measure how training scales: the grid under benchmark: of CONFIG, such as config/benchmark.yaml
	@$(RUN)/check_config.py --configfile $(CONFIG)
	@$(BIN)/snakemake benchmark $(WHERE) --configfile $(CONFIG)
	@$(RUN)/throughput_summary.py --configfile $(CONFIG)

report: env ## one HTML page with every figure and table (drawn again when one has changed)
	@$(RUN)/report.py --configfile $(CONFIG)

.PHONY: summary
summary: env
	@$(RUN)/summary.py --configfile $(CONFIG)

snapshot: env ## tables and figures of what is scored so far, while the rest still runs
	@$(RUN)/snapshot.py --configfile $(CONFIG)

status: env ## the state of a study: steps, speed, jobs, scores, failures (beside a running one, too)
	@$(RUN)/status.py --configfile $(CONFIG)

stop: env ## end this workflow: training saves, its SLURM jobs are cancelled, the next run goes on
	@$(RUN)/stop.py --configfile $(CONFIG)

gpu-check: env ## check a machine with a GPU before its first run: what works, how fast, what to do
	@$(RUN)/gpu_check.py $(OPTIONS)

plan: env ## before a run: what it will train, sample and score, and for how many GPU- or process-hours
	@$(RUN)/plan.py --configfile $(CONFIG)

test: env ## the tests
	@$(PYTEST) --numprocesses auto --maxprocesses 4 $(OPTIONS)

test-slurm: env ## the tests on a private SLURM cluster (needs slurm-wlm and munge, and root)
	@$(BIN)/python tests/slurm/cluster.py --check
	@$(PYTEST) tests/slurm --numprocesses 4 $(OPTIONS)

test-all: env ## all tests, the long fault campaigns too, each program started anew (an hour)
	@$(PYTEST) --numprocesses auto --maxprocesses 4 --new-processes -m "" $(OPTIONS)

lint: env ## ruff, snakefmt, snakemake --lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile workflow/rules
	@$(BIN)/snakemake --lint

format: env ## rewrite the sources in the project's format
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
	@$(BIN)/snakefmt Snakefile workflow/rules

compare: env ## measure against what users would otherwise run: make compare IMAGES=folder
	@test -n "$(IMAGES)" || { echo "error: name a folder of photographs: make compare IMAGES=folder"; exit 2; }
	@$(BIN)/python comparisons/prepare.py --images "$(IMAGES)"
	@$(BIN)/python comparisons/train.py --images "$(IMAGES)" --profile
	@$(BIN)/python comparisons/sample.py
	@$(BIN)/python comparisons/score.py --images "$(IMAGES)"
	@$(BIN)/python comparisons/busy.py

slurm-profile: ## make `snakemake --profile slurm` work in this folder
	@ln -sfn profiles/slurm slurm
	@echo "snakemake --profile slurm now reads profiles/slurm/config.yaml: put your site's names there"

docs: env ## write config/README.md, the config's JSON schema and the READMEs' numbers of GPUs anew
	@$(RUN)/document_config.py
	@$(RUN)/document_gpus.py

findings: ## run every script of findings/ in turn: what other packages do where one guesses wrong (an hour)
	@changed=; for script in findings/*.sh; do echo "== $$script"; $$script || changed="$$changed $$script"; done; \
	  if [ -n "$$changed" ]; then echo; echo "no longer as described:"; printf '  %s\n' $$changed; exit 1; fi

RESOLVE := uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
             --generate-hashes --no-emit-index-url --no-header

lock: ## resolve pyproject.toml anew into the locks in envs/, for CUDA 13 and for CUDA 12 (needs uv)
	$(RESOLVE) -o envs/requirements.lock
	cp envs/requirements.lock envs/requirements-cuda12.lock  # its versions are kept, where they fit
	$(RESOLVE) --override envs/cuda12-overrides.txt -o envs/requirements-cuda12.lock

clean: ## delete the environment (results stay)
	rm -rf $(VENV)
