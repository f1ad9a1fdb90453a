"""`keep`: scored checkpoints are thinned by a real run, and nothing is made again for it."""

import pytest

pytestmark = pytest.mark.long  # test_thinning.py shows the same without Snakemake


def checkpoints(study) -> set[int]:
    return {int(path.stem.removeprefix("step-")) for path in study.results.glob("checkpoints/*")}


def best_steps(study) -> set[int]:
    rows = (study.results / "report" / "best_scores.csv").read_text().splitlines()
    column = rows[0].split(",").index("training_step")
    return {int(row.split(",")[column]) for row in rows[1:]}


def test_thinning_makes_nothing_again_and_training_goes_on_after_it(study):
    study.experiment["keep"] = {"every": 100}
    assert study.would_run() == {"thin": 1}
    study.experiment["train"]["steps"] = 80
    study.run()
    stay = best_steps(study) | {80}
    assert checkpoints(study) == stay
    assert stay < {20, 40, 60, 80}, "something was thinned"
    assert study.would_run() == {}

    study.experiment["train"]["steps"] = 100
    study.experiment["validation"] = {"images": 16}
    gone = min({20, 40, 60, 80} - stay)
    losses = f"results/small/training/validation-{gone - 20:08}-{gone:08}.csv"
    study.run("trained", losses)
    assert len((study.folder / losses).read_text().splitlines()) == 1, "no weights to measure"
    assert study.executed_steps() == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 100)]
    assert checkpoints(study) == stay | {100}
