"""Percentile confidence intervals from a bootstrap over patients.

Cases of one patient are not independent, so patients are drawn, not cases. A resample is a row of weights:
how often each case takes part. A statistic is a function of such rows, ``(B, N) -> (B,)``, NaN where it is
undefined (a resample without a malignant case has no sensitivity); undefined resamples are dropped.
Differences of two statistics on the same rows are paired.
"""

from collections.abc import Callable

import numpy as np

from cycle_am.estimate import Estimate, undefined

RESAMPLES = 2000
LEVEL = 0.95

Statistic = Callable[[np.ndarray], np.ndarray]


def patient_weights(patients: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draw as many patients as there are, with replacement: (N,) ids -> (resamples, N) float64 counts per
    case."""
    unique, index = np.unique(np.asarray(patients), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(
        len(unique), np.full(len(unique), 1 / len(unique)), size=resamples
    )
    return draws[:, index].astype(np.float64)


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval of the defined values; (NaN, NaN) where fewer than half of them are defined."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < len(values) / 2:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    statistic: Statistic,
    patients: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    n: int | None = None,
) -> Estimate:
    """`statistic` of all cases and its percentile interval over resampled patients; one patient alone gives none.

    Args:
        statistic: (B, N) weights -> (B,) values.
        patients: (N,) patient of each case.
        n: what to report as `n`; the number of cases where None.
    """
    count = len(patients)
    if count == 0:
        return undefined()
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(np.ones((1, count)))[0])
        resampled = statistic(patient_weights(patients, resamples, seed))
    low, high = interval(resampled, level) if len(np.unique(patients)) > 1 else (float("nan"), float("nan"))
    return Estimate(value=value, ci_low=low, ci_high=high, n=count if n is None else n)


def difference(first: Statistic, second: Statistic) -> Statistic:
    """Paired difference: both statistics see the same resampled patients."""
    return lambda weights: first(weights) - second(weights)


def mean(values: np.ndarray) -> Statistic:
    """Mean over the cases whose value is known: (N,) -> statistic. NaN marks unknown."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    return lambda weights: (weights @ filled) / (weights @ known)


def mean_figure(values: np.ndarray, patients: np.ndarray, **options) -> Estimate:
    """Mean with its interval over the cases whose value is known (not NaN)."""
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    return bootstrap(mean(values[known]), np.asarray(patients)[known], **options)
