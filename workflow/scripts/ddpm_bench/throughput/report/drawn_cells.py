"""Cells of the throughput benchmark as the figures draw them, and the texts about them."""

from collections.abc import Iterator

import pandas as pd

from ddpm_bench.throughput.report.tables import CELL, HARDWARE, summary, world


def drawn_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell of tables.throughput_table: its summary with more columns.

    world: processes of all nodes. panel: the model, and the hardware where there are several.
    slow, fast: samples per second between which the middle half of the steps of each repetition
    lies.
    """
    speed, median = table["samples_per_second"], table["step_ms_median"]
    quarters = table.assign(
        slow=speed * median / table["step_ms_q3"], fast=speed * median / table["step_ms_q1"]
    ).groupby([*CELL, *HARDWARE], sort=False)
    spread = quarters.agg(slow=("slow", "min"), fast=("fast", "max")).reset_index()
    cells = summary(table).merge(spread, on=[*CELL, *HARDWARE], validate="one_to_one")
    return cells.assign(world=world(cells), panel=_panels(cells))


def _panels(cells: pd.DataFrame) -> pd.Series:
    """Return the name of each cell's panel.

    A cell that is not ok may have ended before its device was known: where its hardware has no
    panel, it joins the panel of the hardware on which its model was measured most often.
    """
    hardware = cells.apply(hardware_text, axis=1, result_type="reduce")
    ok = cells["status"] == "ok"
    if hardware[ok].nunique() < 2:
        return cells["model"]
    measured = set(zip(cells["model"][ok], hardware[ok], strict=True))
    usual = hardware[ok].groupby(cells["model"][ok]).agg(lambda found: found.mode().iloc[0])
    names = [
        f"{model} · {own if (model, own) in measured else usual.get(model, own)}"
        for model, own in zip(cells["model"], hardware, strict=True)
    ]
    return pd.Series(names, index=cells.index)


def measured_on(cells: pd.DataFrame) -> Iterator[str]:
    """Yield a text for each kind of hardware of the cells that are ok, or of all if none is ok."""
    ok = cells[cells["status"] == "ok"]
    rows = cells if ok.empty else ok
    for text in rows.apply(hardware_text, axis=1).unique():
        yield f"{text} per process"


def hardware_text(row: pd.Series) -> str:
    """Return a text such as "NVIDIA H200, 4 cores"."""
    return f"{row['device']}, {row['cpus']} core{'s' if row['cpus'] != 1 else ''}"


def processes_text(processes: int, nodes: int) -> str:
    """Return a text such as "1 process" or "16 processes on 2 nodes".

    processes: of each node.
    """
    total = processes * nodes
    where = f" on {nodes} nodes" if nodes > 1 else ""
    return f"{total} process{'es' if total > 1 else ''}{where}"


def sample_text(rows: pd.DataFrame) -> str:
    """Return the plural of what is counted, such as "images"; "samples" for several kinds."""
    kinds = {kind for kind in rows["sample"] if kind}
    return f"{kinds.pop()}s" if len(kinds) == 1 else "samples"


def nothing_measured(cells: pd.DataFrame) -> str:
    """Return the reason why there is nothing to draw."""
    if cells.empty:
        return "The benchmark has no cells."
    counts = cells["status"].value_counts()
    listed = ", ".join(f"{count} {status}" for status, count in counts.items())
    reasons = cells["reason"][cells["reason"] != ""].value_counts()
    why = f" Most often: {reasons.index[0]}." if len(reasons) else ""
    return f"No cell could be measured: {listed}.{why}"
