"""Scores in, tables and figures out.

In:  results/<experiment>/scores/<score>/<set>/step-*.json, step-*.nearest.npz, metrics.csv,
     samples and their timings, checkpoints, training/validation-*.csv
Out: results/<experiment>/report/   tables, figures and animations of one experiment
By:  ddpm_bench/report
"""

import mimetypes

# Snakemake's report shows PNG, JPEG and SVG, and offers other files for download only. A browser
# recognises a GIF that is declared as PNG by its content, and plays it.
mimetypes.add_type("image/png", ".gif")


rule collect:
    """Collect all scores of an experiment in one tidy table, and its best checkpoint by each metric."""
    input:
        scores,
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
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        what=lambda wildcards: stages.stage(
            "collect",
            experiment=wildcards.experiment,
            dataset=CONFIG.trainings[wildcards.experiment].dataset,
        ),
    shell:
        "exec with_log {log:q} collect.py --what {params.what:q} --scores {input:q}"
        " --evaluation {output.evaluation:q} --best {output.best:q}"


rule thin:
    """Remove the weights of scored checkpoints that `keep` of the experiment does not keep."""
    input:
        evaluation=rules.collect.output.evaluation,
        best=rules.collect.output.best,
        validations=validations,
        trajectories=training_trajectories,
    output:
        f"{RESULTS}/{{experiment}}/training/thinned.json",
    log:
        f"{RESULTS}/logs/thin/{{experiment}}.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        what=lambda wildcards: stages.thin_stage(
            CONFIG, wildcards.experiment, jobs.asked_steps(CONFIG, wildcards.experiment)
        ),
        folder=subpath(output[0], ancestor=2),
    shell:
        "exec with_log {log:q} thin.py --what {params.what:q} --experiment {params.folder:q}"
        " --evaluation {input.evaluation:q} --best {input.best:q} --output {output:q}"


rule plot_scores:
    """Draw each metric against training steps."""
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
        isc=report(
            f"{RESULTS}/{{experiment}}/report/IS_vs_TrainingSteps.png",
            caption="../report/is.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "IS"},
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
        dc=report(
            f"{RESULTS}/{{experiment}}/report/DensityCoverage_vs_TrainingSteps.png",
            caption="../report/density_coverage.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "density and coverage"},
        ),
        memorising=report(
            f"{RESULTS}/{{experiment}}/report/Memorising_vs_TrainingSteps.png",
            caption="../report/memorising.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "memorising"},
        ),
    log:
        f"{RESULTS}/logs/plot_scores/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=lambda wildcards: stages.score_figures_stage(CONFIG, "plot", [wildcards.experiment]),
        folder=subpath(output.fid, parent=True),
    shell:
        "exec with_log {log:q} plot_scores.py --what {params.what:q} --evaluation {input:q}"
        " --output-dir {params.folder:q}"


rule plot_first_scores:
    """Draw FID and IS of the first 25 checkpoints, where there are more."""
    input:
        rules.collect.output.evaluation,
    output:
        fid=report(
            f"{RESULTS}/{{experiment}}/report/FID_vs_TrainingSteps_First25.png",
            caption="../report/fid.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "FID, first 25 checkpoints"},
        ),
        isc=report(
            f"{RESULTS}/{{experiment}}/report/IS_vs_TrainingSteps_First25.png",
            caption="../report/is.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "IS, first 25 checkpoints"},
        ),
    log:
        f"{RESULTS}/logs/plot_first_scores/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=lambda wildcards: stages.score_figures_stage(CONFIG, "plot", [wildcards.experiment]),
        folder=subpath(output.fid, parent=True),
    shell:
        "exec with_log {log:q} plot_first_scores.py --what {params.what:q} --evaluation {input:q}"
        " --output-dir {params.folder:q}"


rule plot_loss:
    """Draw training and validation losses against steps."""
    input:
        manifests=manifests,
        validations=validations,
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
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.stage("plot"),
        metrics=f"{RESULTS}/{{experiment}}/metrics.csv",
    shell:
        "exec with_log {log:q} plot_loss.py --what {params.what:q} --metrics {params.metrics:q}"
        " --validations {input.validations:q} --output {output:q}"


rule plot_schedule:
    """Draw the noise that the forward process adds, and the weight of each timestep's error."""
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
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=lambda wildcards: stages.schedule_stage(CONFIG, wildcards.experiment),
    shell:
        "exec with_log {log:q} plot_schedule.py --what {params.what:q}"
        " --experiment {wildcards.experiment:q} --output {output:q}"


rule plot_samples:
    """Draw samples of all checkpoints from the same noise, side by side and as an animation."""
    input:
        first_samples,
    output:
        figure=report(
            f"{RESULTS}/{{experiment}}/report/samples_over_training.{{samples}}.png",
            caption="../report/samples_over_training.rst",
            category="Samples",
            subcategory="{experiment}",
            labels={"samples": "{samples}", "training step": "all"},
        ),
        animation=report(
            f"{RESULTS}/{{experiment}}/report/samples_over_training.{{samples}}.gif",
            caption="../report/samples_over_training.rst",
            category="Samples",
            subcategory="{experiment}",
            labels={"samples": "{samples}", "training step": "all, animated"},
        ),
    log:
        f"{RESULTS}/logs/plot_samples/{{experiment}}.{{samples}}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.stage("plot"),
        steps=lambda wildcards: jobs.checkpoint_steps(
            CONFIG, wildcards.experiment, wildcards.samples
        ),
    shell:
        "exec with_log {log:q} plot_samples.py --what {params.what:q} --steps {params.steps}"
        " --samples {input:q} --output {output.figure:q} --animation {output.animation:q}"


rule plot_trajectory:
    """Animate a few images of a set from noise to image, by its latest checkpoint."""
    input:
        manifest_of_latest_checkpoint,
    output:
        report(
            f"{RESULTS}/{{experiment}}/report/denoising.{{samples}}.gif",
            caption="../report/denoising.rst",
            category="Samples",
            subcategory="{experiment}",
            labels={"samples": "{samples}", "training step": "latest, from noise to image"},
        ),
    log:
        f"{RESULTS}/logs/plot_trajectory/{{experiment}}.{{samples}}.log",
    benchmark:
        f"{RESULTS}/logs/plot_trajectory/{{experiment}}.{{samples}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: samples_threads
    resources:
        how=samples_run,
        gpu=1,
        mem_mb=sampling_mb,
        runtime=trajectory_minutes,
    params:
        what=lambda wildcards: stages.trajectory_stage(
            CONFIG, wildcards.experiment, wildcards.samples
        ),
        step=latest_step,
        title="{experiment}: samples {samples}, from noise to image",
    shell:
        "exec with_log {log:q} plot_trajectory.py --what {params.what:q} --how {resources.how:q}"
        " --manifest {input:q} --step {params.step} --title {params.title:q} --output {output:q}"


rule plot_closest_pairs:
    """Draw the images of a set's latest checkpoint that are closest to training images."""
    input:
        nearest=nearest_of_latest_checkpoint,
        samples=samples_of_latest_checkpoint,
        train=prepared_train_images,
    output:
        report(
            f"{RESULTS}/{{experiment}}/report/closest_pairs.{{score}}.{{samples}}.png",
            caption="../report/closest_pairs.rst",
            category="Scores",
            subcategory="{experiment}",
            labels={"shows": "closest training images: {samples}, {score}"},
        ),
    log:
        f"{RESULTS}/logs/plot_closest_pairs/{{experiment}}.{{score}}.{{samples}}.log",
    # Names may hold dots.
    wildcard_constraints:
        score=targets.alternatives(
            score for keys in CONFIG.experiments.values() for score in keys.scores
        ),
        samples=targets.alternatives(
            samples for keys in CONFIG.experiments.values() for samples in keys.samples
        ),
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.stage("plot"),
        space=lambda wildcards: score_keys(wildcards).feature_space,
    shell:
        "exec with_log {log:q} plot_closest_pairs.py --what {params.what:q}"
        " --nearest {input.nearest:q} --samples {input.samples:q} --train {input.train:q}"
        " --feature-space {params.space:q} --output {output:q}"


rule plot_samplers:
    """Draw quality against seconds per image, for the sets of samples of one checkpoint."""
    input:
        evaluation=rules.collect.output.evaluation,
        timings=sampler_timings,
    output:
        figure=report(
            f"{RESULTS}/{{experiment}}/report/Quality_vs_SecondsPerImage.png",
            caption="../report/samplers.rst",
            category="Samplers",
            labels={"experiment": "{experiment}", "shows": "quality against seconds per image"},
        ),
        comparison=report(
            f"{RESULTS}/{{experiment}}/report/sampler_comparison.csv",
            caption="../report/samplers.rst",
            category="Samplers",
            labels={"experiment": "{experiment}", "shows": "all sets that are compared"},
        ),
        steps=report(
            f"{RESULTS}/{{experiment}}/report/steps_to_quality.csv",
            caption="../report/samplers.rst",
            category="Samplers",
            labels={"experiment": "{experiment}", "shows": "steps to within 5% of the best"},
        ),
    log:
        f"{RESULTS}/logs/plot_samplers/{{experiment}}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=lambda wildcards: stages.samplers_stage(CONFIG, wildcards.experiment),
        step=lambda wildcards: targets.compared_sets(CONFIG, wildcards.experiment)[0],
        folder=subpath(output.figure, parent=True),
    shell:
        "exec with_log {log:q} plot_samplers.py --what {params.what:q}"
        " --evaluation {input.evaluation:q} --timings {input.timings:q} --step {params.step}"
        " --output-dir {params.folder:q}"
