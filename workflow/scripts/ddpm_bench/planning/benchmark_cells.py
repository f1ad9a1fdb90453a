"""The cells of the throughput benchmark: which there are, and where each leaves its measurement.

Imported at DAG time: the standard library and the configuration only.
"""

import itertools
import re
from pathlib import Path

from ddpm_bench.config.benchmark import Benchmark, Cell, OfExperiment, TablesStage
from ddpm_bench.config.experiment import Config
from ddpm_bench.config.networks import LatentShape

# By which others know the benchmark of a config; no experiment may have this name.
BENCHMARK = "benchmark"
WITHOUT_IMAGES = ("albert", "own")
FIGURES = (
    "throughput_vs_batch.png",
    "scaling_efficiency.png",
    "memory_vs_batch.png",
    "communication_share.png",
)


class UnsupportedError(Exception):
    """A combination that cannot be measured, with the reason, in words for the user."""


def cells(benchmark: Benchmark | TablesStage) -> list[Cell]:
    """The grid, and the `single` cells that its efficiencies are held against; each once."""
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
    """One process with a batch of this size, all else as in the cell: what weak scaling is held
    against at the cell's batch, and strong scaling at its global batch."""
    alone = {"strategy": "single", "batch_size": batch_size, "processes": 1, "nodes": 1}
    return cell.model_copy(update=alone)


def cell_name(cell: Cell) -> str:
    """The stem of a cell's files."""
    return (
        f"{cell.model}.{cell.strategy}.{cell.precision}.batch-{cell.batch_size}"
        f".processes-{cell.processes}.nodes-{cell.nodes}"
    )


def cells_by_name(config: Config) -> dict[str, Cell]:
    """Every cell of a config by its name; none where the config has no benchmark."""
    if config.benchmark is None:
        return {}
    return {cell_name(cell): cell for cell in cells(config.benchmark)}


def is_cell_name(config: Config, name: str) -> bool:
    """Whether a name is one of a cell of this benchmark, or was before a number in it changed."""
    if config.benchmark is None:
        return False
    parts = (config.benchmark.models, {"single", *config.benchmark.strategies})
    models, strategies = ("|".join(map(re.escape, names)) for names in parts)
    precisions = "|".join(config.benchmark.precision)
    numbers = r"batch-\d+\.processes-\d+\.nodes-\d+"
    pattern = rf"(?:{models})\.(?:{strategies})\.(?:{precisions})\.{numbers}"
    return re.fullmatch(pattern, name) is not None


def benchmark_folder(config: Config) -> Path:
    """Where all that the benchmark leaves lies."""
    return Path(config.results_dir, BENCHMARK)


def cell_file(config: Config, cell: Cell) -> str:
    """What the program of a cell leaves: a CellRecord (cell_record.py) as JSON."""
    return str(benchmark_folder(config) / "cells" / f"{cell_name(cell)}.json")


def cell_files(config: Config) -> list[str]:
    """The files of all cells, in the order of the grid."""
    return [cell_file(config, cell) for cell in cells_by_name(config).values()]


def cell_threads(config: Config, cell: Cell) -> int:
    """CPU cores of a cell on each of its nodes."""
    assert config.benchmark is not None
    return cell.processes * config.benchmark.cpus


def of_several_nodes(cell: Cell, value: str | int) -> str | int | None:
    """A value for cells of several nodes; None, for Snakemake a resource not set, for others."""
    return value if cell.nodes > 1 else None


def images_shaped_as(config: Config, model: str) -> str | None:
    """The dataset that gives a model of the benchmark its image size and channels; None where the
    benchmark's own keys do, or latents."""
    assert config.benchmark is not None
    network = config.benchmark.models[model]
    if network.name in WITHOUT_IMAGES:
        return None
    if isinstance(network, OfExperiment):
        experiment = config.experiments[network.experiment]
        return None if experiment.autoencoder else experiment.dataset
    return config.benchmark.dataset


def latents_shaped_as(config: Config, model: str) -> LatentShape | None:
    """The latents in which a model of an experiment is trained; None for models of images. A cell
    takes random ones: those of images are there only once their autoencoder is trained."""
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
    """The dataset whose images a cell trains on; None where they are random, or where its model
    takes no images."""
    assert config.benchmark is not None
    return images_shaped_as(config, cell.model) if config.benchmark.dataset else None


def benchmark_datasets(config: Config) -> list[str]:
    """The datasets that the benchmark trains on, each once."""
    if config.benchmark is None or config.benchmark.dataset is None:
        return []
    used = (images_shaped_as(config, model) for model in config.benchmark.models)
    return list(dict.fromkeys(name for name in used if name is not None))
