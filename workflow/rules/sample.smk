"""Checkpoints in, images out.

In:  results/<experiment>/training/job-*.json
Out: results/<experiment>/samples/<set>/step-<step>/images-<first>-<last>.npy, .json (timing), grid.png
By:  ddpm_bench/sampling, images
"""


rule sample:
    """Draw images `first` to `last` of a set from one checkpoint."""
    input:
        manifest_of_checkpoint,
    output:
        images=f"{RESULTS}/{{experiment}}/samples/{{samples}}/step-{{step}}/images-{{first}}-{{last}}.npy",
        timing=f"{RESULTS}/{{experiment}}/samples/{{samples}}/step-{{step}}/images-{{first}}-{{last}}.json",
    log:
        f"{RESULTS}/logs/sample/{{experiment}}.{{samples}}.{{step}}.{{first}}-{{last}}.log",
    benchmark:
        f"{RESULTS}/logs/sample/{{experiment}}.{{samples}}.{{step}}.{{first}}-{{last}}.benchmark.tsv"
    group:
        shared_sampling_job
    conda:
        "../../envs/environment.yaml"
    threads: samples_threads
    resources:
        how=samples_run,
        gpu=1,
        turn=1,
        mem_mb=sampling_mb,
        runtime=sampling_minutes,
    params:
        what=lambda wildcards: stages.sample_stage(
            CONFIG, wildcards.experiment, wildcards.samples, int(wildcards.step)
        ),
    shell:
        "exec with_log {log:q} sample.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input:q} --step {wildcards.step}"
        " --first {wildcards.first} --last {wildcards.last}"
        " --output {output.images:q} --timing {output.timing:q}"


rule sample_grid:
    """Draw the first images of a checkpoint as one picture."""
    input:
        samples_of_checkpoint,
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
