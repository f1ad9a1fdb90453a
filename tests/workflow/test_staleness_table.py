"""For every key of the config, exactly the stages that run again when it changes.

The study is a finished one as far as Snakemake knows: its files are empty, and `--touch` has noted
what they were made from. What would run is asked of Snakemake itself.
"""

import json
import shutil
from pathlib import Path

import pytest
from changed_keys import dry_runs, finish, keys_of, with_value

from ddpm_bench.config.experiment import Config

SHA = "0" * 64

# What follows from what.
DRAWN = {"plot_scores", "compare", "compare_hours", "plot_best_scores"}
TABLES = {"collect", *DRAWN, "plot_samplers", "costs"}
SCORES = {"score", "plot_closest_pairs", *TABLES}
SPACE = {"reference_features", *SCORES}
SAMPLES = {"sample", "sample_grid", "plot_samples", "plot_trajectory", *SCORES}
FIRST_IMAGES = {"plot_samples", "plot_trajectory"}  # show no more than the first few
LOSSES = {"validate", "plot_loss", "costs"}
TRAINING = {"train", *LOSSES, *SAMPLES}
CLASSIFIER = {"train_classifier", "reference_features", *SCORES}
IMAGES = {"prepare", "train_classifier", "reference_features", *TRAINING}
DIFFUSION = {"plot_schedule", *TRAINING}
PHOTOGRAPHS = {"fetch", *IMAGES} - {"train_classifier"}  # scored by Inception
BARE = {"fetch", "prepare", "train", "compare_hours", *LOSSES}  # of an experiment without samples
RECONSTRUCTIONS = {"reconstruct", "plot_reconstructions", "costs"}
# Of an autoencoder and of the experiment in its latents, both without scores.
AUTOENCODER = {"train", "encode", "compare_hours", *LOSSES, *RECONSTRUCTIONS}
DIGITS = {*IMAGES, *AUTOENCODER}  # which an autoencoder is trained on, too
NOTHING: set[str] = set()

# Key, as the reference has it, with the study's experiment or dataset that has such a block;
# another value; what runs then.
TABLE: list[tuple[str, str, object, set[str]]] = [
    ("datasets.<name>.source (kind: folder).path", "photographs", "other", PHOTOGRAPHS),
    ("datasets.<name>.source (kind: folder).include", "photographs", ["1*"], PHOTOGRAPHS),
    ("datasets.<name>.source (kind: git).url", "repository", "file:///other", BARE),
    ("datasets.<name>.source (kind: git).commit", "repository", "1" * 40, BARE),
    ("datasets.<name>.source (kind: git).include", "repository", ["*.png"], BARE),
    ("datasets.<name>.source (kind: url).url", "archive", "file:///other.zip", BARE),
    ("datasets.<name>.source (kind: url).sha256", "archive", "1" * 64, BARE),
    ("datasets.<name>.source (kind: url).include", "archive", ["*.png"], BARE),
    ("datasets.<name>.image_size", "digits", 8, DIGITS),
    ("datasets.<name>.channels", "digits", 3, DIGITS),
    ("datasets.<name>.eval_fraction", "digits", 0.5, DIGITS),
    ("datasets.<name>.split_seed", "digits", 1, DIGITS),
    ("datasets.<name>.max_megapixels", "digits", 1, DIGITS),
    ("datasets.<name>.value_range", "photographs", [0, 16], PHOTOGRAPHS - {"fetch"}),
    ("datasets.<name>.classifier.steps", "digits", 7, CLASSIFIER),
    ("datasets.<name>.classifier.batch_size", "digits", 7, CLASSIFIER),
    ("datasets.<name>.classifier.learning_rate", "digits", 0.1, CLASSIFIER),
    ("datasets.<name>.classifier.features", "digits", 7, CLASSIFIER),
    ("datasets.<name>.classifier.seed", "digits", 7, CLASSIFIER),
    ("datasets.<name>.run.cpus", "digits", 1, NOTHING),
    ("autoencoders.<name>.model.channels", "vq", 16, AUTOENCODER),
    ("autoencoders.<name>.model.downsampling", "vq", 4, AUTOENCODER),
    ("autoencoders.<name>.model.layers_per_block", "vq", 1, AUTOENCODER),
    ("autoencoders.<name>.model.norm_num_groups", "vq", 2, AUTOENCODER),
    ("autoencoders.<name>.model.attention", "vq", False, AUTOENCODER),
    ("autoencoders.<name>.model.latent_channels", "vq", 3, AUTOENCODER),
    ("autoencoders.<name>.model.codebook_size", "vq", 7, AUTOENCODER),
    ("autoencoders.<name>.model.codebook_dim", "vq", 2, AUTOENCODER),
    ("autoencoders.<name>.model.residual_quantizers", "vq", 2, AUTOENCODER),
    ("autoencoders.<name>.model.commitment", "vq", 1.0, AUTOENCODER),
    ("autoencoders.<name>.model.restart_every", "vq", 0, AUTOENCODER),
    ("autoencoders.<name>.reconstructions.images", "vq", 7, RECONSTRUCTIONS),
    ("autoencoders.<name>.train.learning_rate", "vq", 0.1, AUTOENCODER),
    ("autoencoders.<name>.train.run.cpus", "vq", 3, NOTHING),
    ("autoencoders.<name>.validation.images", "vq", 7, LOSSES),
    ("experiments.<name>.autoencoder", "unet", "vq", TRAINING),
    ("experiments.<name>.model (name: unet).self_condition", "unet", True, TRAINING),
    ("experiments.<name>.model (name: unet).init", "unet", "orthogonal", TRAINING),
    ("experiments.<name>.model (name: unet).zero_residual", "unet", True, TRAINING),
    ("experiments.<name>.model (name: unet).zero_output", "unet", True, TRAINING),
    ("experiments.<name>.model (name: unet).dropout", "unet", 0.1, TRAINING),
    ("experiments.<name>.model (name: unet).dim", "unet", 16, TRAINING),
    ("experiments.<name>.model (name: unet).dim_mults", "unet", [1, 3], TRAINING),
    ("experiments.<name>.model (name: unet).attn_heads", "unet", 2, TRAINING),
    ("experiments.<name>.model (name: unet).attn_dim_head", "unet", 8, TRAINING),
    ("experiments.<name>.model (name: unet2d).self_condition", "unet2d", True, TRAINING),
    ("experiments.<name>.model (name: unet2d).init", "unet2d", "orthogonal", TRAINING),
    ("experiments.<name>.model (name: unet2d).zero_residual", "unet2d", True, TRAINING),
    ("experiments.<name>.model (name: unet2d).zero_output", "unet2d", True, TRAINING),
    ("experiments.<name>.model (name: unet2d).dropout", "unet2d", 0.1, TRAINING),
    ("experiments.<name>.model (name: unet2d).block_out_channels", "unet2d", [8, 8], TRAINING),
    ("experiments.<name>.model (name: unet2d).layers_per_block", "unet2d", 1, TRAINING),
    ("experiments.<name>.model (name: unet2d).attention_levels", "unet2d", [0], TRAINING),
    ("experiments.<name>.model (name: unet2d).attention_head_dim", "unet2d", 4, TRAINING),
    ("experiments.<name>.model (name: unet2d).norm_num_groups", "unet2d", 2, TRAINING),
    ("experiments.<name>.model (name: unet2d).norm_eps", "unet2d", 1e-6, TRAINING),
    ("experiments.<name>.model (name: unet2d).flip_sin_to_cos", "unet2d", False, TRAINING),
    ("experiments.<name>.model (name: unet2d).freq_shift", "unet2d", 1, TRAINING),
    ("experiments.<name>.model (name: unet2d).downsample_padding", "unet2d", 0, TRAINING),
    ("experiments.<name>.diffusion.timesteps", "unet", 500, DIFFUSION),
    ("experiments.<name>.diffusion.objective", "unet", "pred_noise", DIFFUSION),
    ("experiments.<name>.diffusion.beta_schedule", "unet", "cosine", DIFFUSION),
    ("experiments.<name>.diffusion.beta_start", "unet", 0.001, DIFFUSION),
    ("experiments.<name>.diffusion.beta_end", "unet", 0.01, DIFFUSION),
    ("experiments.<name>.diffusion.rescale_zero_terminal_snr", "unet", True, DIFFUSION),
    ("experiments.<name>.train.batch_size", "unet", 8, TRAINING),
    ("experiments.<name>.train.checkpoint_every", "unet", 10, TRAINING),
    ("experiments.<name>.train.learning_rate", "unet", 0.1, TRAINING),
    ("experiments.<name>.train.lr_schedule", "unet", "cosine", TRAINING),
    ("experiments.<name>.train.lr_schedule_steps", "unet2d", 80, TRAINING),
    ("experiments.<name>.train.warmup_steps", "unet", 5, TRAINING),
    ("experiments.<name>.train.optimizer", "unet", "adamw", TRAINING),
    ("experiments.<name>.train.adam_betas", "unet", [0.5, 0.9], TRAINING),
    ("experiments.<name>.train.adam_eps", "unet", 0.1, TRAINING),
    ("experiments.<name>.train.weight_decay", "unet", 0.1, TRAINING),
    ("experiments.<name>.train.max_grad_norm", "unet", None, TRAINING),
    ("experiments.<name>.train.min_snr_gamma", "unet", 5, DIFFUSION),
    ("experiments.<name>.train.offset_noise", "unet", 0.1, TRAINING),
    ("experiments.<name>.train.horizontal_flips", "unet", True, TRAINING),
    ("experiments.<name>.train.ema_decay", "unet", 0.5, TRAINING),
    ("experiments.<name>.train.ema_warmup", "unet", False, TRAINING),
    ("experiments.<name>.train.ema_sigma_rels", "unet", [0.1], TRAINING),
    ("experiments.<name>.train.precision", "unet", "bf16", TRAINING),
    ("experiments.<name>.train.init_from.path", "unet2d", "moved.safetensors", NOTHING),
    ("experiments.<name>.train.init_from.sha256", "unet2d", "1" * 64, TRAINING),
    ("experiments.<name>.train.seed", "unet", 1, TRAINING),
    ("experiments.<name>.train.deterministic", "unet", True, TRAINING),
    # More steps: only new jobs, as test_staleness.py shows.
    ("experiments.<name>.train.steps", "unet", 80, TRAINING),
    ("experiments.<name>.train.run.gpus", "unet", 2, NOTHING),
    ("experiments.<name>.train.run.nodes", "unet", 2, NOTHING),
    ("experiments.<name>.train.run.cpus", "unet", 3, NOTHING),
    ("experiments.<name>.train.run.micro_batch_size", "unet", 4, NOTHING),
    ("experiments.<name>.train.run.activation_checkpointing", "unet", True, NOTHING),
    ("experiments.<name>.train.run.compile", "unet", False, NOTHING),
    ("experiments.<name>.train.run.save_seconds", "unet", 7, NOTHING),
    ("experiments.<name>.train.run.steps_per_job", "unet", 40, NOTHING),
    ("experiments.<name>.train.run.tracker", "unet", "tensorboard", NOTHING),
    ("experiments.<name>.train.run.on_failure", "unet", "record", NOTHING),
    ("experiments.<name>.train.run.memory_mb_per_process", "unet", 4000, NOTHING),
    ("experiments.<name>.validation.images", "unet", 7, LOSSES),
    ("experiments.<name>.validation.seed", "unet", 7, LOSSES),
    ("experiments.<name>.samples.<name>.scheduler", "unet", "ddpm", SAMPLES),
    ("experiments.<name>.samples.<name>.solver_order", "unet", 3, SAMPLES),
    ("experiments.<name>.samples.<name>.steps", "unet", 5, SAMPLES),
    ("experiments.<name>.samples.<name>.eta", "unet2d", 0.5, SAMPLES),
    ("experiments.<name>.samples.<name>.variance", "ddpm", "fixed-large", SAMPLES),
    ("experiments.<name>.samples.<name>.timestep_spacing", "unet", "leading", SAMPLES),
    ("experiments.<name>.samples.<name>.timesteps", "unet2d", [900, 7], SAMPLES),
    ("experiments.<name>.samples.<name>.karras_sigmas", "unet", True, SAMPLES),
    ("experiments.<name>.samples.<name>.precision", "unet", "bf16", SAMPLES),
    ("experiments.<name>.samples.<name>.ema_sigma_rel", "unet2d", 0.1, SAMPLES),
    ("experiments.<name>.samples.<name>.batch_size", "unet", 4, SAMPLES),
    ("experiments.<name>.samples.<name>.seed", "unet", 4, SAMPLES),
    ("experiments.<name>.samples.<name>.images", "unet", 64, SAMPLES - FIRST_IMAGES),
    ("experiments.<name>.samples.<name>.run.images_per_job", "unet", 16, NOTHING),
    ("experiments.<name>.samples.<name>.run.checkpoints_per_job", "unet", 2, NOTHING),
    ("experiments.<name>.samples.<name>.run.cpus", "unet", 3, NOTHING),
    ("experiments.<name>.samples.<name>.run.on_failure", "unet", "record", NOTHING),
    ("experiments.<name>.samples.<name>.run.memory_mb_per_process", "unet", 4000, NOTHING),
    ("experiments.<name>.scores.<name>.kid_subset_size", "unet", 7, SCORES),
    ("experiments.<name>.scores.<name>.kid_subsets", "unet", 7, SCORES),
    ("experiments.<name>.scores.<name>.isc_splits", "unet", 7, SCORES),
    ("experiments.<name>.scores.<name>.prc_neighborhood", "unet", 7, SCORES),
    ("experiments.<name>.scores.<name>.density_neighborhood", "unet", 7, SCORES),
    ("experiments.<name>.scores.<name>.fid_backend", "unet2d", "pytorch-fid", SCORES),
    ("experiments.<name>.scores.<name>.fid_statistics.path", "unet2d", "other.npz", SCORES),
    ("experiments.<name>.scores.<name>.fid_statistics.name", "unet2d", "others", SCORES),
    ("experiments.<name>.scores.<name>.seed", "unet", 7, SCORES),
    ("experiments.<name>.scores.<name>.features", "unet", "inception", {"fetch_inception", *SPACE}),
    # The features of both splits are there: distances to training images want them.
    ("experiments.<name>.scores.<name>.reference", "unet", "eval", SCORES),
    ("experiments.<name>.scores.<name>.weights.path", "unet2d", "other.pth", SPACE),
    ("experiments.<name>.scores.<name>.weights.sha256", "unet2d", "1" * 64, SPACE),
    ("experiments.<name>.scores.<name>.weights.name", "unet2d", "others", SPACE),
    ("experiments.<name>.scores.<name>.run.checkpoints_per_job", "unet", 2, NOTHING),
    ("experiments.<name>.scores.<name>.run.cpus", "unet", 3, NOTHING),
    ("experiments.<name>.scores.<name>.run.batch_size", "unet", 3, NOTHING),
    ("experiments.<name>.keep.every", "unet2d", 3, {"thin"}),
    ("experiments.<name>.best.metric", "unet2d", "kid", {"best"}),
    ("experiments.<name>.best.greater_is_better", "unet2d", False, {"best"}),
    ("experiments.<name>.best.samples", "unet2d", "set", {"best"}),
    ("experiments.<name>.best.score", "unet2d", "score", {"best"}),
    ("experiments.<name>.published[].metric", "unet2d", "is", DRAWN),
    ("experiments.<name>.published[].value", "unet2d", 9.46, DRAWN),
    ("experiments.<name>.published[].source", "unet2d", "another", DRAWN),
    ("experiments.<name>.published[].feature_space", "unet2d", "inception", DRAWN),
    ("experiments.<name>.published[].reference", "unet2d", "all", DRAWN),
    ("experiments.<name>.published[].fid_backend", "unet2d", "pytorch-fid", DRAWN),
    ("experiments.<name>.published[].fid_statistics", "unet2d", "theirs", DRAWN),
    ("experiments.<name>.published[].note", "unet2d", "of 50,000 images", DRAWN),
]


TRAIN = {"steps": 40, "batch_size": 16, "checkpoint_every": 20, "run": {"steps_per_job": 20}}
UNET = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}
BARE = {"model": UNET, "train": TRAIN}
SCORED = {"scores": {"score": {"features": "classifier", "kid_subset_size": 16}}}
IMAGE = {"image_size": 16, "channels": 1, "eval_fraction": 0.2}
URL = {"url": "file:///archive.zip", "sha256": SHA}
COMMIT = {"url": "file:///repository", "commit": "0" * 40}
CHECKPOINT = {"path": "weights.safetensors", "sha256": SHA}
WEIGHTS = {"path": "inception.pth", "sha256": SHA, "name": "mine"}
STATISTICS = {"path": "published.npz", "name": "theirs"}
DATASETS = {
    "digits": {"source": {"kind": "sklearn-digits"}, **IMAGE, "classifier": {}},
    "photographs": {"source": {"kind": "folder", "path": "photographs"}, **IMAGE},
    "repository": {"source": {"kind": "git", **COMMIT}, **IMAGE},
    "archive": {"source": {"kind": "url", **URL}, **IMAGE},
}
AUTOENCODERS = {
    "vq": {
        "dataset": "digits",
        "model": {
            "name": "vqvae",
            "channels": 8,
            "downsampling": 2,
            "norm_num_groups": 4,
        },
        "train": TRAIN,
    }
}
EXPERIMENTS = {
    "latent": {**BARE, "dataset": "digits", "autoencoder": "vq"},
    "unet": {
        **BARE,
        "dataset": "digits",
        "diffusion": {"beta_schedule": "linear"},
        "samples": {"set": {"steps": 4, "images": 32, "batch_size": 8}},
        **SCORED,
    },
    "ddpm": {
        **BARE,
        **SCORED,
        "dataset": "digits",
        "samples": {"set": {"scheduler": "ddpm", "images": 32}},
    },
    "unet2d": {
        "dataset": "photographs",
        "model": {"name": "unet2d", "block_out_channels": [8, 16], "norm_num_groups": 4},
        "train": {
            **TRAIN,
            "lr_schedule": "cosine",
            "lr_schedule_steps": 40,
            "ema_sigma_rels": [0.1],
            "init_from": CHECKPOINT,
        },
        "samples": {"set": {"scheduler": "ddim", "images": 32}},
        "scores": {
            "score": {
                "features": "inception",
                "weights": WEIGHTS,
                "fid_statistics": STATISTICS,
            },
        },
        "keep": {"every": 2},
        "best": {"metric": "fid"},
        "published": [
            {"metric": "fid", "value": 3.17, "source": "one", "feature_space": "dinov2-x"}
        ],
    },
    "of-repository": {**BARE, "dataset": "repository"},
    "of-archive": {**BARE, "dataset": "archive"},
}


def study(folder: Path) -> dict:
    """Return a config in which every kind of block stands; write the local files that it names."""
    for name in ("photographs", "other"):
        (folder / name).mkdir()
        for file in ("1.png", "2.png"):
            (folder / name / file).write_text(name)
    given = ("inception.pth", "other.pth", "published.npz", "other.npz")
    for name in (*given, "weights.safetensors", "moved.safetensors"):
        (folder / name).touch()
    return {"datasets": DATASETS, "autoencoders": AUTOENCODERS, "experiments": EXPERIMENTS}


@pytest.fixture(scope="module")
def finished_table(tmp_path_factory) -> tuple[Path, dict]:
    """The folder of the finished study, and its config."""
    folder = tmp_path_factory.mktemp("table")
    base = study(folder)
    finish(folder, base)
    return folder, base


@pytest.fixture(scope="module", params=["in place", "renamed, without Snakemake's records"])
def answers(finished_table, request) -> list:
    """What would run after each change of the table, in the table's order."""
    folder, base = finished_table
    if request.param != "in place":
        shutil.rmtree(folder / ".snakemake")
        shutil.copytree(folder / "results", folder / "renamed", copy_function=shutil.copyfile)
        shutil.rmtree(folder / "results")
        base = {**base, "results_dir": "renamed"}
    changed = [with_value(base, path, name, value) for path, name, value, _ in TABLE]
    before, *after = dry_runs(folder, [base, *changed])
    assert before == [], "the study is finished"
    return after


def test_after_a_change_exactly_the_stages_that_follow_run_again(answers):
    wrong = {}
    for (path, name, value, expected), jobs in zip(TABLE, answers, strict=True):
        assert isinstance(jobs, list), f"{path} = {value!r}: {jobs}"
        rules = {rule for rule, _, _ in jobs}
        if name in ("unet2d", "photographs") and "collect" in expected:
            expected = {*expected, "thin", "best"}  # that experiment has a `keep` and a `best`
        about = {of for _, of, _ in jobs} - {""}
        following = {
            "photographs": {"unet2d"},
            "digits": {"unet", "ddpm", "vq", "latent"},
            "vq": {"latent"},
        }
        allowed = {name, "digits", "photographs", *following.get(name, {f"of-{name}"})}
        if rules != expected or not about <= allowed:
            wrong[path] = {"more": rules - expected, "less": expected - rules, "about": about}
    assert not wrong, json.dumps(wrong, indent=2, default=list)


def test_every_key_of_the_config_stands_in_the_table():
    elsewhere = {
        "results_dir", "resources_dir",  # other folders: nothing of what is there counts
        "defaults", "experiments.<name>.dataset",  # stand for other keys
    }  # fmt: skip
    # Other experiments, by other names: test_sweep.py.
    elsewhere |= {key for key in keys_of(Config) if key.startswith("experiments.<name>.sweep.")}
    # The same blocks as an experiment's; which network an autoencoder is, there is but one.
    shared = ("dataset", "train.", "validation.", "scores.", "model.name")
    of_autoencoders = tuple(f"autoencoders.<name>.{part}" for part in shared)
    elsewhere |= {key for key in keys_of(Config) if key.startswith(of_autoencoders)}
    elsewhere -= {path for path, *_ in TABLE}
    # Which, not what: test_plan.py.
    chosen = "autoencoders.<name>.reconstructions.checkpoints"
    elsewhere |= {key for key in keys_of(Config) if key.startswith(chosen)}
    checkpoints = "experiments.<name>.samples.<name>.checkpoints"
    elsewhere |= {key for key in keys_of(Config) if key.startswith(checkpoints)}
    # test_benchmark.py has those of the benchmark.
    elsewhere |= {key for key in keys_of(Config) if key.startswith("benchmark.")}
    kinds = {key for key in keys_of(Config) if key.endswith((").kind", ").name"))}
    assert set(keys_of(Config)) - elsewhere - kinds == {path for path, *_ in TABLE}
