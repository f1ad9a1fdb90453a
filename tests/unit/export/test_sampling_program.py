"""The exported program draws the same images as we do, with published packages alone."""

import ast
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ddpm_bench.config.sampling import Drawing, SampleStage
from ddpm_bench.export import sampling_program
from ddpm_bench.models.denoiser import build_model
from ddpm_bench.sampling.sampler import Sampler
from ddpm_bench.sampling.solvers import solve

UNET = {"name": "unet", "dim": 8, "dim_mults": [1, 2], "attn_heads": 2, "attn_dim_head": 8}
UNET2D = {
    "name": "unet2d", "block_out_channels": [8, 16], "attention_levels": [1], "norm_num_groups": 4,
    "layers_per_block": 1, "attention_head_dim": 4,
}  # fmt: skip
PUBLISHED = {  # Ho et al. 2020
    "norm_eps": 1e-6, "flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0,
}  # fmt: skip
SEEING = {"self_condition": True}


def stage(model: dict, channels: int = 1, diffusion: dict | None = None, **drawing) -> SampleStage:
    steps = {} if "timesteps" in drawing else {"steps": 6}
    what = {"version": 1, "image_size": 8, "channels": channels, "model": model}
    return SampleStage.model_validate(
        {**what, "diffusion": diffusion or {}, "drawing": {**steps, **drawing}}
    )


def weights_of(keys: SampleStage) -> dict[str, torch.Tensor]:
    """Return weights with which predictions are of the size of noise."""
    return build_model(keys.model, keys.channels, seed=3).state_dict()


def exported(folder: Path, keys: SampleStage) -> sampling_program.Steps:
    save_file(weights_of(keys), folder / "model.safetensors")
    steps = sampling_program.steps_of(keys)
    (folder / "scheduler_config.json").write_text(steps.scheduler.to_json_string())
    (folder / "sample.py").write_text(sampling_program.program(keys, steps))
    return steps


def drawn_by_the_program(folder: Path, monkeypatch) -> torch.Tensor:
    monkeypatch.chdir(folder)
    return runpy.run_path(str(folder / "sample.py"))["images"].cpu()


def drawn_by_us(keys: SampleStage, images: int) -> torch.Tensor:
    """Draw from the same noise as the program."""
    sampler = Sampler(keys, weights_of(keys), torch.device("cpu"))
    torch.manual_seed(0)
    noise = torch.randn(images, keys.channels, keys.image_size, keys.image_size)
    generators = [torch.default_generator] * images
    with torch.inference_mode():
        for drawn, _ in solve(keys.drawing, sampler._betas, sampler._estimate(), noise, generators):
            last = drawn
    return last


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.1, "an image, and not a flat one"
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


def assert_same_images(folder: Path, monkeypatch, keys: SampleStage) -> None:
    assert exported(folder, keys).as_drawn
    assert_same(
        drawn_by_the_program(folder, monkeypatch), drawn_by_us(keys, sampling_program.IMAGES)
    )


@pytest.mark.parametrize("model", [UNET, UNET2D, UNET | SEEING, UNET2D | SEEING])
@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_every_network_and_objective(tmp_path, monkeypatch, model, objective):
    diffusion = {"objective": objective, "timesteps": 100}
    assert_same_images(tmp_path, monkeypatch, stage(model, 3 if model is UNET else 1, diffusion))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "scaled_linear"])
def test_every_schedule(tmp_path, monkeypatch, schedule):
    assert_same_images(tmp_path, monkeypatch, stage(UNET, 3, {"beta_schedule": schedule}))


@pytest.mark.parametrize("model", [UNET, UNET | SEEING])
@pytest.mark.parametrize(
    "drawing",
    [
        {"scheduler": "dpmsolver++", "solver_order": 3},
        {"scheduler": "dpmsolver++", "steps": 30},
        {"scheduler": "dpmsolver++", "timesteps": [999, 700, 310, 4]},
        {"scheduler": "dpmsolver++", "timesteps": [999, 700, 400, 300, 200, 0]},
        {"scheduler": "dpmsolver++", "steps": 7, "timestep_spacing": "leading"},
        {"scheduler": "ddim"},
        {"scheduler": "ddim", "steps": 1},
        {"scheduler": "euler"},
    ],
)
def test_deterministic_samplers(tmp_path, monkeypatch, model, drawing):
    assert_same_images(tmp_path, monkeypatch, stage(model, **drawing))


@pytest.mark.parametrize(
    "drawing",
    [
        {"scheduler": "ddpm"},
        {"scheduler": "ddpm", "variance": "fixed-large"},
        {"scheduler": "ddpm", "variance": "fixed-large", "timesteps": [999, 500, 120]},
        {"scheduler": "ddim", "eta": 1.0},
        {"scheduler": "euler-ancestral"},
    ],
)
def test_samplers_that_add_noise(tmp_path, monkeypatch, drawing):
    # One image: ours draw the noise of each from a generator of its own.
    monkeypatch.setattr(sampling_program, "IMAGES", 1)
    monkeypatch.setattr(sampling_program, "COLUMNS", 1)
    keys = stage(UNET, **drawing)
    assert exported(tmp_path, keys).as_drawn
    assert_same(drawn_by_the_program(tmp_path, monkeypatch), drawn_by_us(keys, 1))


@pytest.mark.parametrize(
    "drawing", [{"scheduler": "dpmsolver++"}, {"scheduler": "ddim"}, {"scheduler": "ddpm"}]
)
@pytest.mark.parametrize("objective", ["pred_x0", "pred_v"])
def test_a_schedule_with_zero_terminal_snr(tmp_path, monkeypatch, drawing, objective):
    monkeypatch.setattr(sampling_program, "IMAGES", 1)
    monkeypatch.setattr(sampling_program, "COLUMNS", 1)
    rescaled = {"rescale_zero_terminal_snr": True, "objective": objective}
    keys = stage(UNET, 1, {"beta_schedule": "scaled_linear", **rescaled}, **drawing)
    assert exported(tmp_path, keys).as_drawn
    assert_same(drawn_by_the_program(tmp_path, monkeypatch), drawn_by_us(keys, 1))


def test_a_step_that_would_overshoot_has_the_first_order_in_the_program_too(tmp_path):
    listed = [999, 700, 400, 300, 200, 0]
    assert exported(tmp_path, stage(UNET, timesteps=listed)).first_order == [200]
    assert exported(tmp_path, stage(UNET, timesteps=listed[:-1])).first_order == []


def test_predicted_noise_of_latents_begins_below_the_end_of_the_schedule():
    autoencoder = {"name": "vqvae", "latent_channels": 3, "downsampling": 2}
    raw = stage(UNET, 1, {"objective": "pred_noise"}).model_dump(mode="json", exclude_defaults=True)
    in_latents = SampleStage.model_validate({**raw, "image_size": 32, "autoencoder": autoencoder})
    assert sampling_program.steps_of(in_latents).timesteps[0] == 998
    everywhere = {"karras_sigmas": True, "steps": 1000}
    many = in_latents.model_copy(update={"drawing": Drawing(**everywhere)})
    times = sampling_program.steps_of(many).timesteps
    assert times == list(range(998, -1, -1)), "each once: a step between equal ones is not defined"
    in_pixels = SampleStage.model_validate({**raw, "image_size": 32})
    assert sampling_program.steps_of(in_pixels).timesteps[0] == 999


def test_latents_are_neither_clipped_nor_drawn_at_the_size_of_images(tmp_path):
    autoencoder = {"name": "vqvae", "latent_channels": 3, "downsampling": 2}
    for model, drawing in ((UNET, {"scheduler": "ddim"}), (UNET | SEEING, {"scheduler": "ddpm"})):
        raw = stage(model, **drawing).model_dump(mode="json", exclude_defaults=True)
        keys = SampleStage.model_validate({**raw, "image_size": 32, "autoencoder": autoencoder})
        steps = sampling_program.steps_of(keys)
        source = sampling_program.program(keys, steps)
        assert "torch.randn(16, 3, 16, 16)" in source and "channels=3" in source
        assert "clamp" not in source and not steps.clipped
        assert not getattr(steps.scheduler.config, "clip_sample", False)
        assert "channels=3" in source and "out_channels=1" in source


@pytest.mark.parametrize(
    "drawing",
    [
        {"scheduler": "heun"},
        {"scheduler": "unipc"},
        {"scheduler": "ddim", "eta": 0.5},
        {"scheduler": "dpmsolver++", "karras_sigmas": True},
    ],
)
def test_where_another_sampler_takes_its_place_the_program_says_so(tmp_path, drawing):
    keys = stage(UNET, **drawing)
    assert not exported(tmp_path, keys).as_drawn
    source = (tmp_path / "sample.py").read_text()
    assert f"were drawn by {drawing['scheduler']}" in source.replace("\n", " ")


def test_the_network_of_the_program_is_ours(tmp_path, monkeypatch):
    for model in (UNET, UNET2D, UNET2D | PUBLISHED):
        keys = stage(model)
        exported(tmp_path, keys)
        monkeypatch.chdir(tmp_path)
        theirs = runpy.run_path(str(tmp_path / "sample.py"))["model"].cpu()
        ours = build_model(keys.model, 1)
        ours.load_state_dict(weights_of(keys))
        images, times = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
        found = theirs(images, times)
        found = found if isinstance(found, torch.Tensor) else found.sample
        assert torch.equal(found, ours.eval()(images, times)), "bit for bit"


@pytest.mark.parametrize(
    ("precision", "set_up"), [("fp32", ("highest", False)), ("tf32", ("high", True))]
)
def test_gpus_compute_in_the_float32_of_the_set(tmp_path, monkeypatch, precision, set_up):
    exported(tmp_path, stage(UNET, precision=precision))
    torch.backends.cudnn.allow_tf32 = True  # torch's default
    drawn_by_the_program(tmp_path, monkeypatch)
    found = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    assert found == set_up


def test_the_program_is_about_ten_statements_beside_imports(tmp_path):
    exported(tmp_path, stage(UNET))
    head, *body = ast.parse((tmp_path / "sample.py").read_text()).body
    assert "model.safetensors" in head.value.value
    assert len([line for line in body if not isinstance(line, ast.ImportFrom | ast.Import)]) <= 12
