"""How fast models train, and how that scales: each cell of the grid is a job.

In:  `benchmark:` of the config; prepared images where it names a dataset
Out: results/benchmark/cells/<cell>.json   what was measured of a cell, or why nothing was
     results/benchmark/                    throughput.csv, summary.csv, figures

A cell that runs out of memory, crashes or cannot be measured at all is a row with its reason: its job
succeeds, and the others go on. To measure a cell again, delete its file.
"""

CELLS = benchmark_cells.cells_by_name(CONFIG)
# On one machine cells would disturb each other: each takes all cores that the run has.
ALONE = (workflow.is_main_process and workflow.local_exec and workflow.resource_settings.cores) or 0


# No benchmark file, for which Snakemake would look into the processes while they are measured.
rule measure_cell:
    """Measure one combination of model, strategy, precision, batch size, processes and nodes."""
    input:
        lambda wildcards: jobs.images_of_cell(CONFIG, CELLS[wildcards.cell]),
    output:
        f"{RESULTS}/benchmark/cells/{{cell}}.json",
    log:
        f"{RESULTS}/logs/measure_cell/{{cell}}.log",
    conda:
        "../../envs/environment.yaml"
    threads: lambda wildcards: max(ALONE, benchmark_cells.cell_threads(CONFIG, CELLS[wildcards.cell]))
    resources:
        how=lambda wildcards: run_keys(ESTIMATES.cell_run()),
        gpu=lambda wildcards: CELLS[wildcards.cell].world,
        nodes=lambda wildcards: CELLS[wildcards.cell].nodes,
        # Of several nodes only, as in rule train: the program itself calls srun.
        mpi=lambda wildcards: benchmark_cells.of_several_nodes(CELLS[wildcards.cell], "srun"),
        tasks=lambda wildcards: benchmark_cells.of_several_nodes(
            CELLS[wildcards.cell], CELLS[wildcards.cell].nodes
        ),
        tasks_per_gpu=lambda wildcards: benchmark_cells.of_several_nodes(CELLS[wildcards.cell], 0),
        mem_mb=lambda wildcards, attempt: ESTIMATES.cell_mb(CELLS[wildcards.cell], attempt),
        runtime=lambda wildcards, attempt: ESTIMATES.cell_minutes(attempt),
    params:
        what=lambda wildcards: stages.cell_stage(CONFIG, CELLS[wildcards.cell]),
    shell:
        "exec with_log {log:q} measure_cell.py --what {params.what:q} --how {resources.how:q}"
        " --images {input:q} --output {output:q}"


rule collect_throughput:
    """All cells as one tidy table, a row per repetition, and a summary with a row per cell."""
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
    """Throughput, scaling efficiency, memory and communication against batch size and processes."""
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
        mem_mb=lambda wildcards, attempt: ESTIMATES.small_mb(attempt),
        runtime=lambda wildcards, attempt: ESTIMATES.small_minutes(attempt),
    params:
        what=stages.stage("throughput"),
        folder=subpath(output.throughput, parent=True),
    shell:
        "exec with_log {log:q} plot_throughput.py --what {params.what:q} --throughput {input:q}"
        " --output-dir {params.folder:q}"
