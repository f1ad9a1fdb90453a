"""All experiments side by side.

In:  results/<experiment>/report/*.csv, metrics.csv, progress.jsonl, results/logs/<rule>/*.benchmark.tsv
Out: results/report/    scores side by side, against steps and against hours; losses; costs
By:  ddpm_bench/report
"""

COMPARED = targets.compared(CONFIG)


rule compare:
    """Collect the scores of all experiments in one tidy table, and draw them side by side."""
    input:
        evaluations=expand(
            f"{RESULTS}/{{experiment}}/report/evaluation_results.csv",
            experiment=CONFIG.experiments,
        ),
        bests=expand(
            f"{RESULTS}/{{experiment}}/report/best_scores.csv", experiment=CONFIG.experiments
        ),
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
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.compare_stage(CONFIG, COMPARED),
        folder=subpath(output.scores, parent=True),
    shell:
        "exec with_log {log:q} compare.py --what {params.what:q}"
        " --evaluations {input.evaluations:q} --bests {input.bests:q}"
        " --output-dir {params.folder:q}"


rule compare_hours:
    """Draw scores against GPU-hours of training."""
    input:
        # The program reads progress files, which are not declared and grow with the manifests.
        manifests=[path for name in COMPARED for path in jobs.manifests(CONFIG, name)],
        evaluations=expand(
            f"{RESULTS}/{{experiment}}/report/evaluation_results.csv", experiment=COMPARED
        ),
    output:
        table=report(
            f"{RESULTS}/report/training_hours.csv",
            caption="../report/training_hours.rst",
            category="All experiments",
            labels={"shows": "training time up to each checkpoint"},
        ),
        fid=report(
            f"{RESULTS}/report/FID_vs_GPUHours.png",
            caption="../report/training_hours.rst",
            category="All experiments",
            labels={"shows": "FID against training time"},
        ),
        kid=report(
            f"{RESULTS}/report/KID_vs_GPUHours.png",
            caption="../report/training_hours.rst",
            category="All experiments",
            labels={"shows": "KID against training time"},
        ),
        isc=report(
            f"{RESULTS}/report/IS_vs_GPUHours.png",
            caption="../report/training_hours.rst",
            category="All experiments",
            labels={"shows": "IS against training time"},
        ),
    log:
        f"{RESULTS}/logs/compare_hours.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.hours_stage(CONFIG, COMPARED),
        folder=subpath(output.table, parent=True),
        results=subpath(output.table, ancestor=2),
    shell:
        "exec with_log {log:q} compare_hours.py --what {params.what:q}"
        " --evaluations {input.evaluations:q} --results {params.results:q}"
        " --output-dir {params.folder:q}"


rule compare_losses:
    """Draw the training losses of comparable experiments on one axis."""
    input:
        [path for name in targets.losses_compared(CONFIG) for path in jobs.manifests(CONFIG, name)],
    output:
        report(
            f"{RESULTS}/report/Loss_comparison.png",
            caption="../report/loss_comparison.rst",
            category="All experiments",
            labels={"shows": "training losses"},
        ),
    log:
        f"{RESULTS}/logs/compare_losses.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.losses_stage(CONFIG, COMPARED),
        results=subpath(output[0], ancestor=2),
    shell:
        "exec with_log {log:q} compare_losses.py --what {params.what:q}"
        " --results {params.results:q} --output {output:q}"


rule plot_best_scores:
    """Draw the best scores of all experiments as a table."""
    input:
        expand(f"{RESULTS}/{{experiment}}/report/best_scores.csv", experiment=COMPARED),
    output:
        report(
            f"{RESULTS}/report/best_scores.png",
            caption="../report/best_scores_compared.rst",
            category="All experiments",
            labels={"shows": "best scores, as a picture"},
        ),
    log:
        f"{RESULTS}/logs/plot_best_scores.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.score_figures_stage(CONFIG, "bests", COMPARED),
    shell:
        "exec with_log {log:q} plot_best_scores.py --what {params.what:q} --bests {input:q}"
        " --output {output:q}"


rule costs:
    """Collect and draw time, GPU-hours and memory of each stage, requested and used."""
    input:
        targets.charged(CONFIG),
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
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.costs_stage(CONFIG),
        results=subpath(output.table, ancestor=2),
    shell:
        "exec with_log {log:q} costs.py --what {params.what:q} --results {params.results:q}"
        " --table {output.table:q} --figure {output.figure:q}"
