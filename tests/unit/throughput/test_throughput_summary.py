"""Summary of the throughput benchmark for a terminal."""

import json
from pathlib import Path

import yaml
from fake_throughput import CPU, benchmark, record, write_records
from places import REPOSITORY

from ddpm_bench.config.benchmark import Benchmark
from ddpm_bench.config.loading import read_config
from ddpm_bench.planning.benchmark_cells import cells
from ddpm_bench.report.tables.score_tables import write_table
from ddpm_bench.throughput.report.summary import throughput_summary
from ddpm_bench.throughput.report.tables import read_records, summary, throughput_table

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def said(folder: Path, grid: Benchmark | None, records: list | None = None) -> list[str]:
    """The lines for a grid of which these records were collected; None: nothing was."""
    keys = {**DEMO, "results_dir": str(folder / "results")}
    if grid is None:
        keys.pop("benchmark", None)
    else:
        keys["benchmark"] = json.loads(grid.model_dump_json())
    (folder / "config.yaml").write_text(yaml.safe_dump(keys))
    if records is not None:
        results = folder / "results" / "benchmark"
        table = throughput_table(read_records(write_records(results / "cells", records)))
        write_table(results / "summary.csv", summary(table))
    return list(throughput_summary(read_config(folder / "config.yaml"), "THE COMMAND"))


def test_each_model_has_a_block_of_aligned_columns_with_the_fastest_starred(tmp_path):
    grid = benchmark(["resnet18", "albert"], strategies=["ddp", "fsdp"], processes=[1, 2])
    records = [record(cell, CPU) for cell in cells(grid)]
    lines = said(tmp_path, grid, records)
    blocks = "\n".join(lines).split("\n\n")
    assert blocks[0].startswith("resnet18 on AMD EPYC 7B13, 1 core per process\n")
    assert "images/s" in blocks[0] and "sequences/s" in blocks[1]
    rows = [line for line in blocks[0].splitlines() if "fp32" in line]
    assert len(rows) == 2 + 2 * 2  # single at both batches, and the grid
    found = summary(throughput_table(records))
    fastest = found[(found["model"] == "resnet18") & found["fastest"]]
    starred = [tuple(row.split()[:4:3]) for row in rows if "*" in row]
    assert starred == [(row.strategy, str(row.processes)) for row in fastest.itertuples()]
    assert len(starred) == 2
    assert len({len(line) for line in blocks[0].splitlines()[1:-1]}) == 1


def test_cells_that_are_not_ok_are_counted_by_status_and_reason(tmp_path):
    grid = benchmark(
        ["resnet18", "albert"], strategies=["single", "ddp-bf16"], batch_size=[8, 16], processes=[2]
    )
    text = "\n".join(said(tmp_path, grid, [record(cell, CPU) for cell in cells(grid)]))
    assert "unsupported: 8 cells\n" in text
    assert "  4: single is one process (single of resnet18, albert)\n" in text
    assert "needs NCCL (ddp-bf16 of resnet18, albert)" in text


def test_many_reasons_are_cut_short_with_their_number(tmp_path):
    grid = benchmark(["resnet18"], batch_size=list(range(1, 9)), strategies=["single"])
    records = [record(cell, CPU, limit_mb=1) for cell in cells(grid)]
    records = [
        one.model_copy(update={"reason": f"{place} MB"}) for place, one in enumerate(records)
    ]
    lines = said(tmp_path, grid, records)
    assert "out of memory: 8 cells" in lines and "  3: other reasons, in summary.csv" in lines


def test_it_says_where_tables_lie_how_to_measure_again_and_what_is_missing(tmp_path):
    grid = benchmark(["resnet18"], strategies=["ddp"], processes=[1, 2])
    lines = said(tmp_path, grid, [record(cell, CPU) for cell in cells(grid)][:-1])
    folder = tmp_path / "results" / "benchmark"
    assert "not in the table yet: 1 cell; to measure: THE COMMAND" in lines
    assert str(folder / "throughput.csv") in lines[-3] and str(folder) in lines[-2]
    assert f"delete its file in {folder / 'cells'}, then THE COMMAND" in lines[-1]


def test_without_a_benchmark_or_results_it_says_what_to_do(tmp_path):
    (line,) = said(tmp_path, None)
    assert "no `benchmark:`" in line
    (line,) = said(tmp_path, benchmark(["resnet18"]))
    assert line.endswith("THE COMMAND")
