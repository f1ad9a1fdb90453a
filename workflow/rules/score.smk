"""Samples in, scores out.

In:  results/<experiment>/samples/<set>/step-<step>/images-*.npy, prepared images, weights
Out: results/datasets/<dataset>/classifier/                     a classifier on the dataset's labels
     results/datasets/<dataset>/features/<space>/<split>.npz    reference features
     results/<experiment>/scores/<score>/<set>/step-<step>.json
     results/<experiment>/scores/<score>/<set>/step-<step>.nearest.npz
"""

if modules.inception_is_fetched_here(workflow, CONFIG):

    rule fetch_inception:
        """The published weights of the field's Inception network, checked against their sha256."""
        output:
            f"{RESOURCES}/inception/{jobs.PUBLISHED_INCEPTION_FILE}",
        log:
            f"{RESULTS}/logs/fetch_inception.log",
        priority: 10
        localrule: True
        conda:
            "../../envs/environment.yaml"
        shell:
            "exec with_log {log:q} fetch_inception.py --output {output:q}"


rule train_classifier:
    """A small classifier on the dataset's labels, for scores with `features: classifier`."""
    input:
        rules.prepare.output.train,
        rules.prepare.output.eval,
        rules.prepare.output.images,
    output:
        weights=f"{RESULTS}/datasets/{{dataset}}/classifier/classifier.safetensors",
        summary=f"{RESULTS}/datasets/{{dataset}}/classifier/summary.json",
    log:
        f"{RESULTS}/logs/train_classifier/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/logs/train_classifier/{{dataset}}.benchmark.tsv"
    # Before training, which may take days: what is wrong here should be known at once.
    priority: 10
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: ESTIMATES.classifier_mb(wildcards.dataset, attempt),
        runtime=lambda wildcards, attempt: ESTIMATES.dataset_minutes_as(
            "train_classifier", wildcards.dataset, attempt=attempt
        ),
    params:
        what=lambda wildcards: stages.classifier_stage(CONFIG, wildcards.dataset),
        dataset=lambda wildcards: jobs.dataset_folder(CONFIG, wildcards.dataset),
        folder=f"{RESULTS}/datasets/{{dataset}}/classifier",
    shell:
        "exec with_log {log:q} train_classifier.py --what {params.what:q}"
        " --dataset {params.dataset:q} --output {params.folder:q}"


rule reference_features:
    """Features of a dataset's own images, once per feature space and split."""
    input:
        images=lambda wildcards: jobs.prepared_images(CONFIG, wildcards.dataset, wildcards.split),
        weights=lambda wildcards: jobs.feature_weights(
            CONFIG,
            wildcards.dataset,
            jobs.score_of_space(CONFIG, wildcards.dataset, wildcards.space),
        ),
    output:
        f"{RESULTS}/datasets/{{dataset}}/features/{{space}}/{{split}}.npz",
    log:
        f"{RESULTS}/logs/reference_features/{{dataset}}.{{space}}.{{split}}.log",
    benchmark:
        f"{RESULTS}/logs/reference_features/{{dataset}}.{{space}}.{{split}}.benchmark.tsv"
    priority: 10
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: jobs.score_of_space(CONFIG, wildcards.dataset, wildcards.space).run.cpus
    resources:
        how=lambda wildcards: run_keys(
            jobs.score_of_space(CONFIG, wildcards.dataset, wildcards.space).run
        ),
        gpu=1,
        mem_mb=lambda wildcards, attempt: ESTIMATES.feature_mb(
            wildcards.dataset, wildcards.space, wildcards.split, attempt
        ),
        runtime=lambda wildcards, attempt: ESTIMATES.dataset_minutes_as(
            "reference_features",
            wildcards.dataset,
            wildcards.space,
            wildcards.split,
            attempt=attempt,
        ),
    params:
        what=lambda wildcards: stages.feature_stage(
            jobs.score_of_space(CONFIG, wildcards.dataset, wildcards.space), wildcards.space
        ),
    shell:
        "exec with_log {log:q} reference_features.py --what {params.what:q}"
        " --how {resources.how:q} --images {input.images:q} --weights {input.weights:q}"
        " --output {output:q}"


rule score:
    """Every score of one checkpoint's set, from one pass of one network, and how near its images
    come to those that were trained on."""
    input:
        samples=lambda wildcards: jobs.sample_files(
            CONFIG, wildcards.experiment, wildcards.samples, int(wildcards.step)
        ),
        reference=lambda wildcards: jobs.reference_files(
            CONFIG, wildcards.experiment, wildcards.score
        ),
        fid_reference=lambda wildcards: jobs.fid_reference_files(
            CONFIG, wildcards.experiment, wildcards.score
        ),
        train=lambda wildcards: jobs.train_features(CONFIG, wildcards.experiment, wildcards.score),
        heldout=lambda wildcards: jobs.heldout_features(
            CONFIG, wildcards.experiment, wildcards.score
        ),
        weights=lambda wildcards: jobs.feature_weights(
            CONFIG,
            CONFIG.trainings[wildcards.experiment].dataset,
            CONFIG.trainings[wildcards.experiment].scores[wildcards.score],
        ),
    output:
        scores=f"{RESULTS}/{{experiment}}/scores/{{score}}/{{samples}}/step-{{step}}.json",
        nearest=f"{RESULTS}/{{experiment}}/scores/{{score}}/{{samples}}/step-{{step}}.nearest.npz",
    log:
        f"{RESULTS}/logs/score/{{experiment}}.{{score}}.{{samples}}.{{step}}.log",
    benchmark:
        f"{RESULTS}/logs/score/{{experiment}}.{{score}}.{{samples}}.{{step}}.benchmark.tsv"
    group:
        lambda wildcards: SHARED.name(
            wildcards.experiment, wildcards.samples, int(wildcards.step), wildcards.score
        )
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: CONFIG.trainings[wildcards.experiment].scores[wildcards.score].run.cpus
    resources:
        how=lambda wildcards: run_keys(
            CONFIG.trainings[wildcards.experiment].scores[wildcards.score].run
        ),
        gpu=1,
        turn=1,
        mem_mb=lambda wildcards, attempt: ESTIMATES.scoring_mb(
            wildcards.experiment, wildcards.score, wildcards.samples, attempt
        ),
        runtime=lambda wildcards, attempt: ESTIMATES.scoring_minutes(
            wildcards.experiment, wildcards.score, wildcards.samples, attempt
        ),
    params:
        what=lambda wildcards: stages.score_stage(
            CONFIG, wildcards.experiment, wildcards.samples, wildcards.score
        ),
    shell:
        "exec with_log {log:q} score.py --what {params.what:q} --how {resources.how:q}"
        " --samples {input.samples:q} --reference {input.reference:q}"
        " --fid-reference {input.fid_reference:q} --train {input.train:q}"
        " --heldout {input.heldout:q} --weights {input.weights:q}"
        " --output {output.scores:q} --nearest {output.nearest:q}"
