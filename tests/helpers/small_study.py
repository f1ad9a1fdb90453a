"""The config of a study that takes a minute, for tests that run the real workflow."""

SMALL = {
    "results_dir": "results",
    "resources_dir": "resources",
    "datasets": {
        "digits": {
            "source": {"kind": "sklearn-digits"},
            "image_size": 8,
            "channels": 1,
            "eval_fraction": 0.2,
            "classifier": {"steps": 20},
        }
    },
    "experiments": {
        "small": {
            "dataset": "digits",
            "model": {"name": "unet", "dim": 8, "dim_mults": [1, 2]},
            "train": {
                "steps": 40,
                "batch_size": 16,
                "checkpoint_every": 20,
                "learning_rate": 1e-3,
                "run": {"steps_per_job": 20, "cpus": 1},
            },
            "samples": {"dpm4": {"steps": 4, "images": 32, "batch_size": 8, "run": {"cpus": 1}}},
            "scores": {"classifier": {"features": "classifier", "run": {"cpus": 1}}},
        }
    },
}
