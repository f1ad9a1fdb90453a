"""Part "sampling": images of two solvers, drawn by one job and by two, on the GPU and the CPU."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_bench.files import sha256, write_record
from ddpm_bench.gpu_check.part import SCRIPTS, Check, Setting, run_program
from ddpm_bench.gpu_check.side_by_side import (
    WITHOUT_GPUS,
    first_error,
    lease_of_its_own,
    outcomes,
)
from ddpm_bench.records.layout import weights_name

# One draws noise at each step, the other does not.
SOLVERS = ("ddpm", "dpmsolver++")
STEPS = 10
FEWEST_GREY_LEVELS = 8  # in images that are no sign of weights that are not finite
MOST_GREY_LEVELS = 2.0  # mean difference of the GPU's images from the CPU's, with room
CPUS = 8
LOG = "run it alone and read its log: --parts sampling --keep FOLDER"


def check_sampling(setting: Setting) -> Iterator[Check]:
    """Yield checks of the bytes that sample.py draws, by solvers, from weights that are drawn.

    The set has two batches and a half. One job draws it all; two others draw the two batches and
    the rest of it.
    """
    folder = setting.folder / "sampling"
    manifest = publish_drawn_weights(setting, folder)
    jobs = {}
    solvers = SOLVERS if setting.gpu else SOLVERS[:1]
    for solver in solvers:
        jobs |= _jobs(setting, solver, manifest, folder / solver)
    drawn = outcomes(jobs)
    for solver in solvers:
        cuts = [drawn[f"{solver} {name}"] for name in ("whole", "first", "last")]
        error = first_error(cuts)
        if error is not None:
            yield Check(f"{solver}: one job and two", "fail", str(error), LOG)
        else:
            whole, *pieces = cuts
            yield same_bytes(solver, whole, np.concatenate(pieces))
        if not setting.gpu:
            continue
        own, error = drawn[f"{solver} CPU"], first_error([cuts[0], drawn[f"{solver} CPU"]])
        if error is not None:
            yield Check(f"{solver}: GPU and CPU", "fail", str(error), LOG)
        else:
            yield against_cpu(solver, cuts[0][: len(own)], own)


def publish_drawn_weights(setting: Setting, folder: Path) -> Path:
    """Write freshly drawn weights as a training publishes its checkpoint; return the manifest."""
    from safetensors.torch import save_file

    from ddpm_bench.config.networks import Unet
    from ddpm_bench.models.denoiser import build_model

    model = build_model(Unet(**setting.model()), channels=3)
    weights = folder / "checkpoints" / weights_name(1)
    weights.parent.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    entry = {"step": 1, "file": f"checkpoints/{weights.name}", "sha256": sha256(weights)}
    manifest = folder / "training" / "job-00000000-00000001.json"
    manifest.parent.mkdir()
    record = {"fingerprint": "0" * 16, "first_step": 0, "last_step": 1, "checkpoints": [entry]}
    write_record(manifest, record)
    return manifest


def _jobs(
    setting: Setting, solver: str, manifest: Path, folder: Path
) -> dict[str, Callable[[], np.ndarray]]:
    """Return functions that draw parts of a set, by name; each returns uint8 [n, H, W, C]."""
    size = setting.batch_size
    drawing = {"scheduler": solver, "steps": STEPS, "batch_size": size}
    what = {
        "version": 1,
        "image_size": setting.image_size,
        "channels": 3,
        "model": setting.model(),
        "drawing": drawing,
    }
    last = 2 * size + size // 2 - 1
    parts = {"whole": (0, last), "first": (0, 2 * size - 1), "last": (2 * size, last)}
    if setting.gpu:
        parts["CPU"] = (0, size - 1)
    return {
        f"{solver} {name}": partial(_drawn, what, manifest, folder / name, part, name == "CPU")
        for name, part in parts.items()
    }


def _drawn(
    what: dict[str, Any], manifest: Path, folder: Path, part: tuple[int, int], on_cpu: bool
) -> np.ndarray:
    """Draw the images first .. last of a set by sample.py."""
    first, last = part
    output = folder / f"images-{first:06}-{last:06}.npy"
    arguments = ["--manifest", manifest, "--step", 1, "--first", first, "--last", last]
    arguments += ["--output", output, "--timing", output.with_suffix(".json")]
    environment = lease_of_its_own(folder) | (WITHOUT_GPUS if on_cpu else {})
    program = SCRIPTS / "sample.py"
    how = {"cpus": CPUS}
    run_program(program, "--what", what, "--how", how, *arguments, environment=environment)
    return np.load(output, allow_pickle=False)


def same_bytes(solver: str, whole: np.ndarray, pieces: np.ndarray) -> Check:
    """Check that two jobs draw the bytes of one; both are uint8 [N, H, W, C]."""
    name = f"{solver}: one job and two"
    levels = len(np.unique(whole))
    if levels < FEWEST_GREY_LEVELS:
        remedy = "are the weights finite? Run the vendor's diagnostics (dcgmi diag) on this GPU"
        return Check(name, "fail", f"its images have {levels} grey levels in all", remedy)
    same = (whole == pieces).mean(axis=(1, 2, 3)) == 1
    numbers = {"images": len(whole), "images_with_the_same_bytes": int(same.sum())}
    if same.all():
        found = f"all {len(whole)} images have the same bytes, the last batch alone too"
        return Check(name, "pass", found, numbers=numbers)
    worst = int(np.abs(whole.astype(int) - pieces).max())
    found = (
        f"{(~same).sum()} of {len(whole)} images differ, from image {same.argmin()} on, "
        f"by up to {worst} grey levels"
    )
    remedy = (
        "images of this GPU depend on the job that draws them: leave run.images_per_job at null, "
        "and report the GPU, driver and cuDNN"
    )
    return Check(name, "fail", found, remedy, numbers)


def against_cpu(solver: str, gpu: np.ndarray, cpu: np.ndarray) -> Check:
    """Measure how far the GPU's images are from the CPU's; both are uint8 [N, H, W, C].

    They are not meant to be equal: sums are added in another order.
    """
    difference = np.abs(gpu.astype(int) - cpu)
    numbers = {
        "equal_bytes_share": float((difference == 0).mean()),
        "largest_difference_grey_levels": int(difference.max()),
        "mean_difference_grey_levels": float(difference.mean()),
    }
    found = (
        f"{numbers['equal_bytes_share']:.2%} of the bytes are equal, the largest difference is "
        f"{difference.max()} grey levels, after {STEPS} steps"
    )
    if difference.mean() <= MOST_GREY_LEVELS:
        return Check(f"{solver}: GPU and CPU", "measured", found, numbers=numbers)
    remedy = (
        "these are other images: unset NVIDIA_TF32_OVERRIDE, and run the vendor's diagnostics "
        "(dcgmi diag) on this GPU"
    )
    return Check(f"{solver}: GPU and CPU", "fail", found, remedy, numbers)
