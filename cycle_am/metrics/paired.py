"""Methods against a reference on the same cases: differences with intervals, tests, correction, ranks.

The unit is the patient. The test is a sign-flip permutation test at patient level: under the null hypothesis
neither method is better, so each patient's summed difference could as well have the other sign. Cases of one
patient keep one sign together; a Wilcoxon test over cases would count them as independent, and over patients it
would test another quantity than the mean that is reported.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from cycle_am import measures
from cycle_am.estimate import Estimate
from cycle_am.metrics.bootstrap import mean_figure

#: Holm multiplies the smallest p by the number of comparisons, and p cannot fall below 1 / (FLIPS + 1): 1000
#: comparisons can still reach .05 with these.
FLIPS = 50_000
EXACT_UP_TO = 15  # patients: all 2^15 sign patterns are fewer than FLIPS
CHUNK = 5000
#: Metrics, by the beginnings of their names, of which less is better; more is better for the others.

Table = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Comparison:
    """One metric of one method. `difference` is method minus reference over the cases that both know; `p` of the
    test that it is 0, `p_holm` corrected over all methods and metrics of the table; NaN for the reference
    itself. `rank` of the method's mean, 1 best."""

    method: str
    metric: str
    mean: Estimate
    difference: Estimate
    p: float
    p_holm: float
    rank: float


def compare(
    table: Table,
    patients: np.ndarray,
    reference: str = "cycle_am",
    *,
    seed: int = 0,
    flips: int = FLIPS,
    lower_is_better: Callable[[str], bool] | None = None,
    **options,
) -> list[Comparison]:
    """Compare each method with the reference in each metric.

    Args:
        table: method -> metric -> (N,) values of the cases, NaN unknown; every method has the reference's metrics.
        patients: (N,) patient of each case.
        options: of `cycle_am.metrics.bootstrap.bootstrap`.

    Raises:
        KeyError: if the reference, or one of its metrics for a method, is missing.
    """
    metrics = list(table[reference])
    keys = [(method, metric) for method in table for metric in metrics]
    differences = np.stack([table[method][metric] - table[reference][metric] for method, metric in keys], 1)
    p = sign_flip_test(differences, patients, flips, seed)
    p[[method == reference for method, _ in keys]] = np.nan
    corrected = holm(p)
    means = {key: mean_figure(table[key[0]][key[1]], patients, seed=seed, **options) for key in keys}
    ranks = method_ranks({m: {k: means[m, k]["value"] for k in metrics} for m in table}, lower_is_better)
    return [
        Comparison(
            method,
            metric,
            means[method, metric],
            mean_figure(differences[:, i], patients, seed=seed, **options),
            float(p[i]),
            float(corrected[i]),
            ranks[method][metric],
        )
        for i, (method, metric) in enumerate(keys)
    ]


def sign_flip_test(
    differences: np.ndarray, patients: np.ndarray, flips: int = FLIPS, seed: int = 0
) -> np.ndarray:
    """Two-sided p (Q,) of Q paired differences (N, Q) with mean 0, NaN left out; patients (N,) are flipped.

    Exact, all sign patterns, up to `EXACT_UP_TO` patients; else `flips` random ones, the observed one counted among
    them, so that p is never 0. NaN where no difference is known; 1 where all are 0.
    """
    differences = np.asarray(differences, dtype=np.float64)
    known = np.isfinite(differences)
    unique, index = np.unique(np.asarray(patients), return_inverse=True)
    totals = np.zeros((len(unique), differences.shape[1]))
    np.add.at(totals, index, np.where(known, differences, 0.0))
    observed = np.abs(totals.sum(0)) - 1e-9 * np.abs(totals).sum(0)  # rounding must not break ties
    as_extreme, count = np.zeros(len(observed)), 0
    for signs in _sign_patterns(len(unique), flips, seed):
        as_extreme += (np.abs(signs @ totals) >= observed).sum(0)
        count += len(signs)
    extra = 0 if len(unique) <= EXACT_UP_TO else 1
    return np.where(known.any(0), (as_extreme + extra) / (count + extra), np.nan)


def _sign_patterns(patients: int, flips: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of +1 and -1 (B, patients), in parts."""
    if patients <= EXACT_UP_TO:
        bits = np.arange(2**patients)[:, None] >> np.arange(patients) & 1
        yield bits * 2.0 - 1
        return
    rng = np.random.default_rng(seed)
    for start in range(0, flips, CHUNK):
        yield rng.integers(0, 2, (min(CHUNK, flips - start), patients)) * 2.0 - 1


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction (1979) of (Q,) p values; NaN stay NaN and do not count.

    A simulated study corrects thousands of times; statsmodels' `multipletests` collects garbage at each call, 0.1 s.
    """
    p = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(p))
    order = known[p[known].argsort(kind="stable")]
    corrected = np.full(p.shape, np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return corrected


def method_ranks(
    values: Mapping[str, Mapping[str, float]], lower_is_better: Callable[[str], bool] | None = None
) -> dict[str, dict[str, float]]:
    """Method -> metric -> rank among the methods, 1 best, ties at their mean; NaN where the value is."""
    lower = lower_is_better or measures.lower_is_better
    methods = list(values)
    ranks: dict[str, dict[str, float]] = {method: {} for method in methods}
    for metric in values[methods[0]]:
        row = np.array([values[method][metric] for method in methods], dtype=np.float64)
        placed = rankdata(row if lower(metric) else -row, nan_policy="omit")
        for method, rank in zip(methods, placed, strict=True):
            ranks[method][metric] = float(rank)
    return ranks
