"""Scores of many images take little memory beside the features themselves."""

import subprocess
import sys

import pytest
from places import SCRIPTS

IMAGES = 20_000  # whose distances to each other are 1.6 GB

PROGRAM = f"""
import resource, sys
import numpy as np
sys.path.insert(0, {str(SCRIPTS)!r})
from ddpm_bench.config.scoring import ScoreSettings
from ddpm_bench.scoring.metrics.all_metrics import References, measure
from ddpm_bench.scoring.features.references import Reference, feature_statistics

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def points(seed, count, dimensions=32):
    return np.random.default_rng(seed).standard_normal((count, dimensions), np.float32)

real = points(0, {IMAGES})
reference = Reference(real, *feature_statistics(real), "a" * 64)
against = References(reference, reference, real, points(1, 1000))
generated, logits = points(2, {IMAGES}), points(3, {IMAGES}, 1008)
measure(generated[:500], logits[:500], against, ScoreSettings())
before = peak()
scores = measure(generated, logits, against, ScoreSettings()).scores
assert scores.pop("kid_subset_size") is None and None not in scores.values(), scores
print(peak() - before)
"""


@pytest.mark.long
def test_the_scores_of_many_images_hold_no_matrix_of_all_distances():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 0.5e9
