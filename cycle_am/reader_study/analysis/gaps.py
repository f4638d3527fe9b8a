"""Answers that were asked for and not given: how many of each method and reader, and whether chance explains which."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from cycle_am.metrics.paired import holm
from cycle_am.reader_study.analysis.inference import friedman
from cycle_am.reader_study.analysis.ratings import Ratings
from cycle_am.reader_study.analysis.tables import reader_means

NAN = float("nan")
ALPHA = 0.05
FEWEST_CASES = 6  # below, no correlation over lesions means anything


@dataclass(frozen=True)
class Gaps:
    """What is missing, and two tests that it is missing at random, corrected together after Holm.

    counts: columns of (`method` or `reader`), id, asked, missing; all criteria and repeats together.
    p_method: that every method lacks as many answers within a question (Cochran's Q; two methods: the sign test).
    rho, p_case: Spearman's correlation of a lesion's missing answers with its mean rating, readers, methods and
    criteria taken out. NaN where nothing is missing or too little is known.
    """

    counts: pd.DataFrame
    p_method: float
    rho: float
    p_case: float

    @property
    def by_method(self) -> bool:
        """Whether chance does not explain which methods lack answers."""
        return self.p_method < ALPHA

    @property
    def by_case(self) -> bool:
        """Whether chance does not explain which lesions lack answers."""
        return self.p_case < ALPHA

    def of(self, kind: str) -> pd.DataFrame:
        """The counts of methods or of readers."""
        return self.counts[self.counts["of"] == kind]


def gaps(ratings: Ratings) -> Gaps:
    """Count the missing answers and test them."""
    lacking = np.isnan(ratings.scores).sum(3)
    rho, p_case = _cases(ratings.scores)
    p_method, p_case = holm(np.array([_methods(lacking.reshape(-1, lacking.shape[2])), p_case]))
    readers = [*ratings.readers, *ratings.silent]
    counts = pd.concat(
        [_counts(ratings, "method", list(ratings.methods)), _counts(ratings, "reader", readers)]
    )
    return Gaps(counts.reset_index(drop=True), float(p_method), rho, float(p_case))


def _counts(ratings: Ratings, kind: str, names: list[str]) -> pd.DataFrame:
    given = ratings.table()[kind].value_counts().reindex(names, fill_value=0)
    missing = ratings.missing[kind].value_counts().reindex(names, fill_value=0)
    return pd.DataFrame(
        {"of": kind, "id": names, "asked": (given + missing).to_numpy(), "missing": missing.to_numpy()}
    )


def _methods(lacking: np.ndarray) -> float:
    """p of missing answers (questions, methods) that every method lacks as many."""
    if lacking.shape[1] > 2:
        return friedman(lacking.astype(float))["p"]
    first, second = (int((lacking[:, i] > lacking[:, 1 - i]).sum()) for i in (0, 1))
    return float(stats.binomtest(first, first + second).pvalue) if first + second else NAN


def _cases(scores: np.ndarray) -> tuple[float, float]:
    """Spearman's rho and p, over lesions, of the share of missing answers with the mean of those that are there."""
    share = np.isnan(scores).mean((0, 2, 3))
    known = share < 1
    if known.sum() < FEWEST_CASES or np.ptp(share[known]) == 0:
        return NAN, NAN
    left = (scores - reader_means(scores)[:, None])[:, known]
    correlation = stats.spearmanr(share[known], np.nanmean(left, axis=(0, 2, 3)))
    return float(correlation.statistic), float(correlation.pvalue)
