"""An autoencoder's checkpoints in, latents and reconstructions out. Rule train trains it.

In:  results/<autoencoder>/training/job-*.json, prepared images
Out: results/<autoencoder>/latents/                        what experiments train on
     results/<autoencoder>/reconstructions/step-<step>/    images.npy, held-out images reconstructed;
                                                           summary.json, errors and use of the codes
     results/<autoencoder>/report/                         both as figures, and a table
By:  ddpm_bench/latents, report
"""


wildcard_constraints:
    autoencoder=targets.alternatives(CONFIG.autoencoders),


rule encode:
    """Encode a dataset as latents by the autoencoder's last checkpoint, once for all experiments."""
    input:
        manifest=last_manifest,
        train=train_images,
        eval=eval_images,
    output:
        train=f"{RESULTS}/{{autoencoder}}/latents/train.npy",
        eval=f"{RESULTS}/{{autoencoder}}/latents/eval.npy",
        summary=f"{RESULTS}/{{autoencoder}}/latents/summary.json",
        weights=f"{RESULTS}/{{autoencoder}}/latents/autoencoder.safetensors",
    log:
        f"{RESULTS}/logs/encode/{{autoencoder}}.log",
    benchmark:
        f"{RESULTS}/logs/encode/{{autoencoder}}.benchmark.tsv"
    # Experiments wait for latents.
    priority: 10
    conda:
        "../../envs/environment.yaml"
    threads: threads_of_one_process
    resources:
        how=training_run,
        gpu=1,
        mem_mb=encoding_mb,
        runtime=encoding_minutes,
    params:
        what=lambda wildcards: stages.encode_stage(CONFIG, wildcards.autoencoder),
        step=lambda wildcards: CONFIG.autoencoders[wildcards.autoencoder].train.steps,
        folder=subpath(output.train, parent=True),
    shell:
        "exec with_log {log:q} encode.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input.manifest:q} --step {params.step}"
        " --train {input.train:q} --eval {input.eval:q} --output {params.folder:q}"


rule reconstruct:
    """Reconstruct held-out images with a checkpoint, and count the codes that they use."""
    input:
        manifest=manifest_of_checkpoint,
        images=heldout_images,
    output:
        images=f"{RESULTS}/{{autoencoder}}/reconstructions/step-{{step}}/images.npy",
        summary=f"{RESULTS}/{{autoencoder}}/reconstructions/step-{{step}}/summary.json",
    log:
        f"{RESULTS}/logs/reconstruct/{{autoencoder}}.{{step}}.log",
    benchmark:
        f"{RESULTS}/logs/reconstruct/{{autoencoder}}.{{step}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: threads_of_one_process
    resources:
        how=training_run,
        gpu=1,
        mem_mb=reconstructing_mb,
        runtime=reconstructing_minutes,
    params:
        what=lambda wildcards: stages.reconstruct_stage(CONFIG, wildcards.autoencoder),
    shell:
        "exec with_log {log:q} reconstruct.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input.manifest:q} --step {wildcards.step} --images {input.images:q}"
        " --output {output.images:q} --summary {output.summary:q}"


rule plot_reconstructions:
    """Draw held-out images beside their reconstructions; errors and use of the codes against steps."""
    input:
        images=heldout_images,
        reconstructed=reconstructions,
        summaries=reconstruction_summaries,
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
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.stage("plot"),
        folder=subpath(output.pairs, parent=True),
    shell:
        "exec with_log {log:q} plot_reconstructions.py --what {params.what:q}"
        " --images {input.images:q} --reconstructed {input.reconstructed:q}"
        " --summaries {input.summaries:q} --name {wildcards.autoencoder:q}"
        " --output-dir {params.folder:q}"
