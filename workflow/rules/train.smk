"""Prepared images in, checkpoints out.

In:  results/datasets/<dataset>/train.npy, eval.npy, or those of results/<autoencoder>/latents
Out: results/<experiment>/training/job-<first>-<last>.json         manifest: the job's checkpoints
     results/<experiment>/training/validation-<first>-<last>.csv   their validation losses
By:  ddpm_bench/training

Checkpoints lie in a folder that Snakemake does not know of, so that it never deletes them: see
ddpm_bench/training/folder.py. Each job goes on where the one before it ended.
"""


rule train:
    """Train from step `first` to step `last`, from the last saved state if there is one."""
    input:
        images=train_images,
        before=manifest_before,
    output:
        f"{RESULTS}/{{experiment}}/training/job-{{first}}-{{last}}.json",
    log:
        f"{RESULTS}/logs/train/{{experiment}}.{{first}}-{{last}}.log",
    benchmark:
        f"{RESULTS}/logs/train/{{experiment}}.{{first}}-{{last}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: training_threads
    resources:
        how=training_job_run,
        gpu=training_processes,
        nodes=training_nodes,
        mpi=training_launcher,
        tasks=training_tasks,
        tasks_per_gpu=training_tasks_per_gpu,
        weights=given_weights,
        mem_mb=training_mb,
        runtime=training_minutes,
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
    """Compute the losses of a job's checkpoints on held-out and training images, at fixed noise."""
    input:
        manifest=rules.train.output,
        eval=eval_images,
        train=train_images,
    output:
        f"{RESULTS}/{{experiment}}/training/validation-{{first}}-{{last}}.csv",
    log:
        f"{RESULTS}/logs/validate/{{experiment}}.{{first}}-{{last}}.log",
    benchmark:
        f"{RESULTS}/logs/validate/{{experiment}}.{{first}}-{{last}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of_one_process
    resources:
        how=training_run,
        gpu=1,
        mem_mb=validating_mb,
        runtime=validating_minutes,
    params:
        what=lambda wildcards: stages.validate_stage(CONFIG, wildcards.experiment),
    shell:
        "exec with_log {log:q} validate.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input.manifest:q} --eval {input.eval:q} --train {input.train:q}"
        " --output {output:q}"
