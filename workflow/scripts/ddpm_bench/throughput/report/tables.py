"""Tables of the throughput benchmark: one of all repetitions, one with a row for each cell."""

from pathlib import Path
from typing import Any, get_args

import pandas as pd
from pydantic import ValidationError

from ddpm_bench.config.benchmark import Precision, Strategy
from ddpm_bench.config.messages import described
from ddpm_bench.errors import UserError
from ddpm_bench.records.cell_record import CellRecord, Environment
from ddpm_bench.report.tables.score_tables import Kinds, read_table, typed

CELL = ["model", "strategy", "precision", "batch_size", "processes", "nodes"]
# Speeds compare only on one kind of device with as many cores.
HARDWARE = ["device", "cpus"]
# Columns that are equal where strategies are compared with each other.
SETTING = ["model", *HARDWARE, "precision", "batch_size", "processes", "nodes"]
REPETITION_COLUMNS = [
    *("samples_per_second", "step_ms_median", "step_ms_q1", "step_ms_q3", "steps", "seconds"),
    "peak_memory_mb",
]
EFFICIENCIES = ["weak_efficiency", "strong_efficiency"]
THROUGHPUT_COLUMNS = [
    *CELL,
    *("global_batch_size", "repetition", "status", "reason", "sample"),
    *REPETITION_COLUMNS,
    *("memory", "sent_bytes_per_step", "communication_share"),
    *EFFICIENCIES,
    *("parameters", "largest_parameter_bytes"),
    *Environment.model_fields,
]
SPREAD = ["samples_per_second_lowest", "samples_per_second_highest"]
SUMMARY_COLUMNS = [
    *CELL,
    *("global_batch_size", "status", "fastest", "sample", "samples_per_second", *SPREAD),
    *("repetitions", "step_ms_median"),
    *EFFICIENCIES,
    *("peak_memory_mb", "memory", "sent_mb_per_step", "communication_share"),
    *HARDWARE,
    "reason",
]
KINDS = Kinds(
    floats=frozenset(
        [
            *("samples_per_second", "step_ms_median", "step_ms_q1", "step_ms_q3", "seconds"),
            *("peak_memory_mb", "communication_share", "sent_mb_per_step", *EFFICIENCIES, *SPREAD),
        ]
    ),
    integers=frozenset(
        [
            *("batch_size", "processes", "nodes", "global_batch_size", "repetition"),
            *("repetitions", "steps", "sent_bytes_per_step", "parameters"),
            *("largest_parameter_bytes", "devices", "cpus"),
        ]
    ),
    flags=frozenset(["fastest"]),
)


def read_records(files: list[Path]) -> list[CellRecord]:
    """Read the records of cells; raises UserError where one cannot be read."""
    records = []
    for path in files:
        try:
            records.append(CellRecord.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            raise UserError(
                f"{path}: cannot be read as the measurement of a cell ({described(error)}); "
                "delete it and run snakemake again, which measures the cell once more"
            ) from None
    return records


def throughput_table(records: list[CellRecord]) -> pd.DataFrame:
    """Return a table with a row per repetition; a cell that is not ok has one row without numbers.

    Weak efficiency: samples per second of each process, over those of the cell `single` with the
    same model, precision and batch per process. There the problem grows with the processes
    (Gustafson 1988, Reevaluating Amdahl's law). Strong efficiency: the same ratio, over `single`
    with the cell's global batch. There the problem stays as it is and is divided (Amdahl 1967,
    Validity of the single processor approach). At 1 each process is as fast as if it ran alone.
    `single` counts with the median of its repetitions, on the same device with as many cores; where
    that was not measured the efficiency is empty. Rows of `single` are compared with their own
    median, so they scatter around 1 as far as repetitions do.
    """
    rows = [row for record in records for row in _rows(record)]
    table = in_order(typed(pd.DataFrame(rows, columns=THROUGHPUT_COLUMNS), KINDS))
    for column, batch in zip(EFFICIENCIES, ("batch_size", "global_batch_size"), strict=True):
        table[column] = _efficiency(table, batch)
    return table


def _rows(record: CellRecord) -> list[dict[str, Any]]:
    """Return the rows of one cell."""
    cell, measured = record.cell, record.measurement
    same = {
        **cell.model_dump(),
        "global_batch_size": cell.global_batch,
        "status": record.status,
        "reason": record.reason,
        **record.environment.model_dump(),
    }
    if record.status != "ok" or measured is None:
        return [same]
    same |= {
        **measured.model_dump(exclude={"repetitions", "parameter_bytes", "losses"}),
        "largest_parameter_bytes": max(measured.parameter_bytes),
    }
    return [
        {**same, "repetition": number, **repetition.model_dump()}
        for number, repetition in enumerate(measured.repetitions, start=1)
    ]


def _efficiency(table: pd.DataFrame, batch: str) -> pd.Series:
    """Return the efficiency of each row, over `single` at the batch that this column names."""
    same = ["model", "precision", *HARDWARE]
    alone = table[table["strategy"] == "single"]  # one process; rows of more are unsupported
    speeds = alone.groupby([*same, "batch_size"])["samples_per_second"].median()
    baseline = table[[*same, batch]].merge(
        speeds.rename("alone").reset_index(), how="left",
        left_on=[*same, batch], right_on=[*same, "batch_size"],
    )["alone"]  # fmt: skip
    return table["samples_per_second"] / (world(table) * baseline)


def world(table: pd.DataFrame) -> pd.Series:
    """Return the number of processes on all nodes, for each row."""
    return (table["processes"] * table["nodes"]).astype("int64")


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Sort rows: models in their present order, and strategies of one setting side by side."""
    orders = {
        "model": list(dict.fromkeys(table["model"])),
        "strategy": list(get_args(Strategy)),
        "precision": list(get_args(Precision)),
    }
    places = pd.DataFrame(
        {
            "model": table["model"].map(orders["model"].index),
            "precision": table["precision"].map(orders["precision"].index),
            **{name: table[name] for name in ("nodes", "processes", "batch_size")},
            "strategy": table["strategy"].map(orders["strategy"].index),
        }
    )
    order = places.sort_values(list(places), kind="stable").index
    return table.loc[order].reset_index(drop=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell: medians over its repetitions, and their lowest and highest throughput.

    The column `fastest` marks the fastest of two or more strategies that were measured in the same
    setting.
    """
    rows = [_cell_row(rows) for _, rows in table.groupby([*CELL, *HARDWARE], sort=False)]
    cells = typed(pd.DataFrame(rows, columns=SUMMARY_COLUMNS), KINDS)
    speeds = cells.groupby(SETTING)["samples_per_second"]
    cells["fastest"] = (cells["samples_per_second"] == speeds.transform("max")) & (
        speeds.transform("count") > 1
    )
    return cells


def _cell_row(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the summary of one cell; rows: its repetitions."""

    speeds = rows["samples_per_second"]
    sent = rows["sent_bytes_per_step"].iloc[0]
    medians = [*REPETITION_COLUMNS, *EFFICIENCIES, "communication_share"]
    return {
        **rows.iloc[0],
        **{name: rows[name].median() for name in medians if name in SUMMARY_COLUMNS},
        **dict(zip(SPREAD, (speeds.min(), speeds.max()), strict=True)),
        "repetitions": rows["repetition"].count(),
        "sent_mb_per_step": None if pd.isna(sent) else sent / 1e6,
    }


def read_throughput(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read one of these tables; columns: THROUGHPUT_COLUMNS or SUMMARY_COLUMNS.

    Raises UserError when the file cannot be read or has other columns.
    """
    return read_table(path, columns, KINDS)
