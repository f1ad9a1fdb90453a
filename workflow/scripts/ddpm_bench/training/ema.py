"""Averages of the weights over training, from which samples are drawn."""

import functools

import numpy as np
import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

Weights = dict[str, torch.Tensor]


def exponential_decay(ema_decay: float, step: int, warmup: bool = True) -> float:
    """Return the decay of the exponential moving average at step n, counted from 1.

    With warmup it is min(ema_decay, (1 + n) / (10 + n)), that of TensorFlow's
    ExponentialMovingAverage with num_updates, and of diffusers' EMAModel (0.42.1) without
    use_ema_warmup: a short memory at first, so that the random first weights are soon forgotten.
    Without, it is 0 at step 1 and ema_decay after it: the average begins as the weights after the
    first step (Ho et al. 2020, in their program; torch's AveragedModel).
    """
    if warmup:
        return min(ema_decay, (1 + step) / (10 + step))
    return ema_decay if step > 1 else 0.0


@functools.cache
def power_exponent(sigma_rel: float) -> float:
    """Return the exponent gamma of the power-function average with the relative width sigma_rel.

    Its profile is t**gamma. sigma_rel = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)) (Karras et
    al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", eq. 3 and
    appendix C), solved for gamma: the largest root of gamma^3 + 7 gamma^2 + (16 - s) gamma + (12 -
    s), s = sigma_rel**-2.
    """
    s = sigma_rel**-2
    return float(np.roots([1, 7, 16 - s, 12 - s]).real.max())


def power_decay(sigma_rel: float, step: int) -> float:
    """Return the decay of a power-function average at a step, counted from 1.

    It is (1 - 1/t)**(gamma + 1) (Karras et al. 2024, eq. 2).
    """
    return (1 - 1 / step) ** (power_exponent(sigma_rel) + 1)


class Averages:
    """The exponential average of a network's weights and its power-function averages.

    `of` holds them by width: None for the exponential one, sigma_rel for the others; float32, on
    the device and in the memory layout of the weights.
    """

    def __init__(
        self,
        weights: Weights,
        ema_decay: float,
        sigma_rels: tuple[float, ...],
        warmup: bool = True,
    ) -> None:
        self._weights, self._ema_decay, self._warmup = weights, ema_decay, warmup
        self.of: dict[float | None, Weights] = {
            width: {name: value.detach().clone() for name, value in weights.items()}
            for width in (None, *sigma_rels)
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after a step, counted from 1, to all averages."""
        current = list(self._weights.values())
        for width, average in self.of.items():
            if width is None:
                decay = exponential_decay(self._ema_decay, step, self._warmup)
            else:
                decay = power_decay(width, step)
            get_ema_multi_avg_fn(decay)(list(average.values()), current, None)
