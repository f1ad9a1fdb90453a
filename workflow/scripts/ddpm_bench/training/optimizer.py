"""Learning rate, optimiser and loss scaling: one step from gradients to weights.

Nothing here waits for the device: it is decided there if a step is skipped.
"""

import math
from collections.abc import Iterable

import torch

from ddpm_bench.config.training import Optimisation

# Of torch's OneCycleLR: the share of the cycle that rises, and the ratios of its ends.
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 25.0, 1e4
# Of dynamic loss scaling, as torch's GradScaler has them.
FIRST_SCALE, SCALE_STEP, STEPS_TO_GROW = 2.0**16, 2.0, 2000


def learning_rate(keys: Optimisation, step: int) -> float:
    """Return the learning rate of the step after `step` steps, a pure function of the two.

    cosine: Loshchilov & Hutter 2017, eq. 5 without restarts; one-cycle: Smith & Topin 2018 with
    cosine annealing and constant betas, as torch's OneCycleLR.
    """
    highest, length = keys.learning_rate, keys.lr_schedule_steps or 0
    if keys.lr_schedule == "one-cycle":
        rise = max(ONE_CYCLE_RISE * length - 1, 0)
        lowest = highest / ONE_CYCLE_START
        if step < rise:
            return _annealed(lowest, highest, step / rise)
        part = (step - rise) / (length - 1 - rise) if length - 1 > rise else 1.0
        return _annealed(highest, lowest / ONE_CYCLE_END, min(part, 1.0))
    if step < keys.warmup_steps:
        return highest * (step + 1) / keys.warmup_steps
    if keys.lr_schedule == "cosine":
        return _annealed(highest, 0.0, (step - keys.warmup_steps) / (length - keys.warmup_steps))
    return highest


def _annealed(start: float, end: float, part: float) -> float:
    """Return the value at a part, 0 to 1, of the way from start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def next_scale(
    scale: torch.Tensor, good_steps: torch.Tensor, skipped: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss scale after a step, and the number of steps since it last changed.

    Micikevicius et al. 2018. All are float32 scalars on the device; skipped: bool.
    """
    good = torch.where(skipped, 0.0, good_steps + 1)
    grows = good >= STEPS_TO_GROW
    factor = torch.where(skipped, 1 / SCALE_STEP, torch.where(grows, SCALE_STEP, 1.0))
    return scale * factor, torch.where(grows, 0.0, good)


class Optimizer:
    """Adam or AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019) with clipping and loss scaling.

    A step whose gradients are not all finite changes no weight and no moment. `scale` is what the
    loss is multiplied with under fp16 (Micikevicius et al. 2018), 1 otherwise: a float32 scalar on
    the device; it halves at each skipped step and doubles after 2,000 good ones.
    """

    def __init__(
        self, keys: Optimisation, parameters: Iterable[torch.nn.Parameter], device: torch.device
    ) -> None:
        self._keys = keys
        self._parameters = list(parameters)
        kind = torch.optim.Adam if keys.optimizer == "adam" else torch.optim.AdamW
        self.adam = kind(
            self._parameters,
            lr=keys.learning_rate,
            betas=keys.adam_betas,
            eps=keys.adam_eps,
            weight_decay=keys.weight_decay,
            fused=True,
        )
        self._scales = keys.precision == "fp16"
        self.scale = torch.tensor(FIRST_SCALE if self._scales else 1.0, device=device)
        self.good_steps = torch.zeros((), device=device)  # since the scale last changed

    @torch.no_grad()
    def step(self, step: int) -> torch.Tensor:
        """Update the weights with the gradients of `scale` times the loss, and drop these.

        step: the number of steps before. Returns the norm of the gradients before clipping, a
        float32 scalar on the device; it is not finite where the step was skipped.
        """
        gradients = [item.grad for item in self._parameters if item.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) / self.scale
        skipped = ~torch.isfinite(norm)
        # The fused kernel divides by grad_scale and leaves all as it is where found_inf is 1.
        too_long = 1.0 if self._keys.max_grad_norm is None else norm / self._keys.max_grad_norm
        self.adam.grad_scale = self.scale * torch.as_tensor(too_long).clamp(min=1.0)
        self.adam.found_inf = skipped.float()
        self.adam.param_groups[0]["lr"] = learning_rate(self._keys, step)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        if self._scales:
            self.scale, self.good_steps = next_scale(self.scale, self.good_steps, skipped)
        return norm

    def moments(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """Return exp_avg and exp_avg_sq of a parameter, by name; zeros before the first step."""
        state = self.adam.state[parameter]
        names = ("exp_avg", "exp_avg_sq")
        return {name: state[name] if state else torch.zeros_like(parameter) for name in names}

    def restore(
        self, parameter: torch.nn.Parameter, moments: dict[str, torch.Tensor], steps: int
    ) -> None:
        """Set a parameter's moments to those after `steps` steps that were not skipped."""
        # In the parameter's own memory layout, which the fused kernel relies on.
        laid_out = {
            name: torch.empty_like(parameter).copy_(value) for name, value in moments.items()
        }
        count = torch.tensor(float(steps), device=parameter.device)
        self.adam.state[parameter] = {"step": count, **laid_out}
