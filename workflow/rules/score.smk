"""Samples in, scores out.

In:  results/<experiment>/samples/<set>/step-<step>/images-*.npy, prepared images, weights
Out: results/datasets/<dataset>/classifier/                     a classifier on the dataset's labels
     results/datasets/<dataset>/features/<space>/<split>.npz    reference features
     results/<experiment>/scores/<score>/<set>/step-<step>.json
     results/<experiment>/scores/<score>/<set>/step-<step>.nearest.npz
By:  ddpm_bench/scoring
"""

if modules.inception_is_fetched_here(workflow, CONFIG):

    rule fetch_inception:
        """Download the published weights of the field's Inception network, checked by their sha256."""
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
    """Train a small classifier on the dataset's labels, for scores with `features: classifier`."""
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
    # Before training, which may take days: an error here should be known at once.
    priority: 10
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=classifier_mb,
        runtime=classifier_minutes,
    params:
        what=lambda wildcards: stages.classifier_stage(CONFIG, wildcards.dataset),
        dataset=lambda wildcards: jobs.dataset_folder(CONFIG, wildcards.dataset),
        folder=f"{RESULTS}/datasets/{{dataset}}/classifier",
    shell:
        "exec with_log {log:q} train_classifier.py --what {params.what:q}"
        " --dataset {params.dataset:q} --output {params.folder:q}"


rule reference_features:
    """Compute features of a dataset's own images, once per feature space and split."""
    input:
        images=prepared_split,
        weights=weights_of_space,
    output:
        f"{RESULTS}/datasets/{{dataset}}/features/{{space}}/{{split}}.npz",
    log:
        f"{RESULTS}/logs/reference_features/{{dataset}}.{{space}}.{{split}}.log",
    benchmark:
        f"{RESULTS}/logs/reference_features/{{dataset}}.{{space}}.{{split}}.benchmark.tsv"
    priority: 10
    conda:
        "../../envs/environment.yaml"
    threads: space_threads
    resources:
        how=space_run,
        gpu=1,
        mem_mb=features_mb,
        runtime=features_minutes,
    params:
        what=lambda wildcards: stages.feature_stage(score_of_space(wildcards), wildcards.space),
    shell:
        "exec with_log {log:q} reference_features.py --what {params.what:q}"
        " --how {resources.how:q} --images {input.images:q} --weights {input.weights:q}"
        " --output {output:q}"


rule score:
    """Compute every score of a set of one checkpoint from one pass of one network, and the distances
    of its images to training images."""
    input:
        samples=samples_of_checkpoint,
        reference=reference_features,
        fid_reference=fid_reference,
        train=train_features,
        heldout=heldout_features,
        weights=weights_of_score,
    output:
        scores=f"{RESULTS}/{{experiment}}/scores/{{score}}/{{samples}}/step-{{step}}.json",
        nearest=f"{RESULTS}/{{experiment}}/scores/{{score}}/{{samples}}/step-{{step}}.nearest.npz",
    log:
        f"{RESULTS}/logs/score/{{experiment}}.{{score}}.{{samples}}.{{step}}.log",
    benchmark:
        f"{RESULTS}/logs/score/{{experiment}}.{{score}}.{{samples}}.{{step}}.benchmark.tsv"
    group:
        shared_scoring_job
    conda:
        "../../envs/environment.yaml"
    threads: score_threads
    resources:
        how=score_run,
        gpu=1,
        turn=1,
        mem_mb=scoring_mb,
        runtime=scoring_minutes,
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
