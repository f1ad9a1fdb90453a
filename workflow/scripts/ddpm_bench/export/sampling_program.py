"""The short program beside an exported model, which draws samples with published packages alone.

The scheduler is saved beside it as diffusers' scheduler_config.json, with the betas of the training
themselves, so that every schedule is reproduced. Two of diffusers' schedulers are enough: DDPM's,
and DPM-Solver++, whose first order is DDIM without noise, as that of DPM-Solver is (Lu et al. 2022,
"DPM-Solver", section 4.1). For a set that was drawn by another solver, the program uses the nearest
of the two.
"""

import textwrap
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, SchedulerMixin

from ddpm_bench.config.networks import Model, Unet, VqVae
from ddpm_bench.config.noise_levels import usable_timesteps
from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.models.denoiser import unet_arguments
from ddpm_bench.models.diffusion import named_schedule, noise_schedule
from ddpm_bench.sampling.solvers import Level, first_order_steps, visited_levels

IMAGES, COLUMNS = 16, 4
PREDICTIONS = {"pred_noise": "epsilon", "pred_x0": "sample", "pred_v": "v_prediction"}
# Source code of the clean image that a prediction implies (`models.diffusion.implied_image`).
CLEAN = {
    "pred_noise": "(images - (1 - power) ** 0.5 * prediction) / power**0.5",
    "pred_x0": "prediction",
    "pred_v": "power**0.5 * images - (1 - power) ** 0.5 * prediction",
}


@dataclass(frozen=True)
class Steps:
    """Solver of the program: its scheduler and the timesteps it visits."""

    scheduler: SchedulerMixin
    timesteps: list[int]  # that are visited, descending
    first_order: list[int]  # those from which a step takes the first order
    clipped: bool  # whether the program itself clips estimates of the clean image
    as_drawn: bool  # whether the set was drawn by the same equations


def steps_of(stage: SampleStage) -> Steps:
    """Return the scheduler that draws as a set was drawn, or the nearest to it."""
    drawing, diffusion = stage.drawing, stage.diffusion
    bounded = stage.latents() is None
    adds_noise = drawing.scheduler in ("ddpm", "euler-ancestral") or drawing.eta == 1
    clipped = bounded and not adds_noise
    predicted = "sample" if stage.model.self_condition or clipped else None
    # diffusers rescales the betas itself, and keeps the last sigma finite.
    rescaled = diffusion.rescale_zero_terminal_snr
    options: dict[str, Any] = {
        "num_train_timesteps": diffusion.timesteps,
        "trained_betas": named_schedule(diffusion).tolist(),
        "prediction_type": predicted or PREDICTIONS[diffusion.objective],
        **({"rescale_betas_zero_snr": True} if rescaled else {}),
    }
    if adds_noise:
        variance = (drawing.variance or "fixed-small").replace("-", "_")
        scheduler = DDPMScheduler(**options, clip_sample=bounded, variance_type=variance)
    else:
        first_order = drawing.scheduler in ("ddim", "euler")
        order = 1 if first_order else drawing.solver_order or 2
        scheduler = DPMSolverMultistepScheduler(**options, solver_order=order)
    levels = program_levels(stage)
    times = [int(level.time) for level in levels]
    restarts = [] if adds_noise or order == 1 else sorted(first_order_steps(levels))
    other = drawing.scheduler in ("unipc", "heun") or 0 < drawing.eta < 1
    as_drawn = not (other or drawing.karras_spaced())
    return Steps(scheduler, times, [times[number] for number in restarts], clipped, as_drawn)


def program_levels(stage: SampleStage) -> list[Level]:
    """Return the levels that the program visits: those of the set, or timesteps.

    The levels of Karras et al. lie between timesteps, which the program cannot visit: it visits as
    many timesteps, or all usable ones.
    """
    drawing, betas = stage.drawing, noise_schedule(stage.diffusion).numpy()
    usable = usable_timesteps(stage.diffusion, stage.latents() is not None)
    if drawing.karras_spaced():
        drawing = Drawing(steps=min(drawing.steps, usable))
    return visited_levels(drawing, betas, usable)


def program(stage: SampleStage, steps: Steps) -> str:
    """Return the source of sample.py, which writes a grid of 16 images to samples.png.

    It reads model.safetensors and scheduler_config.json beside it, and decoder.safetensors if the
    model draws latents.
    """
    latents = stage.latents()
    channels, size = stage.channels, stage.image_size
    if latents is not None:
        channels, size = latents.channels, latents.size
    network, arguments = network_of(stage.model, channels)
    scheduler = type(steps.scheduler).__name__
    lines = [
        f'"""{headline(stage.drawing, steps)}"""',
        "",
        "from pathlib import Path",
        "",
        *imports(stage, network, scheduler),
        "",
        "here = Path(__file__).parent",
        'device = "cuda" if torch.cuda.is_available() else "cpu"',
        products_on_gpus(stage.drawing),
        call_text(f"model = {network}", arguments),
        'model.load_state_dict(load_file(here / "model.safetensors"))',
        "model.to(device).eval()",
        f"scheduler = {scheduler}.from_pretrained(here)",
        f"scheduler.set_timesteps({timesteps_text(steps)}, device=device)",
        "torch.manual_seed(0)",
        f"images = torch.randn({IMAGES}, {channels}, {size}, {size}).to(device)",
        *loop(stage, steps),
        *(decoding(stage.autoencoder, stage.channels) if stage.autoencoder else []),
        f'make_image_grid(pt_to_pil(images), {IMAGES // COLUMNS}, {COLUMNS}).save("samples.png")',
    ]
    return "\n".join(lines) + "\n"


def products_on_gpus(drawing: Drawing) -> str:
    """Return the line that sets how GPUs compute products in float32; CPUs heed none of them."""
    if drawing.precision == "tf32":  # convolutions round without being asked
        return 'torch.set_float32_matmul_precision("high")  # TF32 on GPUs'
    return "torch.backends.cudnn.allow_tf32 = False  # full float32 on GPUs"


def imports(stage: SampleStage, network: str, scheduler: str) -> list[str]:
    """Return the import lines, of published packages only, in the order of their names."""
    own = isinstance(stage.model, Unet)
    names = scheduler if own else ", ".join(sorted((scheduler, network)))
    lines = ["import torch"]
    lines += [f"from denoising_diffusion_pytorch import {network}"] if own else []
    lines += [f"from diffusers import {names}"]
    if stage.autoencoder:
        lines += ["from diffusers.models.autoencoders.vae import Decoder"]
    lines += ["from diffusers.utils import make_image_grid, pt_to_pil"]
    lines += ["from safetensors.torch import load_file"]
    return lines + (["from vector_quantize_pytorch import ResidualVQ"] if stage.autoencoder else [])


def decoding(autoencoder: VqVae, channels: int) -> list[str]:
    """Return the lines that decode latents: unscale, look up the nearest codes, decode."""
    from ddpm_bench.models.autoencoder import decoder_arguments, quantizer_arguments

    return [
        call_text("decoder = Decoder", decoder_arguments(autoencoder, channels)),
        call_text("codebooks = ResidualVQ", quantizer_arguments(autoencoder)),
        'weights = load_file(here / "decoder.safetensors")',
        'mean, std = (weights.pop(name).to(device) for name in ("mean", "std"))',
        'both = torch.nn.ModuleDict({"codebooks": codebooks, "decoder": decoder})',
        "both.load_state_dict(weights)",
        "both.to(device).eval()",
        "with torch.inference_mode():",
        "    latents = images * std + mean",
        "    codes, _, _ = codebooks(latents.flatten(2).transpose(1, 2))",
        "    images = decoder(codes.transpose(1, 2).reshape(latents.shape))",
    ]


def headline(drawing: Drawing, steps: Steps) -> str:
    """Return the docstring of the program."""
    first = f"Draws {IMAGES} images from model.safetensors beside this file into samples.png."
    if steps.as_drawn:
        return first
    kind = type(steps.scheduler).__name__.removesuffix("Scheduler")
    return (
        f"{first}\n\nThe samples of grid.png were drawn by {drawing.scheduler}; this takes "
        f"{kind}\nwith as many steps, which needs no code of its own.\n"
    )


def loop(stage: SampleStage, steps: Steps) -> list[str]:
    """Return the lines that lead noise to images."""
    seen, bounded = stage.model.self_condition, stage.latents() is None
    lines = ["seen = torch.zeros_like(images)"] if seen else []
    lines += ["with torch.inference_mode():", "    for time in scheduler.timesteps:"]
    if steps.first_order:  # a step much longer than the one before
        lines += [f"        if int(time) in {steps.first_order}:"]
        lines += ["            scheduler.lower_order_nums = 0  # the next step has the first order"]
    prediction = network_call(stage.model)
    if not (seen or steps.clipped):
        return [*lines, *step_lines(prediction, steps)]
    lines += [f"        prediction = {prediction}"]
    if stage.diffusion.objective != "pred_x0":
        lines += ["        power = scheduler.alphas_cumprod[int(time)].item()"]
    clean = CLEAN[stage.diffusion.objective]
    if steps.clipped:
        clean = f"{clean}.clamp(-1, 1)" if clean.isidentifier() else f"({clean}).clamp(-1, 1)"
    lines += [f"        clean = {clean}"]
    if seen:
        lines += ["        seen = clean.clamp(-1, 1)" if bounded else "        seen = clean"]
    return [*lines, *step_lines("clean", steps)]


def step_lines(prediction: str, steps: Steps) -> list[str]:
    """Return the lines of a solver step; the last one of fixed-large adds no noise."""
    taken = f"scheduler.step({prediction}, time, images)"
    if getattr(steps.scheduler.config, "variance_type", None) != "fixed_large":
        return [f"        images = {taken}.prev_sample"]
    last = "images = step.pred_original_sample  # the last step adds no noise"
    return [f"        step = {taken}", "        images = step.prev_sample", last]


def network_call(model: Model) -> str:
    """Return the call of the network on images at a time, as source code."""
    if isinstance(model, Unet):
        return f"model(images, time.expand({IMAGES}){', seen' if model.self_condition else ''})"
    images = "torch.cat((seen, images), dim=1)" if model.self_condition else "images"
    return f"model({images}, time).sample"


def network_of(model: Model, channels: int) -> tuple[str, dict[str, Any]]:
    """Return the class of a published package that a network is, and its arguments."""
    if isinstance(model, Unet):
        name, arguments = "Unet", unet_arguments(model, channels)
    else:
        from ddpm_bench.models.unet2d import unet2d_arguments

        name, arguments = "UNet2DModel", unet2d_arguments(model, channels)
    del arguments["dropout"]  # used in training only
    return name, arguments


def call_text(head: str, arguments: dict[str, Any]) -> str:
    """Return a call with named arguments as source code, over several lines if it is long."""
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    if len(head) + len(given) < 98:
        return f"{head}({given})"
    wrapped = textwrap.wrap(given, 94, break_long_words=False, break_on_hyphens=False)
    return "\n".join([f"{head}(", *(f"    {line}" for line in wrapped), ")"])


def timesteps_text(steps: Steps) -> str:
    """Return the visited timesteps as an argument in source code; a range if evenly spaced."""
    times = steps.timesteps
    distance = times[0] - times[1] if len(times) > 1 else 1
    same = range(times[0], times[-1] - 1, -distance)
    if len(times) > 3 and list(same) == times:
        return f"timesteps=list(range({same.start}, {same.stop}, {same.step}))"
    return f"timesteps={times}"


def requirements(stage: SampleStage) -> list[str]:
    """Return the packages that the program imports, at their installed versions."""
    names = ["torch", "diffusers", "safetensors", "pillow"]
    names += ["denoising-diffusion-pytorch"] if isinstance(stage.model, Unet) else []
    names += ["vector-quantize-pytorch"] if stage.autoencoder else []
    return [f"{name}=={version(name)}" for name in names]
