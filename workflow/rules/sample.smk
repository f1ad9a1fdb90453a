"""Checkpoints in, images out.

In:  results/<experiment>/training/job-*.json
Out: results/<experiment>/samples/<set>/step-<step>/images-<first>-<last>.npy, .json (how
     long it took), grid.png
"""


rule sample:
    """Draw images `first` to `last` of a set from one checkpoint."""
    input:
        lambda wildcards: jobs.manifest_of_checkpoint(
            CONFIG, wildcards.experiment, int(wildcards.step)
        ),
    output:
        images=f"{RESULTS}/{{experiment}}/samples/{{samples}}/step-{{step}}/images-{{first}}-{{last}}.npy",
        timing=f"{RESULTS}/{{experiment}}/samples/{{samples}}/step-{{step}}/images-{{first}}-{{last}}.json",
    log:
        f"{RESULTS}/logs/sample/{{experiment}}.{{samples}}.{{step}}.{{first}}-{{last}}.log",
    benchmark:
        f"{RESULTS}/logs/sample/{{experiment}}.{{samples}}.{{step}}.{{first}}-{{last}}.benchmark.tsv"
    group:
        lambda wildcards: SHARED.name(wildcards.experiment, wildcards.samples, int(wildcards.step))
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: CONFIG.experiments[wildcards.experiment].samples[wildcards.samples].run.cpus
    resources:
        how=lambda wildcards: run_keys(
            CONFIG.experiments[wildcards.experiment].samples[wildcards.samples].run
        ),
        gpu=1,
        turn=1,
        mem_mb=lambda wildcards, attempt: ESTIMATES.sampling_mb(
            wildcards.experiment, wildcards.samples, attempt
        ),
        runtime=lambda wildcards, attempt: ESTIMATES.sampling_minutes(
            wildcards.experiment,
            wildcards.samples,
            int(wildcards.last) + 1 - int(wildcards.first),
            attempt,
        ),
    params:
        what=lambda wildcards: stages.sample_stage(CONFIG, wildcards.experiment, wildcards.samples),
    shell:
        "exec with_log {log:q} sample.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input:q} --step {wildcards.step}"
        " --first {wildcards.first} --last {wildcards.last}"
        " --output {output.images:q} --timing {output.timing:q}"


rule sample_grid:
    """The first images of a checkpoint as one picture."""
    input:
        lambda wildcards: jobs.sample_files(
            CONFIG, wildcards.experiment, wildcards.samples, int(wildcards.step)
        ),
    output:
        report(
            f"{RESULTS}/{{experiment}}/samples/{{samples}}/step-{{step}}/grid.png",
            caption="../report/grid.rst",
            category="Samples",
            subcategory="{experiment}",
            labels={"samples": "{samples}", "training step": "{step}"},
        ),
    log:
        f"{RESULTS}/logs/sample_grid/{{experiment}}.{{samples}}.{{step}}.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        what=stages.stage("grid"),
    shell:
        "exec with_log {log:q} sample_grid.py --what {params.what:q} --samples {input:q}"
        " --output {output:q}"
