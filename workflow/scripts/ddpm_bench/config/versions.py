"""Versions of the stages: the part of a stage's keys that stands for our own code.

A version is raised when a change of our code changes the stage's results, which makes earlier
results stale; tests/unit/planning/test_stage_versions.py fails when code changes without it.
"""

VERSIONS = {
    "fetch": 1,
    "prepare": 2,
    "classifier": 1,
    "train": 2,  # of denoising networks
    "autoencoder": 3,  # of autoencoders: training, and validation losses
    "encode": 1,
    "reconstruct": 1,
    "schedule": 1,
    "validate": 1,  # of denoising networks
    "sample": 4,  # 3 where samples are alike: planning/earlier_samples.py
    "grid": 1,
    "features": 2,
    "score": 3,
    "collect": 3,
    "thin": 1,
    "plot": 3,
    "trajectory": 2,
    "samplers": 2,
    "compare": 3,
    "best": 3,
    "hours": 2,
    "losses": 1,
    "bests": 2,
    "costs": 1,
    "sweep": 2,
    "cell": 1,
    "throughput": 1,
}
