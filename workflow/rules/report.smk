"""Scores in, tables and figures out.

In:  results/<experiment>/scores/<score>/<set>/step-*.json, metrics.csv, samples,
     training/validation-*.csv
Out: results/<experiment>/report/   tables and figures of one experiment
     results/report/                all experiments side by side
"""


rule collect:
    """All scores of an experiment as one tidy table, and the best checkpoint by each metric."""
    input:
        lambda wildcards: plan.score_files(CONFIG, wildcards.experiment),
    output:
        evaluation=report(
            f"{RESULTS}/{{experiment}}/report/evaluation_results.csv",
            caption="../report/evaluation_results.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "all scores"},
        ),
        best=report(
            f"{RESULTS}/{{experiment}}/report/best_scores.csv",
            caption="../report/best_scores.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "best checkpoint by each metric"},
        ),
    log:
        f"{RESULTS}/logs/collect/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        what=lambda wildcards: stages.stage(
            "collect",
            experiment=wildcards.experiment,
            dataset=CONFIG.experiments[wildcards.experiment].dataset,
        ),
    shell:
        "exec with_log {log:q} collect.py --what {params.what:q} --scores {input:q}"
        " --evaluation {output.evaluation:q} --best {output.best:q}"


rule thin:
    """Remove the weights of checkpoints that are scored, as `keep` of the experiment says."""
    input:
        evaluation=rules.collect.output.evaluation,
        best=rules.collect.output.best,
        validations=lambda wildcards: plan.validations(CONFIG, wildcards.experiment),
    output:
        f"{RESULTS}/{{experiment}}/training/thinned.json",
    log:
        f"{RESULTS}/logs/thin/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        what=lambda wildcards: stages.thin_stage(
            CONFIG, wildcards.experiment, plan.asked_steps(CONFIG, wildcards.experiment)
        ),
        folder=subpath(output[0], ancestor=2),
    shell:
        "exec with_log {log:q} thin.py --what {params.what:q} --experiment {params.folder:q}"
        " --evaluation {input.evaluation:q} --best {input.best:q} --output {output:q}"


rule plot_scores:
    """Each metric against training steps."""
    input:
        rules.collect.output.evaluation,
    output:
        fid=report(
            f"{RESULTS}/{{experiment}}/report/FID_vs_TrainingSteps.png",
            caption="../report/fid.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "FID"},
        ),
        fid_first=report(
            f"{RESULTS}/{{experiment}}/report/FID_vs_TrainingSteps_First25.png",
            caption="../report/fid.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "FID, first 25 checkpoints"},
        ),
        isc=report(
            f"{RESULTS}/{{experiment}}/report/IS_vs_TrainingSteps.png",
            caption="../report/is.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "IS"},
        ),
        isc_first=report(
            f"{RESULTS}/{{experiment}}/report/IS_vs_TrainingSteps_First25.png",
            caption="../report/is.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "IS, first 25 checkpoints"},
        ),
        kid=report(
            f"{RESULTS}/{{experiment}}/report/KID_vs_TrainingSteps.png",
            caption="../report/kid.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "KID"},
        ),
        prc=report(
            f"{RESULTS}/{{experiment}}/report/PrecisionRecall_vs_TrainingSteps.png",
            caption="../report/precision_recall.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "precision and recall"},
        ),
    log:
        f"{RESULTS}/logs/plot_scores/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        what=stages.stage("plot"),
        folder=subpath(output.fid, parent=True),
    shell:
        "exec with_log {log:q} plot_scores.py --what {params.what:q} --evaluation {input:q}"
        " --output-dir {params.folder:q}"


rule plot_loss:
    """Training and validation losses against steps."""
    input:
        manifests=lambda wildcards: plan.manifests(CONFIG, wildcards.experiment),
        validations=lambda wildcards: plan.validations(CONFIG, wildcards.experiment),
    output:
        report(
            f"{RESULTS}/{{experiment}}/report/loss.png",
            caption="../report/loss.rst",
            category="Training",
            labels={"experiment": "{experiment}", "shows": "losses"},
        ),
    log:
        f"{RESULTS}/logs/plot_loss/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        what=stages.stage("plot"),
        metrics=f"{RESULTS}/{{experiment}}/metrics.csv",
    shell:
        "exec with_log {log:q} plot_loss.py --what {params.what:q} --metrics {params.metrics:q}"
        " --validations {input.validations:q} --output {output:q}"


rule plot_schedule:
    """The noise that the forward process adds, and what each timestep's error weighs."""
    output:
        report(
            f"{RESULTS}/{{experiment}}/report/schedule.png",
            caption="../report/schedule.rst",
            category="Training",
            labels={"experiment": "{experiment}", "shows": "noise schedule"},
        ),
    log:
        f"{RESULTS}/logs/plot_schedule/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        what=lambda wildcards: stages.schedule_stage(CONFIG, wildcards.experiment),
    shell:
        "exec with_log {log:q} plot_schedule.py --what {params.what:q}"
        " --experiment {wildcards.experiment:q} --output {output:q}"


rule plot_samples:
    """Samples of all checkpoints from the same noise, side by side."""
    input:
        lambda wildcards: plan.first_sample_files(CONFIG, wildcards.experiment, wildcards.samples),
    output:
        report(
            f"{RESULTS}/{{experiment}}/report/samples_over_training.{{samples}}.png",
            caption="../report/samples_over_training.rst",
            category="Samples",
            subcategory="{experiment}",
            labels={"samples": "{samples}", "training step": "all"},
        ),
    log:
        f"{RESULTS}/logs/plot_samples/{{experiment}}.{{samples}}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        what=stages.stage("plot"),
        steps=lambda wildcards: plan.checkpoint_steps(
            CONFIG, wildcards.experiment, wildcards.samples
        ),
    shell:
        "exec with_log {log:q} plot_samples.py --what {params.what:q} --steps {params.steps}"
        " --samples {input:q} --output {output:q}"


rule compare:
    """All experiments together: one tidy table and figures that set them side by side."""
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
    params:
        what=stages.stage("compare"),
        folder=subpath(output.scores, parent=True),
    shell:
        "exec with_log {log:q} compare.py --what {params.what:q}"
        " --evaluations {input.evaluations:q} --bests {input.bests:q}"
        " --output-dir {params.folder:q}"
