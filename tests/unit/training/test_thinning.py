"""`keep`: which checkpoints go once they are scored, and that they count as trained ever after."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_results import score, write_score
from places import SCRIPTS
from small_trainer import small_stage

from ddpm_bench.config.selection import ThinStage
from ddpm_bench.config.training import TrainRun
from ddpm_bench.errors import UserError
from ddpm_bench.files import read_json, write_json
from ddpm_bench.report.tables.score_tables import best_scores, evaluation_table, write_table
from ddpm_bench.training.description import TrainingJob
from ddpm_bench.training.folder import TrainingFolder
from ddpm_bench.training.manifests import current_fingerprint, is_thinned, load_checkpoint
from ddpm_bench.training.publishing import publish_job, set_others_aside
from ddpm_bench.training.thinning import thin, trained_checkpoints, why_kept

STEPS = (10, 20, 30, 40, 50, 60)
BEST_BY_FID = 20


class Study:
    """A finished training of six checkpoints on disk, and its scores."""

    def __init__(self, results: Path, sigma_rels: tuple[float, ...] = ()) -> None:
        self.results = results
        self.folder = TrainingFolder(results / "digits", "0123456789abcdef")
        self.sigma_rels = sigma_rels
        set_others_aside(self.folder, "{}")
        for step in STEPS:
            for width in (None, *sigma_rels):
                weights = {"w": torch.full((100,), float(step))}
                self.folder.checkpoints.save(step, weights, "{}", width)
        self.manifest = results / "digits" / "training" / "job-00000000-00000060.json"
        self.finish()
        for step in STEPS:
            self.write_score("dpm4", step)

    def write_score(self, samples: str, step: int) -> None:
        fid = {"fid": 1.0} if step == BEST_BY_FID else {}
        write_score(self.results, "digits", samples, "classifier", step, score(step / 60, **fid))

    def finish(self) -> None:
        stage = small_stage(ema_sigma_rels=self.sigma_rels)
        job = TrainingJob(0, 60, stage, TrainRun(), "{}")
        write_json(self.manifest, publish_job(self.folder, job, STEPS))

    def stage(self, every: int, **sets: dict) -> ThinStage:
        return ThinStage(
            version=1,
            keep={"every": every},
            checkpoint_every=10,
            sets=sets or {"dpm4": {"steps": STEPS}},
            scores=["classifier"],
        )

    def tables(self) -> tuple:
        files = sorted((self.results / "digits" / "scores").rglob("*.json"))
        evaluation = evaluation_table(files, experiment="digits", dataset="digits")
        return evaluation, best_scores(evaluation)

    def thin(self, every: int, **sets: dict) -> dict:
        checkpoints = trained_checkpoints(self.folder)
        kept = why_kept(checkpoints, self.stage(every, **sets), *self.tables())
        return thin(self.folder, kept)

    def steps_on_disk(self, average: str = "") -> list[int]:
        found = [
            sorted(int(path.name[5:13]) for path in folder.glob(f"step-????????{average}.safe*"))
            for folder in (self.folder.path / "checkpoints", self.results / "digits/checkpoints")
        ]
        assert found[0] == found[1], "published and in the training's own folder"
        return found[0]


@pytest.fixture
def study(tmp_path) -> Study:
    return Study(tmp_path)


def test_each_nth_the_best_and_the_latest_stay(study):
    sizes = {path.name: path.stat().st_size for path in study.folder.path.rglob("step-*")}
    report = study.thin(4)
    assert study.steps_on_disk() == [20, 40, 60]
    assert [entry["why"] for entry in report["kept"]] == [
        "the best by fid",
        "number 4",
        "the latest",
    ]
    assert [entry["step"] for entry in report["removed"]] == [10, 30, 50]
    freed = [sizes[f"step-{step:08}.safetensors"] for step in (10, 30, 50)]
    assert report["bytes_freed"] == sum(freed), "a file under two names is freed once"


def test_thinning_twice_changes_nothing(study):
    first = study.thin(3)
    assert study.thin(3) == first


def test_a_checkpoint_goes_only_when_it_is_scored_wherever_it_is_asked_for(study):
    both = {"dpm4": {"steps": STEPS}, "ddim": {"steps": (10, 30)}}
    study.write_score("ddim", 10)
    report = study.thin(100, **both)
    assert study.steps_on_disk() == [10, 20, 30, 60], "10: the only and so the best of ddim"
    assert {entry["step"]: entry["why"] for entry in report["kept"]}[
        30
    ] == "not yet scored everywhere"


def test_what_no_set_asks_for_stays(study):
    report = study.thin(100, dpm4={"steps": (10, 20, 60)})
    assert study.steps_on_disk() == [20, 30, 40, 50, 60]
    assert "no set" in {entry["step"]: entry["why"] for entry in report["kept"]}[30]


def test_an_experiment_without_scores_keeps_all(study):
    for path in (study.results / "digits" / "scores").rglob("*.json"):
        path.unlink()
    study.thin(100)
    assert study.steps_on_disk() == list(STEPS)


def test_each_average_is_a_checkpoint_of_its_own(tmp_path):
    study = Study(tmp_path, sigma_rels=(0.05, 0.1))
    study.thin(100, dpm4={"steps": STEPS, "ema_sigma_rel": 0.05})
    assert study.steps_on_disk(".ema-0.05") == [20, 60]
    assert study.steps_on_disk(".ema-0.1") == list(STEPS), "no set draws from it"
    assert study.steps_on_disk() == list(STEPS), "nor from the first"


def test_a_larger_every_thins_more_and_a_smaller_one_says_what_is_gone(study):
    study.thin(2)
    assert study.steps_on_disk() == [20, 40, 60]
    before = study.thin(3)
    assert study.steps_on_disk() == [20, 60]
    report = study.thin(1)
    gone = [f"checkpoints/step-000000{step}.safetensors" for step in (10, 30, 40, 50)]
    assert report["removed_before_but_asked_for_now"] == gone
    assert report["bytes_freed"] == before["bytes_freed"]


def test_what_is_thinned_counts_as_trained_with_the_same_manifest(study):
    before = study.manifest.read_bytes()
    study.thin(100)
    assert not study.folder.checkpoints.missing(STEPS)
    assert study.folder.checkpoints.missing([70]) == [70]
    assert study.folder.checkpoints.missing([10], [0.05]) == [10], "an average that was never saved"
    study.manifest.unlink()
    study.finish()
    assert study.manifest.read_bytes() == before
    assert study.steps_on_disk() == [20, 60]


def test_drawing_from_a_thinned_checkpoint_says_what_there_is(study):
    steps = [10, 20, 30, 40, 50, 60]
    assert not any(is_thinned(study.manifest, step) for step in steps)
    study.thin(3)
    assert [step for step in steps if is_thinned(study.manifest, step)] == [10, 40, 50]
    assert load_checkpoint(study.manifest, 20)["w"][0] == 20
    with pytest.raises(UserError, match=r"step 10 were removed by `keep`.*\[20, 30, 60\]"):
        load_checkpoint(study.manifest, 10)


# Runs thin.py, which gets a SIGKILL instead of removing its n-th file.
KILLED = """
import os, runpy, signal, sys
from pathlib import Path
unlink, left = Path.unlink, int(sys.argv.pop(1))
def killed(path, missing_ok=False):
    global left
    if path.name.startswith("step-"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, missing_ok)
Path.unlink = killed
sys.path.insert(0, str(Path(sys.argv[1]).parent))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_killed_thinning_is_finished_by_the_next(study, tmp_path):
    tables = [tmp_path / "evaluation.csv", tmp_path / "best.csv"]
    for path, table in zip(tables, study.tables(), strict=True):
        write_table(path, table)
    output = tmp_path / "thinned.json"
    program = [str(SCRIPTS / "thin.py"), "--what", study.stage(3).model_dump_json()]
    program += ["--experiment", str(tmp_path / "digits"), "--output", str(output)]
    program += ["--evaluation", str(tables[0]), "--best", str(tables[1])]
    for files in (1, 2):  # none removed; the first file under one of its two names
        done = subprocess.run([sys.executable, "-c", KILLED, str(files), *program], check=False)
        assert done.returncode == -signal.SIGKILL
        assert not study.folder.checkpoints.missing(STEPS)
        assert len(read_json(study.folder.checkpoints.thinned_record)) == 3, (
            "recorded before it goes"
        )
    done = subprocess.run([sys.executable, *program], check=True, stderr=subprocess.PIPE, text=True)
    assert study.steps_on_disk() == [20, 30, 60]
    report = json.loads(output.read_text())
    assert [entry["step"] for entry in report["removed"]] == [10, 40, 50]
    assert "3 checkpoints are removed, 3 stay; " in done.stderr


def test_a_checkpoint_whose_sampling_failed_is_not_scored(study):
    nothing = score(0.5, images_generated=0, fid=None, warning="no images: out of memory")
    write_score(study.results, "digits", "dpm4", "classifier", 30, nothing)
    report = study.thin(100)
    assert study.steps_on_disk() == [20, 30, 60]
    assert "not yet scored" in {entry["step"]: entry["why"] for entry in report["kept"]}[30]


def test_the_present_training_is_known_without_its_record(tmp_path):
    """The advice for a damaged current.json is to delete it, and no job writes it again."""
    study = Study(tmp_path)
    training = study.manifest.parent
    (training / "current.json").unlink()
    assert current_fingerprint(training) == study.folder.name
    other = {**read_json(study.manifest), "fingerprint": "f" * 16}
    write_json(training / "job-00000060-00000070.json", other)
    with pytest.raises(UserError, match=r"of 2 trainings; delete .*job-00000060-00000070\.json"):
        current_fingerprint(training)
