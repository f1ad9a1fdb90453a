"""The best checkpoint of an experiment, exported for use elsewhere.

In:  results/<experiment>/report/evaluation_results.csv, checkpoints, samples
Out: results/<experiment>/best/    weights, config, samples, scores, model card, sample.py
By:  ddpm_bench/export

The weights are not a declared output, so that Snakemake never deletes them.
"""


rule best:
    """Export the checkpoint that `best` of the experiment chooses."""
    input:
        evaluation=rules.collect.output.evaluation,
        manifests=manifests,
        images=summary_of_images,
    output:
        card=report(
            f"{RESULTS}/{{experiment}}/best/README.md",
            caption="../report/best.rst",
            category="Best checkpoints",
            labels={"experiment": "{experiment}", "shows": "model card"},
        ),
        grid=report(
            f"{RESULTS}/{{experiment}}/best/grid.png",
            caption="../report/best.rst",
            category="Best checkpoints",
            labels={"experiment": "{experiment}", "shows": "samples"},
        ),
        scores=f"{RESULTS}/{{experiment}}/best/scores.json",
        config=f"{RESULTS}/{{experiment}}/best/config.yaml",
    log:
        f"{RESULTS}/logs/best/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=exporting_mb,
        runtime=small_job_minutes,
    params:
        what=lambda wildcards: stages.best_stage(CONFIG, wildcards.experiment),
        experiment=subpath(output.card, ancestor=2),
        folder=subpath(output.card, parent=True),
    shell:
        "exec with_log {log:q} best.py --what {params.what:q} --evaluation {input.evaluation:q}"
        " --manifests {input.manifests:q} --images {input.images:q}"
        " --experiment {params.experiment:q} --output-dir {params.folder:q}"
