"""Cells of the throughput benchmark: the grid, their names and files."""

import itertools
import re
from pathlib import Path

from ddpm_bench.config.benchmark import Benchmark, Cell, OfExperiment, TablesStage
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.networks import LatentShape
from ddpm_bench.records import layout

# Name of the benchmark beside the names of experiments, of which none may be the same.
BENCHMARK = layout.BENCHMARK
WITHOUT_IMAGES = ("albert", "own")


class UnsupportedError(Exception):
    """A combination that cannot be measured; the message has the reason."""


def cells(benchmark: Benchmark | TablesStage) -> list[Cell]:
    """Return the grid, and the `single` cells that its efficiencies compare with; each once."""
    grid = [
        Cell(
            model=model,
            strategy=strategy,
            precision=precision,
            batch_size=batch_size,
            processes=processes,
            nodes=nodes,
        )
        for model, strategy, precision, batch_size, nodes, processes in itertools.product(
            benchmark.models,
            benchmark.strategies,
            benchmark.precision,
            benchmark.batch_size,
            benchmark.nodes,
            benchmark.processes,
        )
    ]
    if benchmark.baselines:
        grid += [
            baseline(cell, size)
            for cell in grid
            if cell.world > 1 and cell.strategy != "single"
            for size in (cell.batch_size, cell.global_batch)
        ]
    return list(dict.fromkeys(grid))


def baseline(cell: Cell, batch_size: int) -> Cell:
    """Return the cell with one process and a batch of this size.

    Weak scaling compares with it at the cell's batch, strong scaling at its global batch.
    """
    single = {"strategy": "single", "batch_size": batch_size, "processes": 1, "nodes": 1}
    return cell.model_copy(update=single)


def cell_name(cell: Cell) -> str:
    """Return the stem of a cell's files."""
    return (
        f"{cell.model}.{cell.strategy}.{cell.precision}.batch-{cell.batch_size}"
        f".processes-{cell.processes}.nodes-{cell.nodes}"
    )


def cells_by_name(config: Config) -> dict[str, Cell]:
    """Return all cells of a config by name; {} without a benchmark."""
    if config.benchmark is None:
        return {}
    return {cell_name(cell): cell for cell in cells(config.benchmark)}


def is_cell_name(config: Config, name: str) -> bool:
    """Return True for the name of a cell of this benchmark, also with other numbers in it."""
    if config.benchmark is None:
        return False
    parts = (config.benchmark.models, {"single", *config.benchmark.strategies})
    models, strategies = ("|".join(map(re.escape, names)) for names in parts)
    precisions = "|".join(config.benchmark.precision)
    numbers = r"batch-\d+\.processes-\d+\.nodes-\d+"
    pattern = rf"(?:{models})\.(?:{strategies})\.(?:{precisions})\.{numbers}"
    return re.fullmatch(pattern, name) is not None


def benchmark_folder(config: Config) -> Path:
    """Return the folder of the benchmark's results."""
    return Path(config.results_dir, BENCHMARK)


def cell_file(config: Config, cell: Cell) -> str:
    """Return the file of a cell's measurement: a CellRecord as JSON."""
    return str(layout.cell_file(config.results_dir, cell_name(cell)))


def cell_files(config: Config) -> list[str]:
    """Return the files of all cells, in the order of the grid."""
    return [cell_file(config, cell) for cell in cells_by_name(config).values()]


def cell_threads(config: Config, cell: Cell) -> int:
    """Return the CPU cores of a cell on each of its nodes."""
    assert config.benchmark is not None
    return cell.processes * config.benchmark.cpus


def of_several_nodes(cell: Cell, value: str | int) -> str | int | None:
    """Return a resource for cells of several nodes; None, which sets none, for others."""
    return value if cell.nodes > 1 else None


def images_shaped_as(config: Config, model: str) -> str | None:
    """Return the dataset that gives a model of the benchmark its image size and channels.

    None if the benchmark's own keys do, or latents.
    """
    assert config.benchmark is not None
    network = config.benchmark.models[model]
    if network.name in WITHOUT_IMAGES:
        return None
    if isinstance(network, OfExperiment):
        experiment = config.experiments[network.experiment]
        return None if experiment.autoencoder else experiment.dataset
    return config.benchmark.dataset


def latents_shaped_as(config: Config, model: str) -> LatentShape | None:
    """Return the shape of the latents that a model of an experiment takes; None for images.

    A cell takes random latents: those of images exist only after the training of an autoencoder.
    """
    assert config.benchmark is not None
    network = config.benchmark.models[model]
    if not isinstance(network, OfExperiment):
        return None
    experiment = config.experiments[network.experiment]
    if experiment.autoencoder is None:
        return None
    autoencoder = config.autoencoders[experiment.autoencoder].model
    return autoencoder.latents_of(config.datasets[experiment.dataset].image_size)


def dataset_of_cell(config: Config, cell: Cell) -> str | None:
    """Return the dataset whose images a cell trains on; None for random data."""
    assert config.benchmark is not None
    return images_shaped_as(config, cell.model) if config.benchmark.dataset else None


def benchmark_datasets(config: Config) -> list[str]:
    """Return the datasets that the benchmark trains on, each once."""
    if config.benchmark is None or config.benchmark.dataset is None:
        return []
    used = (images_shaped_as(config, model) for model in config.benchmark.models)
    return list(dict.fromkeys(name for name in used if name is not None))
