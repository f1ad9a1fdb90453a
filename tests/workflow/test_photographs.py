"""Real photographs through every stage, scored by an Inception network with untrained weights."""

import hashlib
import shutil

import pandas as pd
from conftest import Study
from inception_weights import calibrated_weights


def test_photographs_are_scored_and_untrained_weights_are_marked(tmp_path, sysu_shape):
    study = Study(tmp_path)
    for kind in ("airplane", "car"):
        (tmp_path / "photographs" / kind).mkdir(parents=True)
        for path in sorted((sysu_shape / kind / "images").glob("*.jpg"))[:14]:
            shutil.copy(path, tmp_path / "photographs" / kind)
    content = calibrated_weights(tmp_path / "photographs")
    (tmp_path / "inception.pth").write_bytes(content)
    source = {"kind": "folder", "path": "photographs"}
    study.config["datasets"] = {
        "photographs": {"source": source, "image_size": 16, "eval_fraction": 0.2}
    }
    study.config["experiments"] = {"small": study.experiment | {"dataset": "photographs"}}
    study.experiment["train"].update(steps=20, checkpoint_every=20)
    study.experiment["samples"]["dpm4"]["images"] = 16
    weights = {
        "path": "inception.pth",
        "sha256": hashlib.sha256(content).hexdigest(),
        "name": "untrained",
    }
    score = {"features": "inception", "weights": weights, "run": {"cpus": 1}}
    study.experiment["scores"] = {"untrained": score}
    study.run()

    (row,) = pd.read_csv(study.results / "report" / "evaluation_results.csv").to_dict("records")
    assert row["feature_space"] == "inception-untrained"
    assert (row["images_generated"], row["images_reference"]) == (16, 22)
    assert row["fid"] > 1 and abs(row["kid_mean"]) > 1e-4 and row["is_mean"] > 1.01
    assert 0 <= row["precision"] <= 1 and 0 <= row["recall"] <= 1
    assert "not the published" in row["warning"] and "2048 dimensions" in row["warning"]
