"""Do readers agree with each other, and with themselves? Equation 7, ICC, Krippendorff's alpha, repeated items."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import krippendorff
import numpy as np
from scipy import stats

from cycle_am.metrics.bootstrap import LEVEL

NAN = float("nan")


class Agreement(NamedTuple):
    """Equation 7: mean of the defined pairwise correlations; how many pairs are in it, and how many have none."""

    rho: float
    pairs: int
    undefined: int


def inter_observer_rho(questionnaires: np.ndarray) -> Agreement:
    """Mean pairwise Pearson correlation of N readers' questionnaires (N, Q), over the answers that both gave.

    A pair has no correlation where one of the two gave the same rating throughout, or with fewer than two common
    answers: it is left out and counted.
    """
    correlations = [pearson(first, second) for first, second in combinations(questionnaires, 2)]
    defined = [r for r in correlations if np.isfinite(r)]
    return Agreement(
        float(np.mean(defined)) if defined else NAN, len(defined), len(correlations) - len(defined)
    )


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Product-moment correlation of two (Q,), over the places that both know; NaN where one does not vary."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return NAN
    return float(np.corrcoef(first[both], second[both])[0, 1])


class Icc(NamedTuple):
    """Intraclass correlations of Shrout & Fleiss (1979), two-way random, absolute agreement: ICC(2,1) of a single
    rating and ICC(2,k) of the mean of k readers, with intervals (McGraw & Wong 1996); `items` complete ones."""

    single: float
    single_low: float
    single_high: float
    average: float
    average_low: float
    average_high: float
    items: int


def icc(ratings: np.ndarray, level: float = LEVEL) -> Icc:
    """ICC(2,1) and ICC(2,k) of k readers' ratings (k, n) of n items; items with a missing rating are left out.

    NaN for fewer than two items or readers, or where nothing varies.
    """
    complete = ratings[:, np.isfinite(ratings).all(0)].T
    n, k = complete.shape
    if n < 2 or k < 2 or np.ptp(complete) == 0:
        return Icc(*[NAN] * 6, n)
    rows, columns, error = _mean_squares(complete)
    single = (rows - error) / (rows + (k - 1) * error + k * (columns - error) / n)
    average = (rows - error) / (rows + (columns - error) / n)
    low, high = _icc_limits(single, rows, columns, error, n, k, level)
    return Icc(single, low, high, average, _stepped_up(low, k), _stepped_up(high, k), n)


def _mean_squares(table: np.ndarray) -> tuple[float, float, float]:
    """Of items, of readers, and of what is left, in a two-way table (n, k) without replication."""
    n, k = table.shape
    grand, items, readers = table.mean(), table.mean(1), table.mean(0)
    rows = k * ((items - grand) ** 2).sum() / (n - 1)
    columns = n * ((readers - grand) ** 2).sum() / (k - 1)
    left = table - items[:, None] - readers[None] + grand
    return float(rows), float(columns), float((left**2).sum() / ((n - 1) * (k - 1)))


def _icc_limits(r, rows, columns, error, n, k, level) -> tuple[float, float]:
    """Interval of ICC(2,1) by McGraw & Wong (1996), table 7, case 2, agreement."""
    if error <= 0 or not r < 1:
        return NAN, NAN
    a, b = k * r / (n * (1 - r)), 1 + k * r * (n - 1) / (n * (1 - r))
    degrees = (a * columns + b * error) ** 2 / (
        (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    )
    if not degrees > 0:
        return NAN, NAN
    share = (1 + level) / 2
    lower, upper = stats.f.ppf(share, n - 1, degrees), stats.f.ppf(share, degrees, n - 1)
    both = k * columns + (k * n - k - n) * error
    low = n * (rows - lower * error) / (lower * both + n * rows)
    high = n * (upper * rows - error) / (both + n * upper * rows)
    return float(low), float(high)


def _stepped_up(single: float, k: int) -> float:
    """Spearman-Brown: reliability of the mean of k from that of one; the interval of ICC(2,k) from ICC(2,1)'s."""
    return k * single / (1 + (k - 1) * single)


def alpha(ratings: np.ndarray) -> float:
    """Krippendorff's alpha, ordinal, of readers' ratings (k, n); NaN missing. NaN where all ratings are equal or no
    item has two."""
    known = ratings[np.isfinite(ratings)]
    if len(np.unique(known)) < 2 or (np.isfinite(ratings).sum(0) < 2).all():
        return NAN
    try:
        return float(krippendorff.alpha(reliability_data=ratings, level_of_measurement="ordinal"))
    except (ValueError, ZeroDivisionError):
        return NAN


class SelfAgreement(NamedTuple):
    """How a reader's second rating of the same item meets their first: pairs, mean |difference| in points of the scale,
    share of equal ratings, quadratically weighted kappa, ICC(2,1)."""

    pairs: int
    mean_difference: float
    equal: float
    kappa: float
    icc: float


def self_agreement(first: np.ndarray, second: np.ndarray) -> SelfAgreement:
    """First and second ratings of the same items, arrays of one shape; NaN where either is missing."""
    both = np.isfinite(first) & np.isfinite(second)
    before, after = first[both], second[both]
    if not len(before):
        return SelfAgreement(0, NAN, NAN, NAN, NAN)
    difference = np.abs(before - after)
    return SelfAgreement(
        len(before),
        float(difference.mean()),
        float((difference == 0).mean()),
        weighted_kappa(before, after),
        icc(np.stack([before, after])).single,
    )


def weighted_kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa with quadratic weights: 1 less the squared differences over those expected by chance; NaN where
    neither varies."""
    expected = ((first[:, None] - second[None]) ** 2).mean()
    return float(1 - ((first - second) ** 2).mean() / expected) if expected > 0 else NAN
