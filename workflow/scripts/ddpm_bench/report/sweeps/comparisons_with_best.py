"""Multiple comparisons with the best: the settings of a sweep that may be the best one.

The comparison with the setting that came out best must allow for its selection: of many equal ones,
the best mean is far from most others by chance. Hsu 1984, "Constrained Simultaneous Confidence
Intervals for Multiple Comparisons with the Best", and 1996, "Multiple Comparisons", section 4.2:
a setting is not the best if the others, with it as the control, exceed it by Dunnett's one-sided
test. So the best setting is called worse in at most 5% of sweeps, and so is each equal one.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.special import ndtr

# Nodes and weights of the integrals over a probability and over a normal variable: p values are
# exact to 1e-4.
UNIFORM, UNIFORM_WEIGHTS = np.polynomial.legendre.leggauss(64)
NORMAL, NORMAL_WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


def chances_of_the_best(groups: Sequence[np.ndarray], lower_is_better: bool) -> list[float | None]:
    """Return the p value of each setting's being the best, or as good as the best.

    groups: the values of each setting, [n] each; normal, with one variance for all settings. None
    for all settings where no setting has two values. Equal to the least p value of scipy's
    `dunnett` with the setting as the control, whose random integration takes a second for twenty.
    """
    counts = np.array([len(values) for values in groups])
    freedom = counts.sum() - len(groups)
    if freedom < 1:
        return [None] * len(groups)
    means = np.array([values.mean() for values in groups]) * (1 if lower_is_better else -1)
    squares = sum(((values - values.mean()) ** 2).sum() for values in groups)
    std = float(np.sqrt(squares / freedom))
    found: list[float | None] = []
    for index in range(len(groups)):
        behind, others = np.delete(means[index] - means, index), np.delete(counts, index)
        if len(others) == 0 or behind.max() <= 0:
            found.append(1.0)
        elif std == 0:  # without noise, by which the test divides
            found.append(0.0)
        else:
            errors = std * np.sqrt(1 / counts[index] + 1 / others)
            found.append(_dunnett((behind / errors).max(), counts[index], others, freedom))
    return found


def _dunnett(statistic: float, control: int, others: np.ndarray, freedom: int) -> float:
    """Return P(max of the t statistics of groups against a control > statistic).

    Dunnett 1955, "A Multiple Comparison Procedure for Comparing Several Treatments with a
    Control": the mean of the control and the pooled standard deviation are integrated out, given
    which the groups are independent. control, others: numbers of values.
    """
    spread = np.sqrt(stats.chi2.ppf((UNIFORM + 1) / 2, freedom) / freedom)[:, None]
    below = np.ones((len(UNIFORM), len(NORMAL)))
    for count, times in zip(*np.unique(others, return_counts=True), strict=True):
        error = np.sqrt(1 / control + 1 / count)
        place = statistic * spread * error + NORMAL / np.sqrt(control)
        below *= ndtr(np.sqrt(count) * place) ** times
    inside = (
        UNIFORM_WEIGHTS @ below @ NORMAL_WEIGHTS / (UNIFORM_WEIGHTS.sum() * NORMAL_WEIGHTS.sum())
    )
    return float(np.clip(1 - inside, 0, 1))
