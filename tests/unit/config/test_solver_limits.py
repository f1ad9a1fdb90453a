"""Solvers and schedules that are refused, and the note on those that end in too little noise."""

import copy
import runpy
import sys
import time

import numpy as np
import pytest
import yaml
from places import REPOSITORY, SCRIPTS

from ddpm_bench.config.diffusion import Diffusion
from ddpm_bench.config.loading import check_config
from ddpm_bench.config.noise_levels import alphas_cumprod, usable_timesteps, visited_sigmas
from ddpm_bench.config.sampling import Drawing
from ddpm_bench.config.solver_limits import noise_note, solver_misfits
from ddpm_bench.errors import UserError
from ddpm_bench.models.diffusion import noise_schedule
from ddpm_bench.sampling.solvers import visited_levels

SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid")
DEMO = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())


def with_keys(diffusion: dict, drawing: dict | None = None, train: dict | None = None) -> dict:
    raw = copy.deepcopy(DEMO)
    keys = raw["experiments"]["digits"]
    keys["diffusion"] = diffusion
    keys["samples"]["dpm20"] |= drawing or {}
    keys["train"] |= train or {}
    return raw


def problems(raw: dict) -> str:
    with pytest.raises(UserError) as caught:
        check_config(raw, origin="my.yaml")
    return str(caught.value)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rescaled", [False, True])
def test_levels_that_the_config_is_checked_with_are_those_of_the_samplers(schedule, rescaled):
    keys = Diffusion(beta_schedule=schedule, timesteps=500, rescale_zero_terminal_snr=rescaled)
    betas = noise_schedule(keys).numpy()
    found, expected = np.array(alphas_cumprod(keys)), np.cumprod(1 - betas)
    np.testing.assert_allclose(found[:-1], expected[:-1], rtol=1e-4)
    np.testing.assert_allclose(found[-1], expected[-1], rtol=2e-3)  # the package takes float32 ends
    for drawing in (Drawing(steps=7), Drawing(karras_sigmas=True), Drawing(timesteps=(499, 3))):
        levels = [level.sigma for level in visited_levels(drawing, betas)]
        sigmas = visited_sigmas(drawing, keys, in_latents=False)
        np.testing.assert_allclose(sigmas, levels, rtol=2e-3 if not rescaled else 0.5)


@pytest.mark.parametrize(
    ("drawing", "expected"),
    [
        ({"steps": 2}, "heun at these 2 noise levels overshoots: it draws normal data 7"),
        ({"steps": 8}, "take 9 steps or more, or dpmsolver++"),
        (
            {"steps": 20, "timestep_spacing": "linspace"},
            "take 9 steps or more on the levels of karras_sigmas: true, or dpmsolver++",
        ),
        ({"steps": 18}, None),
        ({"steps": 1}, None),
    ],
    ids=str,
)
def test_heun_is_refused_where_it_overshoots(drawing, expected):
    """2 steps halve the noise of sigma 80, and no more."""
    raw = with_keys({}, {"scheduler": "heun", **drawing})
    if expected is None:
        check_config(raw)
    else:
        text = problems(raw)
        assert "experiments.digits: samples.dpm20: " in text and expected in text


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_remedy_of_a_refused_heun_is_accepted(schedule):
    keys = Diffusion(beta_schedule=schedule)
    (message,) = solver_misfits(Drawing(scheduler="heun", steps=2), keys, in_latents=False)
    enough = int(message.split("take ")[1].split()[0])
    assert not any(solver_misfits(Drawing(scheduler="heun", steps=enough), keys, False))
    assert any(solver_misfits(Drawing(scheduler="heun", steps=enough - 1), keys, False))


def test_predicted_noise_of_latents_is_not_drawn_from_nearly_pure_noise():
    keys = Diffusion(objective="pred_noise", beta_schedule="cosine")
    usable = usable_timesteps(keys, in_latents=True)
    powers = np.cumprod(1 - noise_schedule(keys).numpy())
    assert usable == (np.log(powers / (1 - powers)) / 2 >= -5.5).sum() == 997
    for drawing in (Drawing(steps=998), Drawing(timesteps=(999, 500, 20))):
        (message,) = solver_misfits(drawing, keys, in_latents=True)
        assert "begins at timestep 996" in message and "objective pred_v" in message
        assert not any(solver_misfits(drawing, keys, in_latents=False))
    assert not any(solver_misfits(Drawing(steps=997), keys, in_latents=True))
    assert not any(solver_misfits(Drawing(steps=997, karras_sigmas=True), keys, in_latents=True))


@pytest.mark.parametrize("timesteps", [100, 200, 300, 1000, 4000])
def test_every_timestep_of_the_linear_schedule_is_good_for_predicted_noise_in_latents(timesteps):
    keys = Diffusion(objective="pred_noise", beta_schedule="linear", timesteps=timesteps)
    assert usable_timesteps(keys, in_latents=True) == timesteps


def test_a_rescaled_schedule_is_refused_where_its_end_cannot_be_learned():
    rescaled = {"rescale_zero_terminal_snr": True}
    assert "set objective: pred_v" in problems(with_keys({**rescaled, "objective": "pred_noise"}))
    text = problems(with_keys(rescaled, train={"min_snr_gamma": 5}))
    assert "train.min_snr_gamma = 5 weights the last timestep" in text and "remove one" in text
    check_config(with_keys({**rescaled, "objective": "pred_x0"}))


def test_a_process_that_adds_no_noise_or_takes_too_long_is_refused():
    ends = {"beta_schedule": "linear", "beta_start": 1e-300, "beta_end": 2e-300}
    assert "beta_start = 1e-300 adds no noise; take 1e-08 or more" in problems(with_keys(ends))
    assert "diffusion.timesteps = 10000000" in problems(with_keys({"timesteps": 10**7}))
    began = time.process_time()
    check_config(with_keys({"timesteps": 10**5}, {"scheduler": "heun"})).notes()
    assert time.process_time() - began < 5


def test_too_little_noise_at_the_end_is_noted_once_with_its_snr(tmp_path, monkeypatch, capsys):
    """scaled_linear with 200 timesteps ends at an SNR of 0.52."""
    short = {"beta_schedule": "scaled_linear", "timesteps": 200}
    raw = with_keys(short)
    raw["experiments"]["other"] = copy.deepcopy(raw["experiments"]["digits"])
    (note,) = check_config(raw).notes()
    powers = np.prod(1 - noise_schedule(Diffusion(**short)).numpy())
    assert f"signal-to-noise ratio of {powers / (1 - powers):.2g}," in note
    assert note.startswith("diffusion of digits, other: ")
    assert "rescale_zero_terminal_snr: true" in note
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.syspath_prepend(SCRIPTS / "commands")
    monkeypatch.setattr(sys, "argv", ["check_config", "--configfile", str(tmp_path / "my.yaml")])
    runpy.run_path(str(SCRIPTS / "commands" / "check_config.py"))["main"]()
    assert capsys.readouterr().err.strip() == f"warning: {note}"


@pytest.mark.parametrize(
    ("drawing", "noted"),
    [
        ({"scheduler": "ddim", "steps": 600, "timestep_spacing": "leading"}, True),  # from 599 on
        ({"steps": 4, "timestep_spacing": "leading"}, True),
        ({"scheduler": "ddim", "timesteps": [199, 100, 20]}, True),
        ({"scheduler": "ddim", "steps": 50, "timestep_spacing": "leading"}, False),
        ({"steps": 4}, False),
        ({"karras_sigmas": True}, False),
        ({"scheduler": "ddim", "timesteps": [999, 100, 20]}, False),
    ],
    ids=str,
)
def test_a_set_that_begins_below_the_end_of_the_schedule_is_noted(drawing, noted):
    raw = with_keys({})
    for key in ("steps", "scheduler"):
        del raw["experiments"]["digits"]["samples"]["dpm20"][key]
    raw["experiments"]["digits"]["samples"]["dpm20"] |= drawing
    notes = check_config(raw).notes()
    assert len(notes) == noted
    assert all(note.startswith("samples.dpm20 of digits: begins at") for note in notes)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_usual_and_rescaled_schedules_earn_no_note(schedule):
    assert noise_note(Diffusion(beta_schedule=schedule)) is None
    assert noise_note(
        Diffusion(beta_schedule=schedule, timesteps=50, rescale_zero_terminal_snr=True)
    ) is None  # fmt: skip
