"""Domain transfer (sec. 4.1): does a classifier change its mind on G-(x) and G+(x) as it should?"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from cycle_am.estimate import Estimate, plain, undefined
from cycle_am.metrics.bootstrap import mean_figure
from cycle_am.metrics.inference import probabilities


@dataclass(frozen=True)
class Transfer:
    """p(malignant) of one classifier, each (N,), on the original x, on G-(x) and on G+(x)."""

    x: np.ndarray
    neg: np.ndarray
    pos: np.ndarray


def transfer(classifier, x: Tensor, x_neg: Tensor, x_pos: Tensor) -> Transfer:
    """Read one classifier on originals and both transfers, each (N, 1, H, W) in [0, 1]."""
    return Transfer(*(probabilities(classifier, images) for images in (x, x_neg, x_pos)))


def paired_t(first: np.ndarray, second: np.ndarray) -> tuple[Estimate, Estimate]:
    """Two-sided paired t-test of `first` - `second` with n - 1 degrees of freedom: t and p as figures.

    Undefined for fewer than two cases or where all differences are equal.
    """
    n = len(first)
    if n < 2 or np.ptp(first - second) == 0:
        return undefined(n), undefined(n)
    test = stats.ttest_rel(first, second)
    return plain(test.statistic, n), plain(test.pvalue, n)


def transfer_figures(result: Transfer, patients: np.ndarray, **options) -> dict[str, Estimate]:
    """Means on x, G-(x), G+(x) with intervals, and the tests of G+(x) and G-(x) against x, by the names of
    metrics.json."""
    means = {name: mean_figure(getattr(result, name), patients, **options) for name in ("x", "neg", "pos")}
    t_pos, p_pos = paired_t(result.pos, result.x)
    t_neg, p_neg = paired_t(result.neg, result.x)
    return means | {"t_pos": t_pos, "p_pos": p_pos, "t_neg": t_neg, "p_neg": p_neg}
