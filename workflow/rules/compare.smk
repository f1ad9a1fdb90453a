"""All experiments together.

In:  results/<experiment>/report/*.csv, metrics.csv, progress.jsonl,
     results/logs/<rule>/*.benchmark.tsv
Out: results/report/    scores side by side, against steps and against hours; losses; costs
"""

COMPARED = reported.compared(CONFIG)


rule compare:
    """All experiments together: one tidy table and figures that set them side by side."""
    input:
        evaluations=expand(
            f"{RESULTS}/{{experiment}}/report/evaluation_results.csv",
            experiment=COMPARED,
        ),
        bests=expand(f"{RESULTS}/{{experiment}}/report/best_scores.csv", experiment=COMPARED),
    output:
        scores=report(
            f"{RESULTS}/report/all_scores.csv",
            caption="../report/comparison.rst",
            category="All experiments",
            labels={"shows": "all scores"},
        ),
        best=report(
            f"{RESULTS}/report/best_scores.csv",
            caption="../report/comparison.rst",
            category="All experiments",
            labels={"shows": "best checkpoints"},
        ),
        fid=report(
            f"{RESULTS}/report/FID_comparison.png",
            caption="../report/comparison.rst",
            category="All experiments",
            labels={"shows": "FID"},
        ),
        kid=report(
            f"{RESULTS}/report/KID_comparison.png",
            caption="../report/comparison.rst",
            category="All experiments",
            labels={"shows": "KID"},
        ),
        isc=report(
            f"{RESULTS}/report/IS_comparison.png",
            caption="../report/comparison.rst",
            category="All experiments",
            labels={"shows": "IS"},
        ),
    log:
        f"{RESULTS}/logs/compare.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: NEEDS.small_mb(attempt),
        runtime=lambda wildcards, attempt: NEEDS.small_minutes(attempt),
    params:
        what=stages.score_figures_stage(CONFIG, "compare", COMPARED),
        folder=subpath(output.scores, parent=True),
    shell:
        "exec with_log {log:q} compare.py --what {params.what:q}"
        " --evaluations {input.evaluations:q} --bests {input.bests:q}"
        " --output-dir {params.folder:q}"


rule costs:
    """Time, GPU-hours and memory of each stage, asked for and used."""
    input:
        reported.charged(CONFIG),
    output:
        table=report(
            f"{RESULTS}/report/costs.csv",
            caption="../report/costs.rst",
            category="Costs",
            labels={"shows": "each stage of each experiment"},
        ),
        figure=report(
            f"{RESULTS}/report/Costs.png",
            caption="../report/costs.rst",
            category="Costs",
            labels={"shows": "wall time, GPU-hours and memory"},
        ),
    log:
        f"{RESULTS}/logs/costs.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: NEEDS.small_mb(attempt),
        runtime=lambda wildcards, attempt: NEEDS.small_minutes(attempt),
    params:
        what=stages.costs_stage(CONFIG),
        results=subpath(output.table, ancestor=2),
    shell:
        "exec with_log {log:q} costs.py --what {params.what:q} --results {params.results:q}"
        " --table {output.table:q} --figure {output.figure:q}"
