"""Resolved keys and version of each stage, as one line of JSON: `--what` of its program.

Snakemake runs a stage again when this text changes, and only then (apart from changed inputs). The
text has only keys that decide results, without those at their defaults. A version is raised when a
change of the code changes the stage's results; test_stage_versions.py checks it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddpm_bench.config.benchmark import (
    PIPELINES,
    Cell,
    CellMeasuring,
    OfExperiment,
    OwnModel,
    TablesStage,
)
from ddpm_bench.config.block import canonical_json, what_keys
from ddpm_bench.config.experiment import Config, Experiment
from ddpm_bench.config.sampling import Samples
from ddpm_bench.config.scoring import PUBLISHED_INCEPTION_SHA256, Score, ScoreSettings
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.files import sha256
from ddpm_bench.planning.benchmark_cells import (
    WITHOUT_IMAGES,
    dataset_of_cell,
    images_shaped_as,
    latents_shaped_as,
)
from ddpm_bench.planning.earlier_images import preparing_version
from ddpm_bench.planning.earlier_samples import drawing_version
from ddpm_bench.planning.loss_groups import loss_groups
from ddpm_bench.planning.removed_weights import samples_version

HOW = {"run"}
# Keys that decide neither weights nor scores: other checkpoints to keep, and published scores.
KEYS_BESIDE_THE_MODEL = {"keep": True, "published": True}


def config_of_one_experiment(config: Config, experiment: str) -> dict[str, Any]:
    """Return the keys of an experiment, its dataset and its autoencoder that decide results.

    `defaults` are merged, and keys at their own defaults left out. `check_config` reads the result.
    """
    keys = config.experiments[experiment]
    own = _dumped(
        keys, {**KEYS_BESIDE_THE_MODEL, "train": HOW, **_each("samples"), **_each("scores")}
    )
    if keys.train.init_from is not None:
        # The path of the file decides nothing, its content does.
        own["train"]["init_from"]["path"] = ""
    parsed = {
        "datasets": {keys.dataset: _dumped(config.datasets[keys.dataset], {"run": True})},
        "experiments": {experiment: own},
    }
    if keys.autoencoder is not None:
        autoencoder = config.autoencoders[keys.autoencoder]
        parsed["autoencoders"] = {
            keys.autoencoder: _dumped(autoencoder, {"train": HOW, **_each("scores")})
        }
    return parsed


def _each(block: str) -> dict[str, Any]:
    return {block: {"__all__": HOW}}


def _dumped(block: Any, leave_out: dict[str, Any]) -> dict[str, Any]:
    return block.model_dump(mode="json", exclude_defaults=True, exclude=leave_out)


def stage(name: str, **keys: Any) -> str:
    """Return the `--what` of a stage: version and keys as canonical JSON, without empty blocks.

    The version is the present one, unless it is given.
    """
    present = {key: value for key, value in keys.items() if value not in (None, {})}
    return canonical_json({"version": VERSIONS[name], **present})


def fetch_stage(config: Config, dataset: str, listing: str | None) -> str:
    """Return the text of fetching. listing: hash of a local folder's files; else None."""
    source = what_keys(config.datasets[dataset].source)
    return stage("fetch", source=source, listing=listing)


def prepare_stage(config: Config, dataset: str) -> str:
    """Return the text of preparing a dataset."""
    keys = what_keys(config.datasets[dataset], leave_out=frozenset({"source", "classifier"}))
    source = what_keys(config.datasets[dataset].source)
    return stage(
        "prepare",
        version=preparing_version(config.results_dir, dataset),
        kind=source["kind"],
        include=source.get("include"),
        **keys,
    )


def classifier_stage(config: Config, dataset: str) -> str:
    """Return the text of training a dataset's classifier."""
    return stage("classifier", classifier=what_keys(config.datasets[dataset].classifier))


def train_stage(config: Config, experiment: str) -> str:
    """Return the text of a training.

    `steps` and the division into jobs are not part of it: a longer training continues a shorter
    one, unless its learning rate depends on the length.
    """
    keys = config.trainings[experiment]
    train = what_keys(keys.train, leave_out=frozenset({"steps"}))
    if keys.train.schedule_length() is not None:
        train["lr_schedule_steps"] = keys.train.schedule_length()
    if keys.train.init_from is not None:
        # The path of the file decides nothing, its content does.
        train["init_from"] = {"path": "", "sha256": keys.train.init_from.sha256}
    name = "train" if isinstance(keys, Experiment) else "autoencoder"
    return stage(name, **_network(config, experiment), train=train)


def _network(config: Config, experiment: str) -> dict[str, Any]:
    """Return the keys of the trained network, and of a denoising network its process."""
    keys = config.trainings[experiment]
    network: dict[str, Any] = {"model": what_keys(keys.model)}
    if isinstance(keys, Experiment):
        network["diffusion"] = what_keys(keys.diffusion)
        if keys.autoencoder is not None:
            model = config.autoencoders[keys.autoencoder].model
            latents = model.latents_of(config.datasets[keys.dataset].image_size)
            network["latents"] = what_keys(latents)
    return network


def encode_stage(config: Config, autoencoder: str) -> str:
    """Return the text of encoding a dataset."""
    return stage("encode", model=what_keys(config.autoencoders[autoencoder].model))


def reconstruct_stage(config: Config, autoencoder: str) -> str:
    """Return the text of reconstructing held-out images."""
    keys = config.autoencoders[autoencoder]
    images = keys.reconstructions.images
    return stage("reconstruct", model=what_keys(keys.model), images=images)


def schedule_stage(config: Config, experiment: str) -> str:
    """Return the text of the figure of the forward process."""
    keys = config.experiments[experiment]
    return stage(
        "schedule", diffusion=what_keys(keys.diffusion), min_snr_gamma=keys.train.min_snr_gamma
    )


def validate_stage(config: Config, experiment: str) -> str:
    """Return the text of validation losses."""
    keys = config.trainings[experiment]
    return stage(
        "validate" if isinstance(keys, Experiment) else "autoencoder",
        model=what_keys(keys.model),
        diffusion=what_keys(keys.diffusion) if isinstance(keys, Experiment) else None,
        min_snr_gamma=keys.train.min_snr_gamma,
        validation=what_keys(keys.validation),
    )


def sample_stage(config: Config, experiment: str, name: str, step: int) -> str:
    """Return the text of drawing the set of samples `name` from the checkpoint of a step."""
    version = samples_version(config, experiment, name, step)
    return stage("sample", version=version, **_sampling(config, experiment, name))


def trajectory_stage(config: Config, experiment: str, name: str) -> str:
    """Return the text of the animation from noise to images of the set `name`."""
    version = drawing_version("trajectory", config.experiments[experiment], name)
    return stage("trajectory", version=version, **_sampling(config, experiment, name))


def samplers_stage(config: Config, experiment: str) -> str:
    """Return the text of the comparison of an experiment's samplers."""
    sets = config.experiments[experiment].samples
    return stage("samplers", sets={name: _drawing(keys) for name, keys in sets.items()})


def _sampling(config: Config, experiment: str, name: str) -> dict[str, Any]:
    keys = config.experiments[experiment]
    dataset = config.datasets[keys.dataset]
    autoencoder = keys.autoencoder and what_keys(config.autoencoders[keys.autoencoder].model)
    return {
        "image_size": dataset.image_size,
        "channels": dataset.channels,
        "autoencoder": autoencoder,
        "model": what_keys(keys.model),
        "diffusion": what_keys(keys.diffusion),
        "drawing": _drawing(keys.samples[name]),
    }


def _drawing(samples: Samples) -> dict[str, Any]:
    """Return the keys that decide the bytes of a set's images."""
    return what_keys(samples, leave_out=frozenset({"images", "checkpoints"})) or {}


def feature_stage(score: Score, space: str) -> str:
    """Return the text of features in one of a score's two spaces: its own, and that of FID."""
    return stage("features", **_features(score, space))


def score_stage(config: Config, experiment: str, samples: str, score: str) -> str:
    """Return the text of scoring a set of samples."""
    keys = config.trainings[experiment].scores[score]
    images = config.trainings[experiment].samples[samples].images
    measuring = {
        key: value for key, value in what_keys(keys).items() if key in ScoreSettings.model_fields
    }
    return stage(
        "score",
        # An autoencoder has at most as many as images are held out.
        images=None if experiment in config.autoencoders else images,
        reference=keys.reference,
        fid_statistics=keys.fid_statistics.name if keys.fid_statistics else None,
        features={"version": VERSIONS["features"], **_features(keys, keys.feature_space)},
        measuring=measuring,
    )


def score_figures_stage(config: Config, name: str, experiments: Iterable[str]) -> str:
    """Return the text of figures of scores. name: of the stage, `plot` or `bests`."""
    return stage(name, **_published(config, experiments))


def compare_stage(config: Config, drawn: list[str]) -> str:
    """Return the text of the comparison of all experiments.

    drawn: the experiments in figures; tables have all.
    """
    some = {"drawn": drawn} if config.sweeps else {}
    return stage("compare", **_published(config, config.experiments), **some)


def hours_stage(config: Config, experiments: Iterable[str]) -> str:
    """Return the text of figures of scores against hours of training."""
    autoencoders = {name: config.experiments[name].autoencoder for name in experiments}
    keys = {name: {"autoencoder": other} if other else {} for name, other in autoencoders.items()}
    return stage("hours", experiments=keys, **_published(config, autoencoders))


def losses_stage(config: Config, experiments: Iterable[str]) -> str:
    """Return the text of the comparison of losses."""
    groups = [group.model_dump(mode="json") for group in loss_groups(config, experiments)]
    return stage("losses", groups=groups)


def _published(config: Config, experiments: Iterable[str]) -> dict[str, Any]:
    """Return the published scores on the datasets of these experiments; {} without any."""
    published: list[dict[str, Any]] = []
    for experiment in experiments:
        keys = config.trainings[experiment]
        for line in keys.published if isinstance(keys, Experiment) else ():
            score = {**what_keys(line), "dataset": keys.dataset}
            if score not in published:  # several experiments may have it from `defaults`
                published.append(score)
    return {"published": published} if published else {}


def costs_stage(config: Config) -> str:
    """Return the text of the table of costs."""
    experiments = {
        name: {
            "dataset": keys.dataset,
            "samples": sorted(keys.samples),
            "scores": sorted(keys.scores),
        }
        for name, keys in config.trainings.items()
    }
    return stage("costs", experiments=experiments)


def best_stage(config: Config, experiment: str) -> str:
    """Return the text of the export of an experiment's best checkpoint; `best` must be set."""
    return stage("best", experiment=experiment, config=config_of_one_experiment(config, experiment))


def sweep_stage(config: Config, sweep: str) -> str:
    """Return the text of a sweep's report; its members' names and values follow from it."""
    swept = config.sweeps[sweep]
    seed = config.experiments[next(iter(swept.members))].train.seed
    fixed = {} if "train.seed" in swept.sweep.keys else {"train_seed": seed}
    return stage("sweep", sweep=sweep, swept=what_keys(swept.sweep), **fixed)


def thin_stage(config: Config, experiment: str, steps: dict[str, list[int]]) -> str:
    """Return the text of removing weights; `keep` of the experiment must be set.

    steps: training steps of each set of samples.
    """
    keys = config.experiments[experiment]
    assert keys.keep is not None
    sets = {
        name: {
            "steps": steps[name],
            **({} if drawing.ema_sigma_rel is None else {"ema_sigma_rel": drawing.ema_sigma_rel}),
        }
        for name, drawing in keys.samples.items()
    }
    return stage(
        "thin",
        keep=what_keys(keys.keep),
        checkpoint_every=keys.train.checkpoint_every,
        sets=sets,
        scores=list(keys.scores),
    )


def _features(score: Score, space: str) -> dict[str, Any]:
    if score.features == "classifier":
        return {"features": "classifier"}
    network = score.features if space == score.feature_space else score.fid_backend
    keys: dict[str, Any] = {
        "features": network,
        "weights_sha256": score.weights.sha256 if score.weights else PUBLISHED_INCEPTION_SHA256,
    }
    if score.weights and score.weights.name:
        keys["weights_name"] = score.weights.name
    return keys


def cell_stage(config: Config, cell: Cell) -> str:
    """Return the text of measuring a cell of the benchmark.

    The model of an experiment is given with its keys. Keys that the cell does not read are left
    out, so that changing them does not measure it again.
    """
    assert config.benchmark is not None
    network = config.benchmark.models[cell.model]
    if isinstance(network, OfExperiment):
        network = config.experiments[network.experiment].model
    own = isinstance(network, OwnModel)
    return stage(
        "cell",
        cell=what_keys(cell),
        network=what_keys(network),
        measuring=_measuring(config, cell, network.name),
        own_sha256=sha256(Path(network.path)) if own else None,
        dataset=dataset_of_cell(config, cell),
    )


def throughput_tables_stage(config: Config) -> str:
    """Return the text of the benchmark's tables: the grid, or nothing without a benchmark."""
    if config.benchmark is None:
        return stage("throughput")
    grid = config.benchmark.model_dump(mode="json", include=set(TablesStage.model_fields))
    return stage("throughput", **{**grid, "models": list(grid["models"])})


def _measuring(config: Config, cell: Cell, network: str) -> dict[str, Any]:
    assert config.benchmark is not None
    keys = config.benchmark.model_dump(include=set(CellMeasuring.model_fields))
    if shape := images_shaped_as(config, cell.model):
        dataset = config.datasets[shape]
        keys |= {"image_size": dataset.image_size, "channels": dataset.channels}
    if latents := latents_shaped_as(config, cell.model):
        keys |= {"image_size": latents.size, "channels": latents.channels}
    unread = set() if cell.strategy in PIPELINES else {"micro_batches"}
    unread |= set() if cell.strategy == "powersgd" else {"powersgd_rank"}
    unread |= {"image_size", "channels"} if network in WITHOUT_IMAGES else set()
    unread |= set() if network.startswith("resnet") else {"classes"}
    return what_keys(CellMeasuring.model_validate(keys), leave_out=frozenset(unread))
