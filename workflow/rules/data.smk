"""Sources in, prepared images out.

In:  `datasets:` of the config
Out: resources/datasets/<fetched>.json   a record of the fetched files, with their checksum
     results/datasets/<dataset>/         train.npy, eval.npy, images.csv, summary.json, preview.png
By:  ddpm_bench/data
"""


rule fetch:
    """Download a dataset's files, checked against its pinned commit or checksum."""
    output:
        f"{RESOURCES}/datasets/{{fetched}}.json",
    log:
        f"{RESULTS}/logs/fetch/{{fetched}}.log",
    # Two modules may share a folder of downloads: the first with a dataset fetches it.
    wildcard_constraints:
        fetched=targets.alternatives(modules.fetched_here(workflow, CONFIG)),
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        what=lambda wildcards: stages.fetch_stage(
            CONFIG, FETCHED[wildcards.fetched], LISTINGS.get(FETCHED[wildcards.fetched])
        ),
        folder=f"{RESOURCES}/datasets/{{fetched}}",
    shell:
        "exec with_log {log:q} fetch.py --what {params.what:q} --folder {params.folder:q}"
        " --output {output:q}"


rule prepare:
    """Decode, resize, crop and split a dataset's images."""
    input:
        fetched_files_of_dataset,
    output:
        train=f"{RESULTS}/datasets/{{dataset}}/train.npy",
        eval=f"{RESULTS}/datasets/{{dataset}}/eval.npy",
        images=report(
            f"{RESULTS}/datasets/{{dataset}}/images.csv",
            caption="../report/images.rst",
            category="Datasets",
            labels={"dataset": "{dataset}", "shows": "every input file"},
        ),
        summary=f"{RESULTS}/datasets/{{dataset}}/summary.json",
        preview=report(
            f"{RESULTS}/datasets/{{dataset}}/preview.png",
            caption="../report/preview.rst",
            category="Datasets",
            labels={"dataset": "{dataset}", "shows": "prepared images"},
        ),
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/logs/prepare/{{dataset}}.benchmark.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: dataset_threads
    resources:
        how=dataset_run,
        mem_mb=preparing_mb,
        runtime=preparing_minutes,
    params:
        what=lambda wildcards: stages.prepare_stage(CONFIG, wildcards.dataset),
        folder=f"{RESULTS}/datasets/{{dataset}}",
    shell:
        "exec with_log {log:q} prepare.py --what {params.what:q} --how {resources.how:q}"
        " --fetched {input:q} --output {params.folder:q}"
