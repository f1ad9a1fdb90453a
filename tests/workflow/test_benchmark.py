"""Which cells of the benchmark are measured after a change of the config.

The benchmark is a finished one as far as Snakemake knows (changed_keys.py).
"""

import json
from pathlib import Path

import pytest
from changed_keys import dry_runs, finish, keys_of, with_value

from ddpm_bench.config.benchmark import Benchmark

THROUGHPUT = {"collect_throughput", "plot_throughput"}
CELLS = {"measure_cell", *THROUGHPUT}
NOTHING: set[str] = set()
IMAGE_MODELS = "resnet unet unet2d"
MODELS = f"{IMAGE_MODELS} albert own study"

# Key, as the reference has it; the models whose cells are measured again; another value; what runs.
TABLE: list[tuple[str, str, object, set[str]]] = [
    ("models.<name> (name: albert).hidden_size", "albert", 24, CELLS),
    ("models.<name> (name: albert).intermediate_size", "albert", 24, CELLS),
    ("models.<name> (name: albert).layers", "albert", 3, CELLS),
    ("models.<name> (name: albert).attention_heads", "albert", 6, CELLS),
    ("models.<name> (name: albert).embedding_size", "albert", 24, CELLS),
    ("models.<name> (name: albert).vocabulary", "albert", 24, CELLS),
    ("models.<name> (name: albert).sequence_length", "albert", 24, CELLS),
    ("models.<name> (name: own).path", "own", "other.py", CELLS),
    ("models.<name> (name: own).function", "own", "other", CELLS),
    # The same network for images of the same size:
    ("models.<name> (name: experiment).experiment", "study", "copy", NOTHING),
    ("models.<name> (name: unet).dim", "unet", 16, CELLS),
    ("models.<name> (name: unet2d).block_out_channels", "unet2d", [8, 8], CELLS),
    ("strategies", MODELS, ["powersgd", "ddp"], CELLS),
    ("precision", MODELS, ["bf16"], CELLS),
    ("batch_size", MODELS, [4], CELLS),
    ("processes", MODELS, [3], CELLS),
    ("nodes", MODELS, [2], CELLS),
    ("baselines", MODELS, False, THROUGHPUT),  # fewer cells: the others stand
    ("dataset", f"{IMAGE_MODELS} study", "digits", CELLS),
    ("image_size", IMAGE_MODELS, 16, CELLS),
    ("channels", IMAGE_MODELS, 1, CELLS),
    ("classes", "resnet", 7, CELLS),
    ("optimizer", MODELS, "sgd", CELLS),
    ("learning_rate", MODELS, 0.1, CELLS),
    ("micro_batches", MODELS, 2, CELLS),
    ("powersgd_rank", MODELS, 2, CELLS),
    ("warmup_steps", MODELS, 7, CELLS),
    ("steps", MODELS, 7, CELLS),
    ("seconds", MODELS, 7, CELLS),
    ("repetitions", MODELS, 7, CELLS),
    ("seed", MODELS, 7, CELLS),
    ("cpus", MODELS, 2, CELLS),
    ("memory_mb_per_process", MODELS, 5000, CELLS),
    ("run.minutes_per_cell", MODELS, 2, NOTHING),
]
# And of an experiment that is a model of the benchmark:
STUDY: list[tuple[str, object, set[str]]] = [
    ("experiments.<name>.model.dim", 16, CELLS),
    ("experiments.<name>.train.learning_rate", 0.1, NOTHING),
    ("experiments.<name>.train.steps", 80, NOTHING),
]


def grid(folder: Path) -> dict:
    """A config in which every kind of model stands, with two strategies that read keys of their
    own; and experiments, whose network one of the models is."""
    for name in ("own.py", "other.py"):
        (folder / name).touch()
    unet = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}
    train = {"steps": 40, "batch_size": 16, "checkpoint_every": 20}
    study = {"dataset": "digits", "model": unet, "train": train}
    digits = {"source": {"kind": "sklearn-digits"}, "image_size": 16, "channels": 1}
    return {
        "datasets": {"digits": digits},
        "experiments": {"study": study, "copy": study},
        "benchmark": {
            "models": {
                "resnet": {"name": "resnet18"},
                "unet": unet,
                "unet2d": {"name": "unet2d", "block_out_channels": [8, 16], "norm_num_groups": 4},
                "albert": {"name": "albert", "hidden_size": 48, "attention_heads": 4},
                "own": {"name": "own", "path": "own.py"},
                "study": {"name": "experiment", "experiment": "study"},
            },
            "strategies": ["powersgd", "pipeline-gpipe"],
            "processes": [2],
        },
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def answers(folder) -> dict[str, list]:
    """What `snakemake benchmark` would run after each change, by the changed key."""
    base = grid(folder)
    finish(folder, base, "benchmark")
    changed = {
        f"benchmark.{path}": with_value(base, f"benchmark.{path}", models, value)
        for path, models, value, _ in TABLE
    }
    changed |= {path: with_value(base, path, "study", value) for path, value, _ in STUDY}
    changed["more batch sizes"] = with_value(base, "benchmark.batch_size", "", [32, 16])
    before, *after = dry_runs(folder, [base, *changed.values()], "benchmark")
    assert before == [], "the benchmark is finished"
    return dict(zip(changed, after, strict=True))


def rules(jobs: list) -> set[str]:
    assert isinstance(jobs, list), jobs
    return {rule for rule, _, _ in jobs}


def cells(jobs: list) -> set[str]:
    return {cell for rule, cell, _ in jobs if rule == "measure_cell"}


def test_after_a_change_exactly_the_cells_that_read_it_are_measured_again(answers):
    wrong = {}
    for path, models, value, expected in TABLE:
        jobs = answers[f"benchmark.{path}"]
        measured = {cell.split(".")[0] for cell in cells(jobs)}
        meant = set(models.split()) if "measure_cell" in expected else set()
        if rules(jobs) - {"fetch", "prepare"} != expected or measured != meant:
            wrong[f"{path} = {value!r}"] = [sorted(rules(jobs)), sorted(measured)]
    assert not wrong, json.dumps(wrong, indent=2)


@pytest.mark.parametrize(
    ("key", "strategy"), [("micro_batches", "pipeline-gpipe"), ("powersgd_rank", "powersgd")]
)
def test_a_key_of_one_strategy_measures_its_cells_alone(answers, key, strategy):
    assert {cell.split(".")[1] for cell in cells(answers[f"benchmark.{key}"])} == {strategy}


def test_images_of_a_dataset_are_prepared_first(answers):
    assert rules(answers["benchmark.dataset"]) == {"fetch", "prepare", *CELLS}


def test_a_new_batch_size_measures_the_new_cells_alone(answers):
    measured = cells(answers["more batch sizes"])
    # `single` with 32 is there: the baseline at the global batch of 2 x 16.
    assert {cell.split(".", 3)[3] for cell in measured} == {
        "batch-16.processes-2.nodes-1", "batch-16.processes-1.nodes-1",
    }  # fmt: skip
    assert len(measured) == len(MODELS.split()) * 3


def test_an_experiment_whose_network_is_measured_does_not_measure_it_for_its_training(answers):
    for path, _, expected in STUDY:
        measured = {cell.split(".")[0] for cell in cells(answers[path])}
        assert (rules(answers[path]), measured) == (expected, {"study"} if expected else set())


def test_every_key_of_the_benchmark_stands_in_the_table():
    # Those of U-Nets are those of an experiment's `model`: test_staleness_table.py.
    unets = ("models.<name> (name: unet).", "models.<name> (name: unet2d).")
    keys = {key for key in keys_of(Benchmark) if not key.endswith(").name")}
    assert {key for key in keys if not key.startswith(unets)} == {
        path for path, *_ in TABLE if not path.startswith(unets)
    }


def test_a_cell_whose_file_is_deleted_is_measured_again(answers, folder):
    (deleted,) = (folder / "results/benchmark/cells").glob("unet.powersgd.*")
    deleted.unlink()
    (jobs,) = dry_runs(folder, [grid(folder)], "benchmark")
    assert (rules(jobs), cells(jobs)) == (CELLS, {deleted.stem})
    deleted.touch()


def test_without_a_target_experiments_alone_are_run_and_the_benchmark_where_there_are_none(folder):
    both, alone = {**grid(folder), "results_dir": "new"}, grid(folder)
    alone["experiments"] = {}
    alone["benchmark"]["models"].pop("study")
    with_experiments, without = dry_runs(folder, [both, alone])
    assert not rules(with_experiments) & CELLS and "train" in rules(with_experiments)
    assert rules(without) == THROUGHPUT  # fewer cells than before, all measured
