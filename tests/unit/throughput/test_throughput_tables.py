"""The tables of the throughput benchmark, from records of cells on disk."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from fake_throughput import CPU, GPU, benchmark, record, write_grid, write_records
from places import SCRIPTS

from ddpm_bench.config.benchmark import Cell
from ddpm_bench.config.experiment import Config
from ddpm_bench.errors import UserError
from ddpm_bench.planning.stages import throughput_tables_stage
from ddpm_bench.records.cell_record import CellRecord
from ddpm_bench.report.tables.score_tables import write_table
from ddpm_bench.throughput.report.tables import (
    SUMMARY_COLUMNS,
    THROUGHPUT_COLUMNS,
    read_records,
    read_throughput,
    summary,
    throughput_table,
)


def cell(strategy="single", batch_size=32, processes=1, nodes=1, **changed) -> Cell:
    return Cell(
        model=changed.pop("model", "resnet18"), strategy=strategy, nodes=nodes,
        precision=changed.pop("precision", "fp32"), batch_size=batch_size, processes=processes,
    )  # fmt: skip


def at_speeds(own: Cell, *speeds: float, environment=GPU) -> CellRecord:
    """A cell that is ok, with a repetition at each speed in samples per second."""
    measured = record(own, environment).measurement
    one = measured.repetitions[0]
    repetitions = [one.model_copy(update={"samples_per_second": speed}) for speed in speeds]
    return CellRecord(
        cell=own, status="ok", environment=environment,
        measurement=measured.model_copy(update={"repetitions": tuple(repetitions)}),
    )  # fmt: skip


def failed(own: Cell, status="unsupported", reason="why") -> CellRecord:
    return CellRecord(cell=own, status=status, reason=reason, environment=GPU)


def efficiencies(table: pd.DataFrame, strategy: str) -> list[tuple[float, float]]:
    rows = table[table["strategy"] == strategy]
    return [tuple(row) for row in rows[["weak_efficiency", "strong_efficiency"]].to_numpy()]


def test_efficiencies_hold_each_process_against_the_median_of_single():
    table = throughput_table(
        [
            at_speeds(cell(batch_size=32), 90.0, 100.0, 140.0),
            at_speeds(cell(batch_size=128), 160.0),
            at_speeds(cell("ddp", 32, processes=2, nodes=2), 320.0, 400.0),
            at_speeds(cell("ddp", 32, processes=1), 95.0),
        ]
    )
    # Alone: 95 / 100. Four processes: 320 / (4 x 100), and over the global batch / (4 x 160).
    alone, *four = efficiencies(table, "ddp")
    assert alone == (pytest.approx(0.95), pytest.approx(0.95))
    assert four == [
        (pytest.approx(0.8), pytest.approx(0.5)),
        (pytest.approx(1.0), pytest.approx(0.625)),
    ]
    assert [weak for weak, _ in efficiencies(table, "single")] == pytest.approx([0.9, 1.0, 1.4, 1])


def test_efficiency_is_empty_without_its_single_cell():
    table = throughput_table(
        [
            at_speeds(cell(batch_size=32), 100.0),
            failed(cell(batch_size=64), "out of memory"),
            at_speeds(cell("ddp", 32, processes=2), 150.0),
            at_speeds(cell("ddp", 32, processes=2, precision="bf16"), 150.0),
            at_speeds(cell("ddp", 32, processes=2, model="resnet50"), 150.0),
        ]
    )
    ddp = table[table["strategy"] == "ddp"].set_index(["model", "precision"])
    assert ddp.loc[("resnet18", "fp32"), "weak_efficiency"] == pytest.approx(0.75)
    assert ddp["weak_efficiency"].isna().sum() == 2
    assert ddp["strong_efficiency"].isna().all()


@pytest.mark.parametrize("changed", [{"device": "NVIDIA A100"}, {"cpus": 8}])
def test_other_hardware_is_never_held_against_each_other(changed):
    elsewhere = GPU.model_copy(update=changed)
    table = throughput_table(
        [
            at_speeds(cell(), 100.0),
            at_speeds(cell("ddp", processes=2), 150.0, environment=elsewhere),
            at_speeds(cell("fsdp", processes=2), 140.0),
        ]
    )
    assert table.loc[table["strategy"] == "ddp", "weak_efficiency"].isna().all()
    assert efficiencies(table, "fsdp")[0][0] == pytest.approx(0.7)
    # Nor is one the fastest of both.
    assert not summary(table)["fastest"].any()


def test_a_cell_that_is_not_ok_is_one_row_without_numbers():
    statuses = ["out of memory", "unsupported", "crashed", "timed out"]
    table = throughput_table(
        [failed(cell(batch_size=size), status) for size, status in enumerate(statuses, start=1)]
    )
    assert list(table["status"]) == statuses and set(table["reason"]) == {"why"}
    numbers = table.loc[:, "samples_per_second":"peak_memory_mb"]
    assert numbers.isna().all(axis=None) and table["repetition"].isna().all()
    assert list(table["global_batch_size"]) == [1, 2, 3, 4] and set(table["device"]) == {GPU.device}


def test_a_row_names_hardware_versions_commit_and_shards():
    sharded = record(cell("fsdp", processes=2))
    measured = sharded.measurement.model_copy(update={"parameter_bytes": (20, 22)})
    table = throughput_table([sharded.model_copy(update={"measurement": measured})])
    assert list(table.columns) == THROUGHPUT_COLUMNS and list(table["repetition"]) == [1, 2, 3]
    row = table.iloc[0]
    assert row["largest_parameter_bytes"] == 22 and row["git_commit"] == "0" * 40
    assert (row["torch"], row["cuda"], row["devices"]) == ("2.14.1", "13.0", 2)


def test_the_summary_has_medians_spread_and_the_fastest_of_a_setting():
    table = throughput_table(
        [
            at_speeds(cell(), 100.0, 110.0, 90.0),
            at_speeds(cell("ddp"), 101.0),
            failed(cell("fsdp")),
            at_speeds(cell("ddp", 64), 99.0),
        ]
    )
    cells = summary(table).set_index(["strategy", "batch_size"])
    single = cells.loc[("single", 32)]
    assert single["samples_per_second"] == 100 and single["repetitions"] == 3
    assert single["samples_per_second_lowest"] == 90
    assert single["samples_per_second_highest"] == 110
    assert list(cells.index[cells["fastest"]]) == [("ddp", 32)]  # alone in its setting is no win
    assert (
        cells.loc[("fsdp", 32), "repetitions"] == 0 and cells.loc[("fsdp", 32), "reason"] == "why"
    )


def test_the_order_of_files_changes_nothing_within_a_model(tmp_path):
    grid = benchmark(["resnet18"], strategies=["ddp", "fsdp"], processes=[1, 2])
    files = write_grid(tmp_path, grid)
    tables = [throughput_table(read_records(order)) for order in (files, files[::-1])]
    pd.testing.assert_frame_equal(*tables)


def test_tables_come_back_from_disk_as_they_were(tmp_path):
    grid = benchmark(["unet", "albert"], strategies=["ddp", "pipeline-1f1b"], processes=[2])
    table = throughput_table(read_records(write_grid(tmp_path, grid, CPU)))
    table.loc[0, "samples_per_second"] = 0.1 + 0.2
    for name, one, columns in (
        ("throughput", table, THROUGHPUT_COLUMNS),
        ("summary", summary(table), SUMMARY_COLUMNS),
    ):
        write_table(tmp_path / f"{name}.csv", one)
        pd.testing.assert_frame_equal(read_throughput(tmp_path / f"{name}.csv", columns), one)


def test_tables_of_no_cells_come_back_too(tmp_path):
    table = throughput_table([])
    write_table(tmp_path / "empty.csv", table)
    assert read_throughput(tmp_path / "empty.csv", THROUGHPUT_COLUMNS).empty
    assert summary(table).empty


def test_a_broken_record_and_a_table_of_other_columns_are_named(tmp_path):
    (path,) = write_records(tmp_path, [record(cell())])
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"status": "splendid"}))
    with pytest.raises(UserError, match=rf"(?s){path.name}.*status.*delete it"):
        read_records([path])
    (tmp_path / "old.csv").write_text("model,speed\nresnet18,3\n")
    with pytest.raises(UserError, match=r"old\.csv.*delete it"):
        read_throughput(tmp_path / "old.csv", THROUGHPUT_COLUMNS)


def test_the_program_writes_both_tables(tmp_path):
    grid = benchmark(["resnet18"], strategies=["ddp"])
    files = write_grid(tmp_path / "cells", grid)
    (tmp_path / "cells" / "of-another-grid.json").write_text("{}")
    what = throughput_tables_stage(Config(benchmark=grid))
    command = [sys.executable, SCRIPTS / "collect_throughput.py", "--what", what]
    command += ["--cells", tmp_path / "cells", "--throughput", tmp_path / "t.csv", "--summary"]
    subprocess.run([*map(str, command), str(tmp_path / "s.csv")], check=True)
    expected = throughput_table(read_records(files))
    found = read_throughput(tmp_path / "t.csv", THROUGHPUT_COLUMNS)
    pd.testing.assert_frame_equal(found, expected)
    assert len(read_throughput(tmp_path / "s.csv", SUMMARY_COLUMNS)) == len(files)
