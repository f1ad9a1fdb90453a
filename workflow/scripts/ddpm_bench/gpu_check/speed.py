"""Part "speed": training and sampling beside denoising-diffusion-pytorch, in turns, as ratios."""

import json
from collections.abc import Iterator
from typing import Any

from ddpm_bench.gpu_check.part import COMPARISONS, Check, ProgramError, Setting, run_program
from ddpm_bench.gpu_check.photographs import photographs
from ddpm_bench.machine.compute_device import gpu_is_usable

TRAINING = "training against the Trainer"
COMPILED = "training against the Trainer compiled and in our precision"
SAMPLING = "sampling against GaussianDiffusion.sample"
GOALS = {TRAINING: 3.0, SAMPLING: 2.5}  # times the images per second of the peer at its defaults
FEWEST_PER_STEP = 16  # the Trainer's default, and the least that it takes
DDIM_STEPS = 50
DRAWN_AT_ONCE = 64  # images; samples.<set>.batch_size at its default
ROUNDS = {"train.py": 5, "sample.py": 3}  # the least that the programs take
TURN_SECONDS = 1.0  # of training; four sides take turns in each round
MOST_OUTSIDE = 0.1  # of a step, outside forward pass, backward pass and optimiser
FEWEST_IN_KERNELS = 0.8  # of the time; below it the GPU waits for the CPU


def check_speed(setting: Setting) -> Iterator[Check]:
    """Yield the ratios of images per second, and on a GPU whether they reach the goals."""
    precision = "bf16" if setting.gpu and _gpu_has_bf16() else "fp32"
    training = training_options(setting, precision)
    for name, program, options in (
        (TRAINING, "train.py", training),
        (SAMPLING, "sample.py", sampling_options(setting, precision)),
    ):
        try:
            output = run_program(COMPARISONS / program, *options)
        except ProgramError as error:  # of one comparison: the other still runs
            command = " ".join(map(str, (f"comparisons/{program}", *options)))
            yield Check(name, "fail", str(error), f"run it alone: python {command}")
            continue
        result = json.loads(output.splitlines()[-1])
        yield judged(name, result, setting.gpu)
        if "ratio_compiled_median" in result:
            yield Check(COMPILED, "measured", _found(result, "peer_compiled"))


def _gpu_has_bf16() -> bool:
    """Return True if the GPU computes in bfloat16 itself, which those before Ampere do not.

    Raises UserError where torch cannot use it: the peers would compute on the CPU, for minutes.
    """
    import torch

    gpu_is_usable()
    return torch.cuda.is_bf16_supported(including_emulation=False)


def training_options(setting: Setting, precision: str) -> list[object]:
    """Return the options of comparisons/train.py.

    The sides start together, since two of them compile for a minute. Nothing is compiled on a CPU.
    """
    batch_size = max(FEWEST_PER_STEP, setting.batch_size)
    options = ["--images", photographs(setting), "--batch-size", batch_size, "--start-together"]
    options += [*_network(setting), "--precision", precision, "--pairs", ROUNDS["train.py"]]
    if not setting.gpu:
        return [*options, "--steps", 2, "--warm-up", 1, "--threads", 1, "--compile", "off"]
    return [*options, "--turn-seconds", TURN_SECONDS, "--peer-compiled", "--profile"]


def sampling_options(setting: Setting, precision: str) -> list[object]:
    """Return the options of comparisons/sample.py."""
    options = [*_network(setting), "--precision", precision, "--pairs", ROUNDS["sample.py"]]
    if not setting.gpu:
        small = ["--batch-size", setting.batch_size, "--sampling-steps", 2, "--threads", 1]
        return [*options, *small, "--device", "cpu"]
    return [*options, "--batch-size", DRAWN_AT_ONCE, "--sampling-steps", DDIM_STEPS, "--profile"]


def _network(setting: Setting) -> list[object]:
    dims = ["--dim", setting.dim, "--dim-mults", *setting.dim_mults]
    return ["--image-size", setting.image_size, *dims]


def judged(name: str, result: dict[str, Any], gpu: bool) -> Check:
    """Return the check of a comparison: its ratio, on a GPU against the goal.

    result: of the program's last line.
    """
    found = _found(result, "peer")
    if not gpu:
        return Check(name, "measured", found, numbers=result)
    goal = GOALS[name]
    numbers = {"goal": goal, **result}
    if result["ratio_median"] >= goal:
        return Check(name, "pass", f"{found}; goal {goal:g}", numbers=numbers)
    return Check(name, "fail", f"{found}; goal {goal:g}", remedy(goal, result), numbers)


def _found(result: dict[str, Any], peer: str) -> str:
    """Return the ratio to a peer and the speeds in words."""
    ratio = f"ratio{peer.removeprefix('peer')}"
    median, low, high = (result[f"{ratio}_{kind}"] for kind in ("median", "min", "max"))
    ours, theirs = (
        f"{result[f'images_per_second_{side}']:.4g} images/s in {result[f'precision_{side}']}"
        for side in ("ours", peer)
    )
    return f"{median:.2f} times ({low:.2f} to {high:.2f}) as fast: {ours} against {theirs}"


def remedy(goal: float, result: dict[str, Any]) -> str:
    """Return what limits the speed, by what was measured beside it, and what to try.

    The first that applies, of: rounds that reach the goal, training that is not compiled, float32,
    a step's parts on the CPU, and a GPU that waits for the CPU.
    """
    in_kernels, outside = result.get("share_in_kernels"), result.get("share_outside", 0.0)
    if result["ratio_max"] >= goal:
        return "some rounds reach it: run it again with the GPU and its cores idle, --parts speed"
    if result.get("compiled_ours") is False:
        return "training was not compiled: look at the check of the compiler"
    if result["precision_ours"] == "fp32":
        return (
            "the goal is for bf16, which this GPU does not have: train with precision: fp16, and "
            "compare precisions in this report"
        )
    if outside > MOST_OUTSIDE:
        return (
            f"{outside:.0%} of a step lies outside forward pass, backward pass and optimiser: see "
            "which of ms_batch, ms_noise, ms_averages and ms_other it is"
        )
    if in_kernels is None:
        return "the profiler saw no kernels: allow it (NVIDIA's ERR_NVGPUCTRPERM) and run it again"
    if in_kernels < FEWEST_IN_KERNELS:
        return (
            f"kernels run for {in_kernels:.0%} of the time, else the GPU waits for the CPU: raise "
            "batch_size, which helps as long as it does; or use a node with faster cores"
        )
    return (
        f"kernels run for {in_kernels:.0%} of the time: the GPU's arithmetic or memory is the "
        "limit; compare tflop_per_second with that of matrix products, and see how busy others "
        "keep the GPU"
    )
