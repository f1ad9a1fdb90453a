"""ddpm-bench: images -> trained diffusion models -> samples -> scores -> figures, tables, report.

snakemake --cores all                          the demo of config/config.yaml
snakemake --cores all --configfile my.yaml     your own studies
snakemake --profile profiles/slurm             on a cluster
snakemake benchmark --cores all --configfile config/benchmark.yaml      the throughput benchmark

docs/module.md: this workflow as a module of another one.
"""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

min_version("9.27")

# The folder of this file, of a module too: `workflow.basedir` is then that of the outer Snakefile.
HERE = Path(str(workflow.current_basedir))
SCRIPTS = HERE / "workflow" / "scripts"
if not SCRIPTS.is_dir():
    raise WorkflowError(
        "the programs of ddpm-bench must lie on this machine: clone its repository, and give "
        "`snakefile:` of the module the path of the Snakefile in the clone"
    )
sys.path.insert(0, str(SCRIPTS))

from ddpm_bench.planning import (
    benchmark_cells,
    fetched_files,
    job_groups,
    jobs,
    local_inputs,
    resource_estimates,
    stages,
    targets,
)
from ddpm_bench.config.block import run_keys
from ddpm_bench.cli import put_programs_on_path
from ddpm_bench.errors import UserError
from ddpm_bench.runs import modules, recorded_jobs, starting, writable

MODULE = modules.module_name(workflow)

if not (workflow.overwrite_configfiles or MODULE):

    configfile: HERE / "config" / "config.yaml"


put_programs_on_path(SCRIPTS)

try:
    if workflow.is_main_process:
        writable.check_working_folder()
    CONFIG = modules.checked_config(workflow, config, HERE)
    local_inputs.check_local_files(CONFIG)
    LISTINGS = local_inputs.local_listings(CONFIG)
    # Memory and time that jobs ask for, within the wall time that the profile names.
    ESTIMATES = resource_estimates.ResourceEstimates(
        CONFIG, resource_estimates.longest_job(workflow.resource_settings.default_resources)
    )
except UserError as error:
    raise WorkflowError(str(error)) from None

SHARED = job_groups.SharedJobs(CONFIG, workflow.parent_groupids, MODULE)
RESULTS = CONFIG.results_dir
RESOURCES = CONFIG.resources_dir
FETCHED = fetched_files.datasets_by_fetched_name(CONFIG)


wildcard_constraints:
    dataset=r"[^/]+",
    experiment=r"[^/]+",
    samples=r"[^/]+",
    score=r"[^/]+",
    space=r"[^/]+",
    split=r"train|eval",
    cell=r"[^/]+",
    sweep=r"[^/]+",
    step=r"\d{8}",
    first=r"\d+",
    last=r"\d+",


# Checkpoints that share a cluster job take turns on its GPU: the profile gives each job one turn.
resource_scopes:
    turn="local",


report: "workflow/report/workflow.rst"


if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
    if not Path("ddpm-bench.sif").exists():
        raise WorkflowError(
            "ddpm-bench.sif is not here, the image that jobs run in with --sdm apptainer; to make "
            "it: apptainer build ddpm-bench.sif envs/container.def"
        )

    container: "ddpm-bench.sif"


rule all:
    input:
        targets.targets(CONFIG),
    localrule: True


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/autoencoder.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/best.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/benchmark.smk"


rule prepared:
    """Prepare every dataset, and do nothing after it."""
    input:
        expand(f"{RESULTS}/datasets/{{dataset}}/summary.json", dataset=jobs.used_datasets(CONFIG)),
    localrule: True


rule trained:
    """Train every model, and do nothing after it."""
    input:
        [path for name in CONFIG.trainings for path in jobs.manifests(CONFIG, name)],
    localrule: True


rule sampled:
    """Draw every set of samples, and do nothing after it."""
    input:
        [path for name in CONFIG.experiments for path in jobs.all_sample_files(CONFIG, name)],
    localrule: True


rule scored:
    """Compute every score, and do nothing after it."""
    input:
        [path for name in CONFIG.trainings for path in jobs.score_files(CONFIG, name)],
    localrule: True


rule benchmark:
    """Measure how training scales with batch size, precision, processes and strategy."""
    input:
        lambda wildcards: targets.benchmark_targets(CONFIG),
    localrule: True
