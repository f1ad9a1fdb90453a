"""`best`: exported by a real run of the workflow, beside `keep`, and used with nothing of ours."""

import csv
import json
import subprocess
import sys

import pytest
from PIL import Image


@pytest.mark.long  # test_best.py and test_snippet.py have its parts
def test_the_export_is_made_once_and_draws_on_its_own(study, tmp_path):
    study.experiment["best"] = {"metric": "kid"}
    study.experiment["keep"] = {"every": 100}
    assert study.would_run() == {"best": 1, "thin": 1}
    study.run()
    folder = study.results / "best"
    record = json.loads((folder / "scores.json").read_text())
    with (study.results / "report" / "best_scores.csv").open() as table:
        kid = next(row for row in csv.DictReader(table) if row["metric"] == "kid_mean")
    assert str(record["training_step"]) == kid["training_step"]
    assert record["value"] == float(kid["value"])
    subprocess.run([sys.executable, "-I", folder / "sample.py"], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size == (32, 32)
    assert study.would_run() == {}

    study.experiment["keep"]["every"] = 1
    study.experiment["published"] = [
        {"metric": "fid", "value": 3.17, "source": "one", "feature_space": "inception"}
    ]
    drawn = {"plot_scores": 1, "compare": 1, "compare_hours": 1, "plot_best_scores": 1}
    assert study.would_run() == {"thin": 1, **drawn}
