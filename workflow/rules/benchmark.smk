"""The throughput benchmark: each cell of its grid is a job.

In:  `benchmark:` of the config; prepared images where it names a dataset
Out: results/benchmark/cells/<cell>.json   the measurements of a cell, or why there are none
     results/benchmark/                    throughput.csv, summary.csv, figures
By:  ddpm_bench/throughput

A cell that runs out of memory, crashes or cannot be measured at all is a row with its reason: its job
succeeds, and the others go on. To measure a cell again, delete its file.
"""

CELLS = benchmark_cells.cells_by_name(CONFIG)
# The cores of a run on one machine; 0 on a cluster.
ALL_CORES = (
    workflow.is_main_process and workflow.local_exec and workflow.resource_settings.cores
) or 0


# Without a benchmark file, for which Snakemake would inspect the processes that are measured.
rule measure_cell:
    """Measure one combination of model, strategy, precision, batch size, processes and nodes."""
    input:
        images_of_cell,
    output:
        f"{RESULTS}/benchmark/cells/{{cell}}.json",
    log:
        f"{RESULTS}/logs/measure_cell/{{cell}}.log",
    conda:
        "../../envs/environment.yaml"
    threads: cell_threads
    resources:
        how=cell_run,
        gpu=cell_gpus,
        nodes=cell_nodes,
        mpi=cell_launcher,
        tasks=cell_tasks,
        tasks_per_gpu=cell_tasks_per_gpu,
        mem_mb=cell_mb,
        runtime=cell_minutes,
    params:
        what=lambda wildcards: stages.cell_stage(CONFIG, CELLS[wildcards.cell]),
    shell:
        "exec with_log {log:q} measure_cell.py --what {params.what:q} --how {resources.how:q}"
        " --images {input:q} --output {output:q}"


rule collect_throughput:
    """Collect all cells in a tidy table, a row per repetition, and a summary, a row per cell."""
    input:
        benchmark_cells.cell_files(CONFIG),
    output:
        throughput=report(
            f"{RESULTS}/benchmark/throughput.csv",
            caption="../report/throughput.rst",
            category="Throughput",
            labels={"shows": "all measurements"},
        ),
        summary=report(
            f"{RESULTS}/benchmark/summary.csv",
            caption="../report/throughput.rst",
            category="Throughput",
            labels={"shows": "each cell"},
        ),
    log:
        f"{RESULTS}/logs/collect_throughput.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        what=stages.throughput_tables_stage(CONFIG),
        folder=f"{RESULTS}/benchmark/cells",
    shell:
        "exec with_log {log:q} collect_throughput.py --what {params.what:q} --cells {params.folder:q}"
        " --throughput {output.throughput:q} --summary {output.summary:q}"


rule plot_throughput:
    """Draw throughput, scaling efficiency, memory and communication against the axes of the grid."""
    input:
        rules.collect_throughput.output.throughput,
    output:
        throughput=report(
            f"{RESULTS}/benchmark/throughput_vs_batch.png",
            caption="../report/throughput_vs_batch.rst",
            category="Throughput",
            labels={"shows": "throughput against batch size"},
        ),
        efficiency=report(
            f"{RESULTS}/benchmark/scaling_efficiency.png",
            caption="../report/scaling_efficiency.rst",
            category="Throughput",
            labels={"shows": "weak and strong scaling efficiency"},
        ),
        memory=report(
            f"{RESULTS}/benchmark/memory_vs_batch.png",
            caption="../report/memory_vs_batch.rst",
            category="Throughput",
            labels={"shows": "memory against batch size"},
        ),
        communication=report(
            f"{RESULTS}/benchmark/communication_share.png",
            caption="../report/communication_share.rst",
            category="Throughput",
            labels={"shows": "time and bytes of communication"},
        ),
    log:
        f"{RESULTS}/logs/plot_throughput.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        mem_mb=small_job_mb,
        runtime=small_job_minutes,
    params:
        what=stages.stage("throughput"),
        folder=subpath(output.throughput, parent=True),
    shell:
        "exec with_log {log:q} plot_throughput.py --what {params.what:q} --throughput {input:q}"
        " --output-dir {params.folder:q}"
