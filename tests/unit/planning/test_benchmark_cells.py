"""The grid of the throughput benchmark: which cells there are, and what each measures."""

import copy
import json

import pytest
import yaml
from places import REPOSITORY

from ddpm_bench.config.benchmark import CellStage
from ddpm_bench.config.loading import check_config
from ddpm_bench.errors import UserError
from ddpm_bench.files import sha256
from ddpm_bench.planning import jobs, local_inputs, stages
from ddpm_bench.planning.benchmark_cells import (
    benchmark_datasets,
    cell_files,
    cell_name,
    cells,
    cells_by_name,
    is_cell_name,
)

DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def config(**keys):
    """The demo with a benchmark of two models and these keys."""
    models = {"r": {"name": "resnet18"}, "u": {"name": "unet", "dim": 8, "dim_mults": [1, 2]}}
    return check_config({**copy.deepcopy(DEMO), "benchmark": {"models": models, **keys}})


def stage(checked, name: str) -> CellStage:
    """What the program of a cell is given, as it reads it."""
    text = stages.cell_stage(checked, cells_by_name(checked)[name])
    return CellStage.model_validate_json(text)


def test_the_ready_example_has_the_cells_that_it_names():
    raw = yaml.safe_load((REPOSITORY / "config" / "benchmark.yaml").read_text())
    checked = check_config(raw)
    grid = checked.benchmark
    asked = (grid.models, grid.strategies, grid.precision, grid.batch_size, grid.processes)
    counts = [len(values) for values in asked]
    assert counts == [3, 8, 1, 2, 2]
    baselines = len(grid.models)  # of strong scaling: `single` at twice the larger batch
    assert len(cells(grid)) == len(cell_files(checked)) == 96 + baselines


def test_the_grid_of_the_docs_is_valid():
    page = (REPOSITORY / "docs" / "benchmark.md").read_text()
    raw = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    flowers = {"experiments": {"flowers": DEMO["experiments"]["digits"]}}
    checked = check_config({**DEMO, **flowers, **raw})
    assert {cell.model for cell in cells(checked.benchmark)} == set(raw["benchmark"]["models"])


@pytest.mark.parametrize(
    "path",
    sorted((REPOSITORY / "config" / "experiments").glob("throughput-*.yaml")),
    ids=lambda path: path.stem,
)
def test_configs_of_published_studies_are_valid(path):
    assert cells(check_config(yaml.safe_load(path.read_text())).benchmark)


def test_every_scaled_cell_has_what_weak_and_strong_scaling_are_held_against():
    checked = config(strategies=["ddp"], batch_size=[8, 16], processes=[2], nodes=[1, 2])
    names = {cell_name(cell) for cell in cells(checked.benchmark) if cell.model == "r"}
    single = {name for name in names if ".single." in name}
    assert single == {
        f"r.single.fp32.batch-{batch}.processes-1.nodes-1" for batch in (8, 16, 32, 64)
    }
    assert len(names - single) == 4


def test_without_baselines_the_grid_stands_alone_and_no_cell_comes_twice():
    keys = {"strategies": ["single", "ddp"], "batch_size": [8, 16], "processes": [1, 2]}
    alone = cells(config(**keys, baselines=False).benchmark)
    assert len(alone) == len(set(alone)) == 2 * 2 * 2 * 2
    more = cells(config(**keys).benchmark)
    assert len(more) == len(set(more))
    # All of `single` is in the grid but the batch of 2 x 16, once for each model.
    assert {cell.batch_size for cell in set(more) - set(alone)} == {32}
    assert len(more) == len(alone) + 2


def test_names_are_told_from_those_of_other_benchmarks():
    checked = config()
    assert all(is_cell_name(checked, name) for name in cells_by_name(checked))
    assert is_cell_name(checked, "u.ddp.fp32.batch-1024.processes-8.nodes-2")
    assert not is_cell_name(checked, "other.ddp.fp32.batch-32.processes-1.nodes-1")
    assert not is_cell_name(check_config(DEMO), "u.ddp.fp32.batch-32.processes-1.nodes-1")


def test_a_key_written_out_at_its_default_is_no_other_measurement():
    name = "u.ddp.fp32.batch-32.processes-1.nodes-1"
    written = config(image_size=32, seconds=3.0, powersgd_rank=4, run={"minutes_per_cell": 2})
    plain = config()
    texts = [
        stages.cell_stage(checked, cells_by_name(checked)[name]) for checked in (plain, written)
    ]
    assert texts[0] == texts[1]
    assert "image_size" not in texts[0] and "minutes" not in texts[0]


def test_a_model_of_an_experiment_is_measured_as_that_experiment_has_it():
    checked = config(models={"digits": {"name": "experiment", "experiment": "digits"}})
    given = stage(checked, "digits.single.fp32.batch-32.processes-1.nodes-1")
    experiment = checked.experiments["digits"]
    assert given.network == experiment.model
    assert (given.measuring.image_size, given.measuring.channels) == (16, 1)
    assert given.dataset is None


def test_a_dataset_gives_its_size_and_its_images_to_models_of_images():
    albert = {"name": "albert", "hidden_size": 24}
    checked = config(models={"r": {"name": "resnet18"}, "a": albert}, dataset="digits")
    resnet, text = (
        stage(checked, f"{model}.ddp.fp32.batch-32.processes-1.nodes-1") for model in "ra"
    )
    assert (resnet.dataset, resnet.measuring.image_size, resnet.measuring.channels) == (
        "digits", 16, 1,
    )  # fmt: skip
    assert text.dataset is None and text.measuring.image_size == 32
    assert benchmark_datasets(checked) == ["digits"]
    images = [jobs.images_of_cell(checked, given.cell) for given in (resnet, text)]
    assert images == [["results/datasets/digits/train.npy"], []]
    assert benchmark_datasets(config()) == []


def test_another_content_of_an_own_model_is_another_measurement(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def build(samples): ...\n")
    checked = config(models={"mine": {"name": "own", "path": str(path)}})
    given = stage(checked, "mine.ddp.fp32.batch-32.processes-1.nodes-1")
    assert given.own_sha256 == sha256(path)
    path.write_text("def build(samples): return None\n")
    assert stage(checked, cell_name(given.cell)).own_sha256 != given.own_sha256


def test_an_own_model_that_is_not_there_is_named_before_anything_runs(tmp_path):
    checked = config(models={"mine": {"name": "own", "path": str(tmp_path / "mine.py")}})
    with pytest.raises(UserError, match=r"benchmark\.models\.mine\.path = .*mine\.py"):
        local_inputs.check_local_files(checked)


def test_the_stage_is_one_line_of_sorted_keys():
    checked = config()
    text = stages.cell_stage(checked, next(iter(cells_by_name(checked).values())))
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
