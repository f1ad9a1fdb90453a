"""`best`: exported by a real run of the workflow, beside `keep`, and used with nothing of ours."""

import json
import subprocess
import sys

from PIL import Image


def test_the_export_is_made_once_and_draws_on_its_own(study, tmp_path):
    study.experiment["best"] = {"metric": "kid"}
    study.experiment["keep"] = {"every": 100}
    assert study.would_run() == {"best": 1, "thin": 1}
    study.run()
    folder = study.results / "best"
    record = json.loads((folder / "scores.json").read_text())
    rows = (study.results / "report" / "best_scores.csv").read_text().splitlines()
    names, cells = rows[0].split(","), [row.split(",") for row in rows[1:]]
    kid = next(dict(zip(names, row, strict=True)) for row in cells if "kid_mean" in row)
    assert (record["training_step"], record["value"]) == (
        int(kid["training_step"]), float(kid["value"]),
    )  # fmt: skip
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
