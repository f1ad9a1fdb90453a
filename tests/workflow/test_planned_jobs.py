"""The rules plan what they always planned: nobody's finished results become stale."""

import json
import subprocess
import sys

from places import HELPERS


def test_jobs_are_planned_as_recorded():
    done = subprocess.run(
        [sys.executable, str(HELPERS / "planned_jobs.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    planned = json.loads(done.stdout)
    recorded = json.loads((HELPERS / "planned_jobs.json").read_text())
    changed = [
        f"{config}: {rule}"
        for config in {**planned, **recorded}
        for rule in {**planned.get(config, {}), **recorded.get(config, {})}
        if planned.get(config, {}).get(rule) != recorded.get(config, {}).get(rule)
    ]
    assert not changed, (
        f"these jobs are planned otherwise: {', '.join(changed)}; to see how, compare "
        "what `python tests/helpers/planned_jobs.py --show CONFIG` prints with and without "
        "`--snakefile` of an earlier checkout"
    )


def test_every_rule_with_a_program_is_in_the_record():
    recorded = json.loads((HELPERS / "planned_jobs.json").read_text())
    rules = {rule for found in recorded.values() for rule in found}
    texts = (HELPERS.parents[1] / "workflow" / "rules").glob("*.smk")
    written = {
        line.strip().removeprefix("rule ").rstrip(":")
        for path in texts
        for line in path.read_text().splitlines()
        if line.strip().startswith("rule ")
    }
    assert rules == written
