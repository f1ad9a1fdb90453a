"""The members of a sweep side by side. Each is an experiment of its own.

In:  results/<member>/report/evaluation_results.csv, metrics.csv, progress.jsonl,
     training/job-*.json (with the reason of a training that failed)
Out: results/report/sweeps/<sweep>/   sweep.csv, ranking.csv and figures
By:  ddpm_bench/report/sweeps
"""


rule sweep:
    """Collect tables of a sweep's members and settings, and draw the effects of its keys."""
    input:
        evaluations=evaluations_of_members,
        manifests=manifests_of_members,
    output:
        table=report(
            f"{RESULTS}/report/sweeps/{{sweep}}/sweep.csv",
            caption="../report/sweep_table.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"shows": "all members"},
        ),
        ranking=report(
            f"{RESULTS}/report/sweeps/{{sweep}}/ranking.csv",
            caption="../report/sweep_ranking.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"shows": "ranking of settings"},
        ),
        ranking_figure=report(
            f"{RESULTS}/report/sweeps/{{sweep}}/Ranking.png",
            caption="../report/sweep_ranking.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"shows": "settings, best first"},
        ),
        effects=report(
            f"{RESULTS}/report/sweeps/{{sweep}}/MainEffects.png",
            caption="../report/sweep_effects.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"shows": "each key by itself"},
        ),
        coordinates=report(
            f"{RESULTS}/report/sweeps/{{sweep}}/ParallelCoordinates.png",
            caption="../report/sweep_coordinates.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"shows": "parallel coordinates"},
        ),
        scores=report(
            f"{RESULTS}/report/sweeps/{{sweep}}/ScoreCurves.png",
            caption="../report/sweep_curves.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"shows": "scores against steps"},
        ),
        losses=report(
            f"{RESULTS}/report/sweeps/{{sweep}}/LossCurves.png",
            caption="../report/sweep_losses.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"shows": "losses against steps"},
        ),
    log:
        f"{RESULTS}/logs/sweep/{{sweep}}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=lambda wildcards: stages.sweep_stage(CONFIG, wildcards.sweep),
        results=subpath(output.table, ancestor=4),
        folder=subpath(output.table, parent=True),
    shell:
        "exec with_log {log:q} sweep.py --what {params.what:q} --results {params.results:q}"
        " --output-dir {params.folder:q}"
