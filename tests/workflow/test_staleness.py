"""What runs again after a change: exactly the stages that read what has changed.

test_staleness_table.py has every key of the config.
"""

import numpy as np
from PIL import Image

from ddpm_bench.config.versions import VERSIONS

FIGURES = {
    "collect": 1, "plot_scores": 1, "plot_samplers": 1, "plot_closest_pairs": 1, "compare": 1,
    "compare_hours": 1, "plot_best_scores": 1, "costs": 1,
}  # fmt: skip


def test_a_second_run_does_nothing(finished):
    assert finished.would_run() == {}


def test_a_changed_comment_in_the_library_runs_nothing(study, changed_code):
    study.code = changed_code(
        "workflow/scripts/ddpm_bench/training/trainer.py",
        "# Build the network, its averages and the optimiser.",
        "# Another comment.",
    )
    assert study.would_run() == {}


def test_a_raised_version_of_scoring_scores_again_and_trains_nothing(study, changed_code):
    study.code = changed_code(
        "workflow/scripts/ddpm_bench/config/versions.py",
        f'"score": {VERSIONS["score"]}',
        '"score": 99',
    )
    assert study.would_run() == {"score": 2, **FIGURES}


def test_a_new_optional_key_with_a_default_runs_nothing(study, changed_code):
    study.code = changed_code(
        "workflow/scripts/ddpm_bench/config/training.py",
        "    deterministic: bool",
        "    new_option: float = 0.5\n    deterministic: bool",
    )
    assert study.would_run() == {}


def test_a_key_written_out_at_its_default_runs_nothing(study):
    study.experiment["train"]["max_grad_norm"] = 1.0
    study.experiment["diffusion"] = {"timesteps": 1000}
    assert study.would_run() == {}


def test_a_new_set_of_samples_draws_without_training(study):
    study.experiment["samples"]["ddim"] = {"scheduler": "ddim", "steps": 4, "images": 8}
    assert study.would_run() == {
        "sample": 2, "sample_grid": 2, "plot_samples": 1, "plot_trajectory": 1, "score": 2,
        **FIGURES,
    }  # fmt: skip


def test_a_new_score_scores_without_drawing(study):
    study.experiment["scores"]["held-out"] = {"features": "classifier", "reference": "eval"}
    # The features of held-out images are there: distances to training images want them.
    assert study.would_run() == {"score": 2, **FIGURES}


def test_a_new_experiment_leaves_the_others_alone(study):
    study.config["experiments"]["other"] = {**study.experiment, "samples": {}, "scores": {}}
    assert study.would_run() == {
        "train": 2, "validate": 2, "plot_loss": 1, "plot_schedule": 1, "collect": 1,
        "plot_scores": 1, "compare": 1, "compare_hours": 1, "compare_losses": 1,
        "plot_best_scores": 1, "costs": 1,
    }  # fmt: skip


def test_more_steps_train_and_sample_only_what_is_new(study):
    before = {path: path.stat().st_mtime_ns for path in study.results.rglob("*.npy")}
    study.experiment["train"]["steps"] = 80
    assert study.would_run() == {
        "train": 2, "validate": 2, "plot_loss": 1, "sample": 2, "sample_grid": 2,
        "plot_samples": 1, "plot_trajectory": 1, "score": 2, **FIGURES,
    }  # fmt: skip
    study.run()
    assert study.executed_steps() == [(0, 20), (20, 40), (40, 60), (60, 80)]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(study.results.rglob("images-*.npy"))) == 4
    assert study.would_run() == {}


def test_another_steps_per_job_in_the_middle_of_a_training_repeats_nothing(study):
    study.experiment["train"]["steps"] = 100
    study.experiment["train"]["run"]["steps_per_job"] = 60
    study.run("trained")
    manifests = sorted(path.name for path in (study.results / "training").glob("job-*.json"))
    assert manifests == [
        "job-00000000-00000020.json", "job-00000020-00000040.json", "job-00000040-00000100.json",
    ]  # fmt: skip
    assert study.executed_steps() == [(0, 20), (20, 40), (40, 100)]


def test_a_changed_folder_is_prepared_again_and_a_touched_one_is_not(study, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    levels = np.random.RandomState(0).randint(0, 256, (12, 20, 30, 3), np.uint8)
    for index, image in enumerate(levels):
        Image.fromarray(image).save(folder / f"{index}.png")
    source = {"kind": "folder", "path": str(folder)}
    study.config["datasets"] = {"photographs": {"source": source, "image_size": 8}}
    study.experiment.update(dataset="photographs", samples={}, scores={})
    study.run("prepared")
    assert study.would_run("prepared") == {}

    (folder / "0.png").touch()
    assert study.would_run("prepared") == {}  # looked again, and saw the same content

    Image.fromarray(levels[0, ::-1]).save(folder / "new.png")
    study.run("prepared")
    prepared = study.folder / "results/datasets/photographs/train.npy"
    assert np.load(prepared).shape[0] == 13
