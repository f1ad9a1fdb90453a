"""Named resources of jobs, as functions of their wildcards.

In:  CONFIG, ESTIMATES and SHARED of the Snakefile
Out: functions of what a job asks for: threads, the keys of its run, GPUs, nodes, MB, minutes, group
By:  ddpm_bench/planning
"""

# The keys of a run, which make nothing stale, and threads


def dataset_run(wildcards):
    return run_keys(CONFIG.datasets[wildcards.dataset].run)


def dataset_threads(wildcards):
    return CONFIG.datasets[wildcards.dataset].run.cpus


def training_run(wildcards):
    return run_keys(CONFIG.trainings[training_name(wildcards)].train.run)


def training_job_run(wildcards):
    """The keys of a training's run, and what is checked before it trains."""
    return jobs.training_job_run(CONFIG, training_name(wildcards))


def training_threads(wildcards):
    """The cores of a training job on each of its nodes."""
    return jobs.training_threads(CONFIG, wildcards.experiment)


def threads_of_one_process(wildcards):
    """The cores of one process of a training, for a job that has one process."""
    return CONFIG.trainings[training_name(wildcards)].train.run.cpus


def training_processes(wildcards):
    """The processes of a training on all its nodes, each with a GPU."""
    return CONFIG.trainings[wildcards.experiment].train.run.processes


def training_nodes(wildcards):
    return CONFIG.trainings[wildcards.experiment].train.run.nodes


def samples_run(wildcards):
    return run_keys(CONFIG.experiments[wildcards.experiment].samples[wildcards.samples].run)


def samples_threads(wildcards):
    return CONFIG.experiments[wildcards.experiment].samples[wildcards.samples].run.cpus


def space_run(wildcards):
    return run_keys(score_of_space(wildcards).run)


def space_threads(wildcards):
    return score_of_space(wildcards).run.cpus


def score_run(wildcards):
    return run_keys(score_keys(wildcards).run)


def score_threads(wildcards):
    return score_keys(wildcards).run.cpus


# Of several nodes only (None: not set). The program itself calls srun, one task per node.


def training_launcher(wildcards):
    return jobs.of_several_nodes(CONFIG, wildcards.experiment, "srun")


def training_tasks(wildcards):
    return jobs.of_several_nodes(CONFIG, wildcards.experiment, training_nodes(wildcards))


def training_tasks_per_gpu(wildcards):
    return jobs.of_several_nodes(CONFIG, wildcards.experiment, 0)


def given_weights(wildcards):
    """The file that a training begins with. It is no input: another place of the file makes nothing
    stale, and its checksum is among the keys."""
    return jobs.given_weights(CONFIG, wildcards.experiment)


# Megabytes and minutes; each attempt asks for more than the one before


def small_job_mb(wildcards, attempt):
    """Memory of a job that draws figures."""
    return ESTIMATES.small_mb(attempt)


def small_job_minutes(wildcards, attempt):
    """Time of a job that draws figures."""
    return ESTIMATES.small_minutes(attempt)


def exporting_mb(wildcards, attempt):
    return ESTIMATES.exporting_mb(attempt)


def preparing_mb(wildcards, attempt):
    return ESTIMATES.preparing_mb(wildcards.dataset, attempt)


def preparing_minutes(wildcards, attempt):
    return ESTIMATES.dataset_minutes_as("prepare", wildcards.dataset, attempt=attempt)


def classifier_mb(wildcards, attempt):
    return ESTIMATES.classifier_mb(wildcards.dataset, attempt)


def classifier_minutes(wildcards, attempt):
    return ESTIMATES.dataset_minutes_as("train_classifier", wildcards.dataset, attempt=attempt)


def features_mb(wildcards, attempt):
    return ESTIMATES.feature_mb(wildcards.dataset, wildcards.space, wildcards.split, attempt)


def features_minutes(wildcards, attempt):
    names = wildcards.dataset, wildcards.space, wildcards.split
    return ESTIMATES.dataset_minutes_as("reference_features", *names, attempt=attempt)


def training_mb(wildcards, attempt):
    """Memory of all processes of a training on one node."""
    return ESTIMATES.training_mb(wildcards.experiment, attempt)


def training_minutes(wildcards, attempt):
    steps = int(wildcards.last) - int(wildcards.first)
    return ESTIMATES.training_minutes(wildcards.experiment, steps, attempt)


def validating_mb(wildcards, attempt):
    return ESTIMATES.validating_mb(wildcards.experiment, attempt)


def validating_minutes(wildcards, attempt):
    return ESTIMATES.minutes_as("validate", wildcards.experiment, attempt=attempt)


def encoding_mb(wildcards, attempt):
    return ESTIMATES.encoding_mb(wildcards.autoencoder, attempt)


def encoding_minutes(wildcards, attempt):
    return ESTIMATES.minutes_as("encode", wildcards.autoencoder, attempt=attempt)


def reconstructing_mb(wildcards, attempt):
    return ESTIMATES.reconstructing_mb(wildcards.autoencoder, attempt)


def reconstructing_minutes(wildcards, attempt):
    return ESTIMATES.minutes_as("reconstruct", wildcards.autoencoder, attempt=attempt)


def sampling_mb(wildcards, attempt):
    return ESTIMATES.sampling_mb(wildcards.experiment, wildcards.samples, attempt)


def sampling_minutes(wildcards, attempt):
    images = int(wildcards.last) + 1 - int(wildcards.first)
    return ESTIMATES.sampling_minutes(wildcards.experiment, wildcards.samples, images, attempt)


def trajectory_minutes(wildcards, attempt):
    names = wildcards.experiment, wildcards.samples
    return ESTIMATES.minutes_as("plot_trajectory", *names, attempt=attempt)


def scoring_mb(wildcards, attempt):
    names = wildcards.experiment, wildcards.score, wildcards.samples
    return ESTIMATES.scoring_mb(*names, attempt)


def scoring_minutes(wildcards, attempt):
    names = wildcards.experiment, wildcards.score, wildcards.samples
    return ESTIMATES.scoring_minutes(*names, attempt)


# Cells of the benchmark


def cell_run(wildcards):
    return run_keys(ESTIMATES.cell_run())


def cell_threads(wildcards):
    """The cores of a cell, or all of a run on one machine, where cells would disturb each other."""
    return max(ALL_CORES, benchmark_cells.cell_threads(CONFIG, CELLS[wildcards.cell]))


def cell_gpus(wildcards):
    return CELLS[wildcards.cell].world


def cell_nodes(wildcards):
    return CELLS[wildcards.cell].nodes


def cell_launcher(wildcards):
    return benchmark_cells.of_several_nodes(CELLS[wildcards.cell], "srun")


def cell_tasks(wildcards):
    return benchmark_cells.of_several_nodes(CELLS[wildcards.cell], cell_nodes(wildcards))


def cell_tasks_per_gpu(wildcards):
    return benchmark_cells.of_several_nodes(CELLS[wildcards.cell], 0)


def cell_mb(wildcards, attempt):
    return ESTIMATES.cell_mb(CELLS[wildcards.cell], attempt)


def cell_minutes(wildcards, attempt):
    return ESTIMATES.cell_minutes(attempt)


# Checkpoints that share one cluster job


def shared_sampling_job(wildcards):
    return SHARED.name(wildcards.experiment, wildcards.samples, int(wildcards.step))


def shared_scoring_job(wildcards):
    return SHARED.name(
        wildcards.experiment, wildcards.samples, int(wildcards.step), wildcards.score
    )
