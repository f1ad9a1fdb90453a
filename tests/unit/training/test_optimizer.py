"""Learning-rate schedules, optimisers, loss scaling and skipped steps do what their names say."""

import math

import pytest
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from small_trainer import difference, metrics_of, small_stage, small_trainer, weights_after

from ddpm_bench.config.training import Optimisation
from ddpm_bench.errors import UserError
from ddpm_bench.training.optimizer import FIRST_SCALE, STEPS_TO_GROW, Optimizer, learning_rate

CPU = torch.device("cpu")


def keys(**train) -> Optimisation:
    return Optimisation(**{"batch_size": 8, "checkpoint_every": 10, "learning_rate": 0.01, **train})


def rates(length: int, **train) -> list[float]:
    return [learning_rate(keys(**train), step) for step in range(length)]


def theirs(length: int, scheduler_of) -> list[float]:
    """The rates of a scheduler of torch's kind over `length` steps."""
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = scheduler_of(adam)
    found = []
    for _ in range(length):
        found.append(adam.param_groups[0]["lr"])
        adam.step()
        scheduler.step()
    return found


def test_one_cycle_equals_torchs():
    ours = rates(100, lr_schedule="one-cycle", lr_schedule_steps=100)
    assert ours == pytest.approx(
        theirs(100, lambda adam: torch.optim.lr_scheduler.OneCycleLR(
            adam, max_lr=0.01, total_steps=100, cycle_momentum=False)), rel=1e-9)  # fmt: skip


def test_cosine_equals_diffusers_after_the_warm_up():
    ours = rates(100, lr_schedule="cosine", lr_schedule_steps=100, warmup_steps=10)
    expected = theirs(100, lambda adam: get_cosine_schedule_with_warmup(adam, 10, 100))
    assert ours[10:] == pytest.approx(expected[10:], rel=1e-9)
    assert ours[:10] == pytest.approx([0.001 * count for count in range(1, 11)])


def test_a_constant_rate_is_constant_after_the_warm_up():
    assert rates(6, warmup_steps=4) == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_a_very_short_cycle_has_finite_rates(length):
    found = rates(length, lr_schedule="one-cycle", lr_schedule_steps=length)
    assert all(math.isfinite(rate) and 0 < rate <= 0.01 for rate in found)


def parameter(values=(1.0, -2.0, 3.0)) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(values))


def updated(gradients: list[list[float]], **train) -> torch.Tensor:
    """The parameter after steps with these gradients."""
    ours = parameter()
    optimizer = Optimizer(keys(**train), [ours], CPU)
    for step, gradient in enumerate(gradients):
        ours.grad = torch.tensor(gradient) * optimizer.scale
        optimizer.step(step)
    return ours.detach()


GRADIENTS = [[0.1, -0.2, 0.05], [0.3, 0.1, -0.1], [0.2, 0.0, 0.1]]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.Adam, {}),
        (torch.optim.Adam, {"weight_decay": 0.1}),
        (torch.optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.Adam, {"eps": 1e-2, "betas": (0.5, 0.9)}),
    ],
)
def test_optimisers_equal_torchs_plain_ones(kind, options):
    theirs = parameter()
    adam = kind([theirs], **{"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.0, **options})
    for gradient in GRADIENTS:
        theirs.grad = torch.tensor(gradient)
        adam.step()
    names = {"eps": "adam_eps", "betas": "adam_betas", "weight_decay": "weight_decay"}
    train = {names[name]: value for name, value in options.items()}
    ours = updated(GRADIENTS, optimizer=kind.__name__.lower(), **train)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-7)


def test_long_gradients_are_clipped_to_the_norm_and_short_ones_are_not():
    # With this eps Adam's step is nearly proportional to the gradient, so that clipping shows.
    options = {"adam_eps": 1e3, "adam_betas": (0.0, 0.0), "learning_rate": 1e3}
    start = torch.tensor([1.0, -2.0, 3.0])
    moved = start - updated([[30.0, 0.0, 40.0]], **options)
    torch.testing.assert_close(moved, torch.tensor([0.6, 0.0, 0.8]), rtol=2e-3, atol=1e-6)
    moved = start - updated([[30.0, 0.0, 40.0]], max_grad_norm=None, **options)
    torch.testing.assert_close(moved, torch.tensor([29.1, 0.0, 38.5]), rtol=2e-3, atol=1e-6)
    moved = start - updated([[0.3, 0.0, 0.4]], **options)
    torch.testing.assert_close(moved, torch.tensor([0.3, 0.0, 0.4]), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_is_not_finite_changes_nothing(precision, bad):
    broken = [GRADIENTS[0], [bad, 0.1, 0.1], *GRADIENTS[1:]]
    ours = updated(broken, precision=precision)
    torch.testing.assert_close(ours, updated(GRADIENTS, precision=precision), rtol=1e-6, atol=0)


def test_the_loss_scale_moves_as_torchs_grad_scaler_does():
    ours, theirs = parameter([1.0]), parameter([1.0])
    optimizer = Optimizer(keys(precision="fp16"), [ours], CPU)
    scaler = torch.amp.GradScaler("cpu")
    adam = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99), fused=True)
    scales = []
    for step in range(STEPS_TO_GROW + 20):
        gradient = math.inf if step in (0, 3, 4, 10) else 1.0
        ours.grad = torch.tensor([gradient]) * optimizer.scale
        optimizer.step(step)
        scaler.scale(theirs.sum()).backward()
        theirs.grad.fill_(gradient).mul_(scaler.get_scale())
        scaler.step(adam)
        scaler.update()
        adam.zero_grad()
        scales.append(float(optimizer.scale))
        assert scales[-1] == scaler.get_scale()
    assert (min(scales), scales[-1]) == (FIRST_SCALE / 16, FIRST_SCALE / 8)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_nearly_the_same_model(tmp_path, precision):
    found = {
        name: weights_after(small_trainer(tmp_path, small_stage(precision=name)), 12)
        for name in ("fp32", precision)
    }
    assert 1e-6 < difference(found[precision], found["fp32"]) < 0.02


def test_skipped_steps_are_counted_and_left_out_of_the_loss(tmp_path):
    trainer = small_trainer(tmp_path, small_stage(precision="fp16"))
    metrics = metrics_of(trainer, tmp_path)
    before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    trainer.optimizer.scale.fill_(2.0**40)  # far above what float16 holds
    for _ in range(10):
        metrics.add(trainer.train_one_step())
    row = metrics.write_row(trainer.step)
    assert row["skipped_steps"] == 10 and math.isnan(row["loss"])
    assert difference(trainer.parameters, before) == 0.0
    trainer.optimizer.scale.fill_(1024.0)
    for _ in range(10):
        metrics.add(trainer.train_one_step())
    row = metrics.write_row(trainer.step)
    assert row["skipped_steps"] == 10 and math.isfinite(row["loss"])
    assert difference(trainer.parameters, before) > 0


def test_too_many_skipped_steps_in_a_row_stop_the_run_with_advice(tmp_path):
    trainer = small_trainer(tmp_path, small_stage(precision="fp16", max_grad_norm=None))
    metrics = metrics_of(trainer, tmp_path)
    trainer.optimizer.scale.fill_(2.0**60)
    for _ in range(20):
        metrics.add(trainer.train_one_step())
    with pytest.raises(UserError) as caught:
        metrics.gather(trainer.step)
    message = str(caught.value)
    assert "the gradients of the last 20 steps, up to step 20, were not finite" in message
    assert "learning_rate below 0.001" in message
    assert "precision bf16 or fp32" in message and "max_grad_norm 1.0" in message
