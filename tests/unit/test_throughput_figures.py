"""The figures of the throughput benchmark, drawn of records that a model of costs makes."""

from collections.abc import Iterator
from typing import get_args

import pytest
from drawn import program, texts
from fake_throughput import CPU, GPU, benchmark, record
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from ddpm_bench.cell_record import CellRecord
from ddpm_bench.cells import cells
from ddpm_bench.config.benchmark import Strategy
from ddpm_bench.house_style import save_figure
from ddpm_bench.scaling_figures import communication_share, scaling_efficiency
from ddpm_bench.tables import write_table
from ddpm_bench.throughput_figures import memory_vs_batch, throughput_figures, throughput_vs_batch
from ddpm_bench.throughput_looks import STATUS_MARKERS, STRATEGY_COLOURS, drawn_cells
from ddpm_bench.throughput_table import throughput_table

NAMES = [
    "throughput_vs_batch.png", "scaling_efficiency.png", "memory_vs_batch.png",
    "communication_share.png",
]  # fmt: skip
SHAPES = {
    "wide": (
        benchmark(
            ["resnet18", "unet", "albert"], strategies=get_args(Strategy), batch_size=[16, 32],
            processes=[1, 2],
        ),
        CPU,
    ),
    "deep": (
        benchmark(
            ["resnet18", "resnet50"], strategies=["single", "ddp", "powersgd", "fsdp"],
            batch_size=[32, 64, 128, 256, 512, 1024], precision=["fp32", "bf16", "fp16"],
            processes=[1, 2],
        ),
        GPU,
    ),
    "one": (benchmark(["resnet18"]), GPU),
    "unsupported": (
        benchmark(["albert"], strategies=["pipeline-gpipe"], processes=[2], baselines=False), CPU
    ),
    "nodes": (
        benchmark(
            ["unet"], strategies=["ddp", "pipeline-1f1b"], batch_size=[64], processes=[1, 8],
            nodes=[1, 2, 8],
        ),
        GPU,
    ),
}  # fmt: skip


def drawn(grid, environment=GPU, limit_mb=12_000):
    return of_records([record(cell, environment, limit_mb) for cell in cells(grid)])


def of_records(records: list[CellRecord]):
    return drawn_cells(throughput_table(records))


def of_shape(name: str):
    return drawn(*SHAPES[name])


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def panel(figure: Figure, title: str):
    (found,) = (axes for axes in figure.axes if texts(axes).find(title) >= 0)
    return found


def marks(axes, status: str) -> Iterator[tuple[float, str]]:
    """Batch (or processes) and strategy of each mark of this status in a band."""
    colours = {colour: name for name, colour in STRATEGY_COLOURS.items()}
    for line in axes.lines:
        if line.get_marker() == STATUS_MARKERS[status] and len(line.get_xdata()) == 1:
            yield line.get_xdata()[0], colours[to_rgb(line.get_color())]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_grid_is_drawn(shape, tmp_path):
    grid, environment = SHAPES[shape]
    table = throughput_table([record(cell, environment, 12_000) for cell in cells(grid)])
    for name, figure in throughput_figures(table):
        save_figure(figure, tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.width >= 1900 and image.convert("L").getextrema() != (255, 255)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)


def test_every_measured_cell_is_a_point_near_its_batch_and_at_its_throughput():
    cells_drawn = of_shape("deep")
    figure = throughput_vs_batch(cells_drawn)
    rows = cells_drawn[
        (cells_drawn["model"] == "resnet18") & (cells_drawn["processes"] == 2)
    ].dropna(subset=["samples_per_second"])
    points = [
        (line.get_color(), x, y)
        for line in panel(figure, "resnet18, 2 processes").lines
        if len(line.get_xdata()) > 1
        for x, y in line.get_xydata()
    ]
    assert len(points) == len(rows) > 0
    for row in rows.itertuples():
        near = [
            x for colour, x, y in points
            if y == row.samples_per_second and to_rgb(colour) == STRATEGY_COLOURS[row.strategy]
        ]  # fmt: skip
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
    expected = [(batch, name) for name in ("ddp", "powersgd", "fsdp") for batch in (512, 1024)]
    assert sorted(marks(axes, "out of memory")) == sorted(expected)
    assert "ddp bf16, fp16" in texts(axes) and "peak MB of a GPU" in texts(axes)
    assert not list(marks(panel(figure, "resnet18, 2 processes"), "out of memory"))
    assert "does not fit" in legend(figure)


def test_efficiencies_are_bars_of_one_number_of_processes():
    found = of_shape("wide")
    weak = panel(scaling_efficiency(found), "resnet18, fp32, 2 processes\nweak")
    rows = found[(found["model"] == "resnet18") & (found["processes"] == 2)].dropna(
        subset=["weak_efficiency"]
    )
    heights = [bar.get_height() for bar in weak.patches]
    assert sorted(heights) == pytest.approx(sorted(rows["weak_efficiency"]))
    assert len(list(marks(weak, "unsupported"))) == 2  # ddp-bf16, at two batches
    assert [1.0, 1.0] in [list(line.get_ydata()) for line in weak.lines]
