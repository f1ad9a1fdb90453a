"""What training leaves beside its weights, and who asked for it."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_trainer import difference, run_to_end, small_stage, small_trainer, weights_after
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ddpm_bench.config.loading import check_config
from ddpm_bench.config.training import TrainRun
from ddpm_bench.config.versions import VERSIONS
from ddpm_bench.errors import UserError
from ddpm_bench.files import write_json
from ddpm_bench.planning import stages
from ddpm_bench.planning.retraining import retrainings
from ddpm_bench.training.description import TrainingJob
from ddpm_bench.training.manifests import load_checkpoint
from ddpm_bench.training.publishing import publish_job


def test_tensorboard_shows_what_metrics_csv_holds(tmp_path):
    folder = run_to_end(tmp_path, small_stage(), last=20, tracker="tensorboard")
    events = EventAccumulator(str(folder.path / "tracker" / "small"))
    events.Reload()
    metrics = pd.read_csv(folder.experiment_folder / "metrics.csv")
    for column in ("loss", "learning_rate", "grad_norm"):
        shown = events.Scalars(column)
        assert [item.step for item in shown] == metrics["step"].tolist() == [10, 20]
        assert [item.value for item in shown] == pytest.approx(metrics[column].tolist())


def test_no_tracker_writes_nothing(tmp_path):
    assert not (run_to_end(tmp_path, small_stage()).path / "tracker").exists()


def test_each_width_of_the_averages_is_saved_with_each_checkpoint_and_found_again(tmp_path):
    stage = small_stage(ema_sigma_rels=[0.05, 0.2])
    folder = run_to_end(tmp_path, stage, last=20)
    manifest = folder.experiment_folder / "training" / "job.json"
    write_json(manifest, publish_job(folder, TrainingJob(0, 20, stage, TrainRun(), "{}"), [10, 20]))
    found = {width: load_checkpoint(manifest, 20, width) for width in (None, 0.05, 0.2)}
    assert difference(found[0.05], found[0.2]) > 1e-5
    assert difference(found[None], found[0.2]) > 1e-5
    trainer = small_trainer(tmp_path, stage)
    weights_after(trainer, 20)
    for width, weights in found.items():
        assert difference(weights, trainer.averages.of[width]) == 0.0
    with pytest.raises(UserError, match=r"no checkpoint of step 20 and ema_sigma_rel 0\.1"):
        load_checkpoint(manifest, 20, 0.1)


def test_all_that_is_averaged_and_counted_survives_a_resume(tmp_path):
    """fp16 with two averages: two jobs leave the bytes of one."""
    stage = small_stage(precision="fp16", ema_sigma_rels=[0.1], warmup_steps=5)
    whole = run_to_end(tmp_path / "whole", stage, last=20)
    run_to_end(tmp_path / "halves", stage, last=10)
    halves = run_to_end(tmp_path / "halves", stage, last=20)
    for width in (None, 0.1):
        assert (
            whole.checkpoints.file(20, width).read_bytes()
            == halves.checkpoints.file(20, width).read_bytes()
        )
    states = [folder.states.path / "step-00000020" for folder in (whole, halves)]
    assert (
        states[0].joinpath("state.json").read_text() == states[1].joinpath("state.json").read_text()
    )
    assert json.loads((states[0] / "state.json").read_text())["counters"]["loss_scale"] > 1


def test_the_rows_of_metrics_say_what_each_step_was_trained_with(tmp_path):
    stage = small_stage(lr_schedule="cosine", lr_schedule_steps=40, warmup_steps=20)
    folder = run_to_end(tmp_path, stage, last=40)
    metrics = pd.read_csv(folder.experiment_folder / "metrics.csv")
    # The rate of the last step of each row: half and all of the rise, then half of the way down.
    assert metrics["learning_rate"][:2].tolist() == pytest.approx([0.5e-3, 1e-3])
    assert metrics["learning_rate"][2:].tolist() == pytest.approx([0.5782e-3, 0.0062e-3], rel=1e-2)
    assert metrics["images_seen"].tolist() == [80, 160, 240, 320]


def test_deterministic_asks_torch_for_deterministic_kernels(tmp_path):
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        small_trainer(tmp_path, small_stage(deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def study(folder, **train) -> dict:
    keys = {"steps": 20, "batch_size": 8, "checkpoint_every": 10, **train}
    model = {"name": "unet", "dim": 8, "dim_mults": [1, 2]}
    dataset = {"source": {"kind": "sklearn-digits"}, "image_size": 8, "channels": 1}
    return {
        "results_dir": str(folder),
        "datasets": {"digits": dataset},
        "experiments": {"small": {"dataset": "digits", "model": model, "train": keys}},
    }


def notes_after(tmp_path, before: dict, after: dict) -> list[str]:
    """What is said of a study that was trained with the keys `before`."""
    stage = stages.train_stage(check_config(study(tmp_path, **before)), "small")
    current = {"fingerprint": "f", "keys": json.loads(stage)}
    write_json(tmp_path / "small" / "training" / "current.json", current)
    return retrainings(check_config(study(tmp_path, **after)))


def test_a_training_that_begins_anew_says_which_keys_have_changed(tmp_path):
    (note,) = notes_after(tmp_path, {}, {"learning_rate": 0.1, "seed": 3})
    assert note.startswith("experiments.small is trained anew, because ")
    assert "train.learning_rate was at its default, is 0.1" in note
    assert "train.seed was at its default, is 3" in note


def test_a_training_of_earlier_code_says_that_the_code_has_changed(tmp_path, monkeypatch):
    monkeypatch.setitem(VERSIONS, "train", 7)
    raw = study(tmp_path)
    stage = json.loads(stages.train_stage(check_config(raw), "small"))
    keys = {**stage, "version": 6}
    write_json(tmp_path / "small" / "training" / "current.json", {"fingerprint": "f", "keys": keys})
    (note,) = retrainings(check_config(raw))
    assert "because the version of this stage in ddpm-bench was 6, is 7. What was" in note


def test_a_longer_training_begins_anew_only_where_its_rate_follows_the_length(tmp_path):
    assert notes_after(tmp_path, {}, {"steps": 40}) == []
    assert notes_after(tmp_path, {}, {"checkpoint_every": 5}) == []
    cosine = {"lr_schedule": "cosine"}
    (note,) = notes_after(tmp_path, cosine, {**cosine, "steps": 40})
    assert "train.lr_schedule_steps was 20, is 40" in note
    assert "set train.lr_schedule_steps to the longest training you plan" in note
    planned = {**cosine, "lr_schedule_steps": 40}
    assert notes_after(tmp_path, planned, {**planned, "steps": 40}) == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"lr_schedule": "one-cycle", "warmup_steps": 5}, "one-cycle has a rise of its own"),
        ({"lr_schedule_steps": 40}, "an option of cosine and one-cycle; remove it"),
        ({"lr_schedule": "cosine", "lr_schedule_steps": 10}, "nothing would be learnt after it"),
        ({"lr_schedule": "cosine", "warmup_steps": 20}, "must be below the 20 of the schedule"),
        ({"ema_sigma_rels": [0.1, 0.1]}, "give each width once"),
        ({"ema_sigma_rels": [0.5]}, "must be below 0.28"),
        ({"init_from": {"path": "x.pt"}}, "init_from.sha256: is missing"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_a_remedy(tmp_path, keys, expected):
    with pytest.raises(UserError) as caught:
        check_config(study(tmp_path, **keys))
    assert expected in str(caught.value)


def test_ends_of_a_schedule_that_has_none_are_refused(tmp_path):
    config = study(tmp_path)
    config["experiments"]["small"]["diffusion"] = {"beta_schedule": "cosine", "beta_end": 0.1}
    with pytest.raises(UserError, match="beta_end is an option of linear and scaled_linear"):
        check_config(config)
    config["experiments"]["small"]["diffusion"] = {"beta_schedule": "linear", "timesteps": 10}
    with pytest.raises(UserError, match="beta_end = 2, and that below 1"):
        check_config(config)


def test_an_average_that_is_not_kept_cannot_be_sampled(tmp_path):
    config = study(tmp_path)
    config["experiments"]["small"]["samples"] = {"set": {"images": 8, "ema_sigma_rel": 0.1}}
    with pytest.raises(UserError, match=r"add it to experiments\.small\.train\.ema_sigma_rels"):
        check_config(config)


def test_checkpoints_can_be_read_without_us(tmp_path):
    weights = load_file(run_to_end(tmp_path, small_stage()).checkpoints.file(10))
    assert all(value.dtype == torch.float32 for value in weights.values())


def test_recomputed_activations_train_the_same_model(tmp_path):
    plain = weights_after(small_trainer(tmp_path, small_stage()), 5)
    recomputed = small_trainer(tmp_path, small_stage(), activation_checkpointing=True)
    assert difference(weights_after(recomputed, 5), plain) == 0.0
