"""The figures of the throughput benchmark, drawn of records that a model of costs makes."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from drawn import program, texts
from fake_throughput import CPU, GPU, benchmark, record
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ddpm_bench.config.benchmark import Strategy
from ddpm_bench.planning.benchmark_cells import cells
from ddpm_bench.records.cell_record import CellRecord
from ddpm_bench.report.figures.style import DPI, PANEL_WIDTH, save_figure
from ddpm_bench.report.tables.score_tables import write_table
from ddpm_bench.throughput.report.batch_figures import (
    memory_vs_batch,
    throughput_figures,
    throughput_vs_batch,
)
from ddpm_bench.throughput.report.drawn_cells import drawn_cells
from ddpm_bench.throughput.report.figure_style import STATUS_MARKERS, STRATEGY_COLOURS
from ddpm_bench.throughput.report.scaling_figures import communication_share, scaling_efficiency
from ddpm_bench.throughput.report.tables import throughput_table

NAMES = [
    "throughput_vs_batch.png", "scaling_efficiency.png", "memory_vs_batch.png",
    "communication_share.png",
]  # fmt: skip
DEEP = {
    "strategies": ["single", "ddp", "fsdp"], "batch_size": [128, 256, 512, 1024],
    "precision": ["fp32", "bf16", "fp16"], "processes": [1, 2],
}  # fmt: skip
WIDE = {"strategies": get_args(Strategy), "batch_size": [16, 32], "processes": [1, 2]}
NODES = {"strategies": ["ddp", "pipeline-1f1b"], "batch_size": [64], "processes": [1, 8]}
SHAPES = {
    "wide": (benchmark(["unet", "albert"], **WIDE), CPU),
    "deep": (benchmark(["resnet50"], **DEEP), GPU),
    "one": (benchmark(["resnet18"]), GPU),
    "unsupported": (
        benchmark(["albert"], strategies=["pipeline-gpipe"], processes=[2], baselines=False), CPU
    ),
    "nodes": (benchmark(["unet"], **NODES, nodes=[1, 4]), GPU),
}  # fmt: skip
LARGE = {
    "widest": (benchmark(["resnet18", "unet", "albert"], **WIDE), CPU),
    "deepest": (
        benchmark(
            ["resnet18", "resnet50"],
            **DEEP | {"batch_size": [32, 64, 128, 256, 512, 1024]},
        ),
        GPU,
    ),
    "many nodes": (
        benchmark(["unet", "resnet50"], **NODES | {"processes": [1, 2, 4, 8]}, nodes=[1, 2, 4, 8]),
        GPU,
    ),
}


def drawn(grid, environment=GPU, limit_mb=12_000):
    return of_records([record(cell, environment, limit_mb) for cell in cells(grid)])


def of_records(records: list[CellRecord]):
    return drawn_cells(throughput_table(records))


def of_shape(name: str):
    return drawn(*SHAPES[name])


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def panel(figure: Figure, *said: str):
    """The panel whose texts have all of these."""
    (found,) = (axes for axes in figure.axes if all(one in texts(axes) for one in said))
    return found


def marks(axes, status: str) -> Iterator[tuple[float, str]]:
    """Batch (or processes) and strategy of each mark of this status in a band."""
    colours = {colour: name for name, colour in STRATEGY_COLOURS.items()}
    for line in axes.lines:
        if line.get_marker() == STATUS_MARKERS[status] and len(line.get_xdata()) == 1:
            yield line.get_xdata()[0], colours[to_rgb(line.get_color())]


def names_of_figures(folder: Path, grid, environment) -> list[str]:
    """Draws all figures of a grid, each of which must show something."""
    table = throughput_table([record(cell, environment, 12_000) for cell in cells(grid)])
    for name, figure in throughput_figures(table):
        save_figure(figure, folder / name)
        with Image.open(folder / name) as image:
            assert image.width >= PANEL_WIDTH * DPI
            assert image.convert("L").getextrema()[0] < 128
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shape", ["one", "unsupported", "nodes"])
def test_small_grids_are_drawn(shape, tmp_path):
    assert names_of_figures(tmp_path, *SHAPES[shape]) == sorted(NAMES)


@pytest.mark.long
@pytest.mark.parametrize("shape", LARGE)
def test_large_grids_are_drawn(shape, tmp_path):
    assert names_of_figures(tmp_path, *LARGE[shape]) == sorted(NAMES)


def test_every_measured_cell_is_a_point_near_its_batch_and_at_its_throughput():
    found = of_shape("deep")
    axes = panel(throughput_vs_batch(found), "resnet50, 2 processes")
    rows = found[found["processes"] == 2].dropna(subset=["samples_per_second"])
    lines = [
        line for line in axes.lines if len(line.get_xdata()) and line.get_linestyle() != "None"
    ]
    points = [
        (to_rgb(line.get_color()), x, pytest.approx(y, rel=1e-9))
        for line in lines
        if line.get_marker() not in STATUS_MARKERS.values()
        for x, y in line.get_xydata()
    ]
    assert len(points) == len(rows) > 0
    for row in rows.itertuples():
        own = (STRATEGY_COLOURS[row.strategy], row.samples_per_second)
        near = [x for colour, x, y in points if (colour, y) == own]
        assert near == [pytest.approx(row.batch_size, rel=0.2)]


def test_panels_of_a_model_share_their_axis_and_name_what_is_counted():
    figure = throughput_vs_batch(of_shape("wide"))
    one, two = panel(figure, "albert, 1 process"), panel(figure, "albert, 2 processes")
    assert "sequences per second" in texts(one)
    assert "images per second" in texts(panel(figure, "unet, 1 process"))
    # Above the bands, whose rows differ in number.
    assert one.get_ylim()[1] == two.get_ylim()[1]
    assert one.get_ylim()[1] != panel(figure, "unet, 1 process").get_ylim()[1]
    assert {"strategy", "pipeline-1f1b", "unsupported", "measured on"} <= set(legend(figure))
    assert "precision" not in legend(figure)  # there is one only
    assert "precision" in legend(throughput_vs_batch(of_shape("deep")))


def test_cells_that_are_not_ok_are_marked_at_the_foot():
    figure = throughput_vs_batch(of_shape("wide"))
    found = set(marks(panel(figure, "albert, 2 processes"), "unsupported"))
    without = ("single", "ddp-bf16", "pipeline-gpipe", "pipeline-1f1b")
    assert found == {(batch, name) for batch in (16, 32) for name in without}
    said = texts(panel(figure, "albert, 2 processes")).splitlines()
    assert set(without) <= set(said) and "fsdp" not in said


def test_every_status_has_its_mark():
    grid = benchmark(["resnet18"], strategies=["ddp"], batch_size=[8, 16, 32, 64, 128])
    records = [record(cell) for cell in cells(grid)]
    for place, status in enumerate(STATUS_MARKERS, start=1):
        changed = {"status": status, "reason": "why", "measurement": None}
        records[place] = records[place].model_copy(update=changed)
    figure = throughput_vs_batch(of_records(records))
    (axes,) = figure.axes
    for batch, status in zip((16, 32, 64, 128), STATUS_MARKERS, strict=True):
        assert list(marks(axes, status)) == [(batch, "ddp")]
        assert status in legend(figure)


def test_the_first_batch_that_did_not_fit_is_marked_above_the_curves():
    figure = memory_vs_batch(of_shape("deep"))
    axes = panel(figure, "resnet50, 2 processes")
    # 12,000 MB: 256 fit in fp32, 512 in 16 bits (400 + 376 MB, and 31 or 17 MB for a sample).
    expected = [(batch, name) for name in ("ddp", "fsdp") for batch in (512, 1024)]
    assert sorted(marks(axes, "out of memory")) == sorted(expected)
    assert "ddp bf16, fp16" in texts(axes) and "peak MB of a GPU" in texts(axes)
    assert "does not fit" in legend(figure)
    highest = max(y for line in axes.lines if len(line.get_xdata()) > 1 for y in line.get_ydata())
    ends = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "X"]
    above = axes.transAxes.inverted().transform(axes.transData.transform((256, highest)))[1]
    assert min(ends) > above


def test_efficiencies_are_bars_where_there_is_one_number_of_processes():
    found = of_shape("wide")
    figure = scaling_efficiency(found)
    for kind in ("weak", "strong"):
        axes = panel(figure, "unet, fp32, 2 processes", f"{kind} efficiency")
        rows = found[(found["model"] == "unet") & (found["processes"] == 2)]
        expected = rows[f"{kind}_efficiency"].dropna()
        heights = [bar.get_height() for bar in axes.patches]
        assert sorted(heights) == pytest.approx(sorted(expected)) and len(heights) == 12
        failed = [line for line in axes.lines if line.get_marker() == STATUS_MARKERS["unsupported"]]
        assert len(failed) == 2  # ddp-bf16, at two batches
        assert [1.0, 1.0] in [list(line.get_ydata()) for line in axes.lines]


def test_efficiencies_are_lines_against_processes_with_open_marks_on_more_nodes():
    # 1 and 8 processes on 1 or 4 nodes: 1, 4, 8 and 32 processes, each on the fewest nodes.
    figure = scaling_efficiency(of_shape("nodes"))
    axes = panel(figure, "unet", "weak efficiency")
    lines = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert [list(line.get_xdata()) for line in lines] == [[1, 4, 8, 32]] * 2
    assert "open marks" not in legend(figure)
    both = benchmark(["unet"], strategies=["ddp"], processes=[1, 2, 4], nodes=[1, 2])
    figure = scaling_efficiency(drawn(both))
    assert "open marks" in legend(figure)
    axes = panel(figure, "weak efficiency")
    (spread,) = (line for line in axes.lines if line.get_markerfacecolor() == "white")
    assert list(spread.get_xdata()) == [2, 4]


def test_cells_whose_single_was_not_measured_are_counted():
    grid = benchmark(["unet"], strategies=["single", "ddp"], processes=[1, 2], baselines=False)
    figure = scaling_efficiency(drawn(grid))
    assert "no single to compare with" not in texts(panel(figure, "weak efficiency"))
    assert "No single with the same global batch" in " ".join(
        texts(panel(figure, "strong efficiency")).split()
    )
    grid = grid.model_copy(update={"batch_size": (16, 32)})
    strong = panel(scaling_efficiency(drawn(grid)), "strong efficiency")
    assert "1 cell has no single to compare with" in texts(strong)


def test_a_line_breaks_where_a_cell_was_not_measured():
    grid = benchmark(["unet"], strategies=["ddp"], batch_size=[8, 16, 32, 64])
    records = [record(cell) for cell in cells(grid)]
    gone = {"status": "crashed", "reason": "why", "measurement": None}
    records[2] = records[2].model_copy(update=gone)
    (axes,) = throughput_vs_batch(of_records(records)).axes
    lines = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert [8.0, 16.0] in lines and [64.0] in lines
    assert max(map(len, lines)) == 2


def test_communication_has_shares_and_megabytes_side_by_side():
    found = of_shape("wide")
    figure = communication_share(found)
    share = panel(figure, "unet, fp32, 2 processes", "share of a step's time")
    sent = panel(figure, "unet, fp32, 2 processes", "MB a process sends per step")
    rows = found[(found["model"] == "unet") & (found["processes"] == 2)]
    for axes, column in ((share, "communication_share"), (sent, "sent_mb_per_step")):
        heights = sorted(bar.get_height() for bar in axes.patches)
        assert heights == pytest.approx(sorted(rows[column].dropna()))
    # ddp sends each of 35.7 million gradients once over the ring of two.
    assert "143" in texts(sent) and "0.48\nto 0.96" in texts(sent)


def test_other_hardware_has_panels_of_its_own():
    grid = benchmark(["resnet18"], strategies=["ddp"], batch_size=[16, 32])
    records = [record(cell) for cell in cells(grid)]
    other = GPU.model_copy(update={"device": "NVIDIA A100"})
    records += [record(cell, other) for cell in cells(grid)]
    figure = throughput_vs_batch(of_records(records))
    assert len(figure.axes) == 2
    assert panel(figure, "NVIDIA A100") is not panel(figure, "NVIDIA H200")
    # A cell that ended before it knew its GPU makes no panel of its own.
    lost = benchmark(["resnet18"], strategies=["fsdp"], batch_size=[16])
    unknown = GPU.model_copy(update={"device": "a processor"})
    failed = record(cells(lost)[0], unknown, limit_mb=1)
    assert len(throughput_vs_batch(of_records([*records, failed])).axes) == 2


@pytest.mark.parametrize("make", [throughput_vs_batch, memory_vs_batch, scaling_efficiency])
def test_without_any_measured_cell_the_figure_says_why(make):
    (axes,) = make(of_shape("unsupported")).axes
    said = " ".join(texts(axes).split())
    assert "1 unsupported" in said and "all its layers are one" in said


def test_the_program_draws_what_was_collected(tmp_path):
    grid, environment = SHAPES["one"]
    table = throughput_table([record(cell, environment) for cell in cells(grid)])
    write_table(tmp_path / "throughput.csv", table)
    arguments = ("--throughput", tmp_path / "throughput.csv", "--output-dir", tmp_path / "figures")
    program("plot_throughput", *arguments)
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(NAMES)
