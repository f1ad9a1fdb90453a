"""Prepared images in, checkpoints out.

In:  results/datasets/<dataset>/train.npy, eval.npy, or those of results/<autoencoder>/latents
Out: results/<experiment>/training/job-<first>-<last>.json         manifest: the job's checkpoints
     results/<experiment>/training/validation-<first>-<last>.csv   their validation losses

What is trained lies in a folder that Snakemake does not know of, so that it never deletes it: see
ddpm_bench/training/folder.py. Each job goes on where the one before it ended.
"""


rule train:
    """Train from step `first` to step `last`, from the last saved state if there is one."""
    input:
        images=lambda wildcards: jobs.training_images(CONFIG, wildcards.experiment, "train"),
        before=lambda wildcards: jobs.manifest_before(
            CONFIG, wildcards.experiment, int(wildcards.first)
        ),
    output:
        f"{RESULTS}/{{experiment}}/training/job-{{first}}-{{last}}.json",
    log:
        f"{RESULTS}/logs/train/{{experiment}}.{{first}}-{{last}}.log",
    benchmark:
        f"{RESULTS}/logs/train/{{experiment}}.{{first}}-{{last}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: jobs.training_threads(CONFIG, wildcards.experiment)
    resources:
        how=lambda wildcards: run_keys(CONFIG.trainings[wildcards.experiment].train.run),
        gpu=lambda wildcards: CONFIG.trainings[wildcards.experiment].train.run.processes,
        nodes=lambda wildcards: CONFIG.trainings[wildcards.experiment].train.run.nodes,
        # Of several nodes only (None: not set). train.py itself calls srun, one task per node.
        mpi=lambda wildcards: jobs.of_several_nodes(CONFIG, wildcards.experiment, "srun"),
        tasks=lambda wildcards: jobs.of_several_nodes(
            CONFIG,
            wildcards.experiment,
            CONFIG.trainings[wildcards.experiment].train.run.nodes,
        ),
        tasks_per_gpu=lambda wildcards: jobs.of_several_nodes(CONFIG, wildcards.experiment, 0),
        # Not an input: where the file lies makes nothing stale, its checksum among the keys does.
        weights=lambda wildcards: jobs.given_weights(CONFIG, wildcards.experiment),
        mem_mb=lambda wildcards, attempt: ESTIMATES.training_mb(wildcards.experiment, attempt),
        runtime=lambda wildcards, attempt: ESTIMATES.training_minutes(
            wildcards.experiment, int(wildcards.last) - int(wildcards.first), attempt
        ),
    params:
        what=lambda wildcards: stages.train_stage(CONFIG, wildcards.experiment),
        dataset=lambda wildcards: jobs.training_folder(CONFIG, wildcards.experiment),
        folder=f"{RESULTS}/{{experiment}}",
    shell:
        "exec with_log {log:q} train.py --what {params.what:q} --how {resources.how:q}"
        " --dataset {params.dataset:q} --experiment {params.folder:q}"
        " --init-from {resources.weights:q}"
        " --first {wildcards.first} --last {wildcards.last} --output {output:q}"


rule validate:
    """The loss of a job's checkpoints on held-out and on training images, at fixed noise."""
    input:
        manifest=rules.train.output,
        eval=lambda wildcards: jobs.training_images(CONFIG, wildcards.experiment, "eval"),
        train=lambda wildcards: jobs.training_images(CONFIG, wildcards.experiment, "train"),
    output:
        f"{RESULTS}/{{experiment}}/training/validation-{{first}}-{{last}}.csv",
    log:
        f"{RESULTS}/logs/validate/{{experiment}}.{{first}}-{{last}}.log",
    benchmark:
        f"{RESULTS}/logs/validate/{{experiment}}.{{first}}-{{last}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: CONFIG.trainings[wildcards.experiment].train.run.cpus
    resources:
        how=lambda wildcards: run_keys(CONFIG.trainings[wildcards.experiment].train.run),
        gpu=1,
        mem_mb=lambda wildcards, attempt: ESTIMATES.validating_mb(wildcards.experiment, attempt),
        runtime=lambda wildcards, attempt: ESTIMATES.minutes_as(
            "validate", wildcards.experiment, attempt=attempt
        ),
    params:
        what=lambda wildcards: stages.validate_stage(CONFIG, wildcards.experiment),
    shell:
        "exec with_log {log:q} validate.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input.manifest:q} --eval {input.eval:q} --train {input.train:q}"
        " --output {output:q}"
