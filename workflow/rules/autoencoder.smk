"""An autoencoder's checkpoints in, latents and reconstructions out. It is trained by rule train.

In:  results/<autoencoder>/training/job-*.json, prepared images
Out: results/<autoencoder>/latents/                        what experiments train on
     results/<autoencoder>/reconstructions/step-<step>/    held-out images given back, images.npy;
                                                           errors and use of the codes, summary.json
     results/<autoencoder>/report/                         both as figures, and a table
"""


wildcard_constraints:
    autoencoder=targets.alternatives(CONFIG.autoencoders),


rule encode:
    """A dataset as latents, by the autoencoder's last checkpoint: once, for all experiments."""
    input:
        manifest=lambda wildcards: jobs.last_manifest(CONFIG, wildcards.autoencoder),
        train=lambda wildcards: jobs.training_images(CONFIG, wildcards.autoencoder, "train"),
        eval=lambda wildcards: jobs.training_images(CONFIG, wildcards.autoencoder, "eval"),
    output:
        train=f"{RESULTS}/{{autoencoder}}/latents/train.npy",
        eval=f"{RESULTS}/{{autoencoder}}/latents/eval.npy",
        summary=f"{RESULTS}/{{autoencoder}}/latents/summary.json",
        weights=f"{RESULTS}/{{autoencoder}}/latents/autoencoder.safetensors",
    log:
        f"{RESULTS}/logs/encode/{{autoencoder}}.log",
    benchmark:
        f"{RESULTS}/logs/encode/{{autoencoder}}.benchmark.tsv"
    # Experiments wait for it.
    priority: 10
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: CONFIG.autoencoders[wildcards.autoencoder].train.run.cpus
    resources:
        how=lambda wildcards: run_keys(CONFIG.autoencoders[wildcards.autoencoder].train.run),
        gpu=1,
        mem_mb=lambda wildcards, attempt: ESTIMATES.encoding_mb(wildcards.autoencoder, attempt),
        runtime=lambda wildcards, attempt: ESTIMATES.minutes_as(
            "encode", wildcards.autoencoder, attempt=attempt
        ),
    params:
        what=lambda wildcards: stages.encode_stage(CONFIG, wildcards.autoencoder),
        step=lambda wildcards: CONFIG.autoencoders[wildcards.autoencoder].train.steps,
        folder=subpath(output.train, parent=True),
    shell:
        "exec with_log {log:q} encode.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input.manifest:q} --step {params.step}"
        " --train {input.train:q} --eval {input.eval:q} --output {params.folder:q}"


rule reconstruct:
    """Held-out images as a checkpoint gives them back, and the codes that they take."""
    input:
        manifest=lambda wildcards: jobs.manifest_of_checkpoint(
            CONFIG, wildcards.autoencoder, int(wildcards.step)
        ),
        images=lambda wildcards: jobs.reconstructed_images(CONFIG, wildcards.autoencoder),
    output:
        images=f"{RESULTS}/{{autoencoder}}/reconstructions/step-{{step}}/images.npy",
        summary=f"{RESULTS}/{{autoencoder}}/reconstructions/step-{{step}}/summary.json",
    log:
        f"{RESULTS}/logs/reconstruct/{{autoencoder}}.{{step}}.log",
    benchmark:
        f"{RESULTS}/logs/reconstruct/{{autoencoder}}.{{step}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: CONFIG.autoencoders[wildcards.autoencoder].train.run.cpus
    resources:
        how=lambda wildcards: run_keys(CONFIG.autoencoders[wildcards.autoencoder].train.run),
        gpu=1,
        mem_mb=lambda wildcards, attempt: ESTIMATES.reconstructing_mb(
            wildcards.autoencoder, attempt
        ),
        runtime=lambda wildcards, attempt: ESTIMATES.minutes_as(
            "reconstruct", wildcards.autoencoder, attempt=attempt
        ),
    params:
        what=lambda wildcards: stages.reconstruct_stage(CONFIG, wildcards.autoencoder),
    shell:
        "exec with_log {log:q} reconstruct.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input.manifest:q} --step {wildcards.step} --images {input.images:q}"
        " --output {output.images:q} --summary {output.summary:q}"


rule plot_reconstructions:
    """Held-out images beside their reconstructions; errors and use of the codes against steps."""
    input:
        images=lambda wildcards: jobs.reconstructed_images(CONFIG, wildcards.autoencoder),
        reconstructed=lambda wildcards: jobs.reconstruction_files(
            CONFIG, wildcards.autoencoder, "images.npy"
        ),
        summaries=lambda wildcards: jobs.reconstruction_files(
            CONFIG, wildcards.autoencoder, "summary.json"
        ),
    output:
        pairs=report(
            f"{RESULTS}/{{autoencoder}}/report/reconstructions.png",
            caption="../report/reconstructions.rst",
            category="Autoencoders",
            labels={"autoencoder": "{autoencoder}", "shows": "images and their reconstructions"},
        ),
        codebooks=report(
            f"{RESULTS}/{{autoencoder}}/report/Codebooks_vs_TrainingSteps.png",
            caption="../report/codebooks.rst",
            category="Autoencoders",
            labels={"autoencoder": "{autoencoder}", "shows": "errors and use of the codes"},
        ),
        table=report(
            f"{RESULTS}/{{autoencoder}}/report/reconstructions.csv",
            caption="../report/codebooks.rst",
            category="Autoencoders",
            labels={"autoencoder": "{autoencoder}", "shows": "all checkpoints and codebooks"},
        ),
    log:
        f"{RESULTS}/logs/plot_reconstructions/{{autoencoder}}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: ESTIMATES.small_mb(attempt),
        runtime=lambda wildcards, attempt: ESTIMATES.small_minutes(attempt),
    params:
        what=stages.stage("plot"),
        folder=subpath(output.pairs, parent=True),
    shell:
        "exec with_log {log:q} plot_reconstructions.py --what {params.what:q}"
        " --images {input.images:q} --reconstructed {input.reconstructed:q}"
        " --summaries {input.summaries:q} --name {wildcards.autoencoder:q}"
        " --output-dir {params.folder:q}"
