"""Power and false positives of a reader study's tests (`analysis.difference`), measured on simulated studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.proportion import proportion_confint

from cycle_am.estimate import Estimate
from cycle_am.metrics.paired import holm
from cycle_am.progress import Progress
from cycle_am.reader_study.analysis.difference import Difference, over_both, over_readers
from cycle_am.reader_study.planning.readers import Model, Panel, balanced, ratings

CHUNK = 100


TESTS: Mapping[str, Callable[[np.ndarray], Difference]] = {"readers": over_readers, "both": over_both}


def simulated(model: Model, readers: int, cases: int, studies: int, seed: int) -> Iterator[np.ndarray]:
    """Ratings (s, R, C, M, K) of `studies` studies, in parts; the same seed gives the same numbers."""
    rng = np.random.default_rng(seed)
    panel, labels = Panel.of(readers), balanced(cases)
    for start in range(0, studies, CHUNK):
        yield ratings(model, rng, min(CHUNK, studies - start), panel, labels)


def power_table(
    model: Model,
    reference: str,
    rivals: Sequence[str],
    readers: Sequence[int],
    cases: Sequence[int],
    *,
    alpha: float = 0.05,
    wanted: float = 0.8,
    studies: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Power for every number of readers and cases, on the same simulated studies: a smaller one is part of a larger.

    Power is the share of studies that find the reference better than *every* rival, p < alpha two-sided; with several
    rivals p is corrected after Holm.

    Args:
        model: of one criterion.
        readers, cases: two or more each.
        progress: a bar that moves by one for every simulated study.

    Returns:
        One row a test (TESTS), number of cases and number of readers: `power`, its 95 % Wilson interval `low` to
        `high`, and `detectable`: the difference to the first rival, in points, that is found with the `wanted` power.
    """
    first, others = model.methods.index(reference), [model.methods.index(rival) for rival in rivals]
    designs = [(test, c, r) for test in TESTS for c in cases for r in readers]
    estimates: dict[tuple, list[list[Difference]]] = {design: [] for design in designs}
    for part in simulated(model, max(readers), max(cases), studies, seed):
        differences = [part[..., first, 0] - part[..., other, 0] for other in others]
        for test, c, r in designs:
            estimates[test, c, r].append([TESTS[test](difference[:, :r, :c]) for difference in differences])
        if progress is not None:
            progress.update(len(part))
    rows = []
    for (test, c, r), parts in estimates.items():
        variance = np.mean([part[0].variance.mean() for part in parts])
        freedom = np.mean([np.median(part[0].freedom) for part in parts])
        power = share(sum(int(_all_found(part, alpha).sum()) for part in parts), studies)
        rows.append(
            {
                "test": test,
                "cases": c,
                "readers": r,
                "power": power["value"],
                "low": power["ci_low"],
                "high": power["ci_high"],
                "detectable": detectable(variance, freedom, alpha, wanted),
            }
        )
    return pd.DataFrame(rows)


def share(successes: int, studies: int) -> Estimate:
    """A share of simulated studies with its 95 % Wilson interval."""
    low, high = proportion_confint(successes, studies, alpha=0.05, method="wilson")
    return Estimate(value=successes / studies, ci_low=float(low), ci_high=float(high), n=studies)


def detectable(variance: float, freedom: float, alpha: float = 0.05, wanted: float = 0.8) -> float:
    """The difference that a two-sided t-test finds, in its direction, with the `wanted` power (noncentral t).

    Args:
        variance, freedom: of the estimated difference.
    """
    if variance == 0:
        return 0.0
    critical = stats.t.isf(alpha / 2, freedom)
    errors = brentq(lambda delta: stats.nct.sf(critical, freedom, delta) - wanted, 0, 100)
    return float(errors * np.sqrt(variance))


def fewest_readers(table: pd.DataFrame, wanted: float) -> dict[int, int | None]:
    """Number of cases -> fewest readers from which on the power stays at `wanted` or above; None where none do.

    Args:
        table: rows of one test of :func:`power_table`.
    """
    fewest = {}
    for cases, rows in table.sort_values("readers").groupby("cases"):
        enough = rows["power"].to_numpy()[::-1] >= wanted
        reaching = rows["readers"].to_numpy()[::-1][np.cumprod(enough).astype(bool)]
        fewest[int(cases)] = int(reaching[-1]) if len(reaching) else None
    return fewest


def alike(model: Model, on_every_lesion: bool) -> Model:
    """The same readers and lesions, and methods without a difference: on every lesion, or in the mean over lesions."""
    sd = {**model.sd, "item": np.zeros_like(model.sd["item"])} if on_every_lesion else model.sd
    means = np.broadcast_to(model.means.mean(0), model.means.shape)
    return replace(model, means=means, sd=sd, label=0.0)


def p_values(ratings: np.ndarray) -> dict[str, np.ndarray]:
    """p (S,) of the tests in use, of ratings (S, R, C, M): the first two methods paired, or all methods (Friedman)."""
    studies, readers, _, methods = ratings.shape
    difference = ratings[..., 0] - ratings[..., 1]
    over = over_readers(difference)
    answers = ratings.reshape(studies, -1, methods)
    with np.errstate(invalid="ignore"):
        return {
            "readers and lesions both random": over_both(difference).p,
            "paired t over readers, t(N − 1)": over.p,
            "paired t over readers, as t(N − 2)": 2 * stats.t.sf(np.abs(over.t), readers - 2),
            "Wilcoxon over readers": stats.wilcoxon(difference.mean(2), axis=1, method="exact").pvalue,
            "Friedman over readers": _friedman(ratings.mean(2)),
            "paired t over lesions": over_readers(difference.swapaxes(1, 2)).p,
            "paired t over all answers": over_readers(difference.reshape(studies, -1, 1)).p,
            "Friedman over all answers": _friedman(answers),
        }


def false_positives(
    model: Model,
    readers: int,
    cases: int,
    *,
    alpha: float = 0.05,
    studies: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """How often each test of :func:`p_values` finds a difference where there is none.

    Returns:
        One row a test and null hypothesis (`alike`: "every lesion" or "mean over lesions"): `rate` with its 95 %
        Wilson interval `low` to `high`.
    """
    rows = []
    for name in ("every lesion", "mean over lesions"):
        null, rejected = alike(model, name == "every lesion"), Counter()
        for part in simulated(null, readers, cases, studies, seed):
            rejected.update({test: int((p < alpha).sum()) for test, p in p_values(part[..., 0]).items()})
            if progress is not None:
                progress.update(len(part))
        for test, count in rejected.items():
            rate = share(count, studies)
            rows.append(
                {
                    "alike": name,
                    "test": test,
                    "rate": rate["value"],
                    "low": rate["ci_low"],
                    "high": rate["ci_high"],
                }
            )
    return pd.DataFrame(rows)


def _friedman(blocks: np.ndarray) -> np.ndarray:
    """p (S,) of Friedman's test of blocks (S, B, M)."""
    return stats.friedmanchisquare(*np.moveaxis(blocks, 2, 0), axis=1).pvalue


def _all_found(estimates: Sequence[Difference], alpha: float) -> np.ndarray:
    """(S,) whether every difference is found, in the right direction."""
    p = np.apply_along_axis(holm, -1, np.stack([estimate.p for estimate in estimates], -1))
    better = np.stack([estimate.t > 0 for estimate in estimates], -1)
    return (better & (p < alpha)).all(-1)
