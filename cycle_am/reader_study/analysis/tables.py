"""Tables 2, 3 and 4 of the paper: raw and adjusted means and mean ranks, with intervals.

Table 3 is said to hold responses "adjusted by z-normalizing over all answers for the same lesion and criterion", but
its published means are those of Table 2 less the mean of the four methods: centred, and not divided by a standard
deviation. Both adjustments stand here.

The unit of the interval is the reader, as the conclusion is on readers at large: it is that of t over the readers'
means, which keeps its level with few readers too (percentiles of a bootstrap over eight readers cover 90 %, over two
50 %, where 95 % are meant). The published bounds are another thing. All 24 of Table 2 are multiples of 1/8 and all 24
of Table 4 multiples of 1/16, as means of eight single answers (or ranks, ties at half) are, and no means over 24
lesions need be; they are as wide as the spread of single answers over the root of 8. They appear to come from drawing
eight answers of the 192, as if a study had asked each reader one question: `answers_interval`. It is given for
comparison with the paper; it is too wide for the mean of all answers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cycle_am.metrics.bootstrap import LEVEL, RESAMPLES, interval
from cycle_am.reader_study.analysis.ratings import Ratings


def centred(scores: np.ndarray) -> np.ndarray:
    """Scores (R, C, M, K) less the mean of all answers for the same case and criterion; Table 3 as published."""
    return scores - _mean(scores, (0, 2), keepdims=True)


def z_adjusted(scores: np.ndarray) -> np.ndarray:
    """Scores (R, C, M, K) z-normalised over all answers for the same case and criterion; Table 3 as described.

    The standard deviation is that of the answers themselves (divisor n); where all are equal, z is 0.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a case without any answer: NaN
        spread = np.nanstd(scores, axis=(0, 2), keepdims=True)
    return centred(scores) / np.where(spread > 0, spread, 1)


def ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each method within a question (R, C, M, K), 1 best, ties at their mean; NaN for a question with a
    missing answer, whose ranks would not compare."""
    return stats.rankdata(-scores, axis=2, nan_policy="propagate")


def matched(scores: np.ndarray) -> np.ndarray:
    """Scores (R, C, M, K) of the questions that have every method's answer, NaN elsewhere: means over them compare."""
    return np.where(np.isfinite(scores).all(2, keepdims=True), scores, np.nan)


class Scale(NamedTuple):
    """A way to look at the scores: its title, (R, C, M, K) -> (R, C, M, K), and whether less is better."""

    title: str
    of: Callable[[np.ndarray], np.ndarray]
    lower_is_better: bool = False


SCALES = {
    "raw": Scale("Raw rating (the paper's Table 2)", lambda scores: scores),
    "matched": Scale("Raw rating, complete questions", matched),
    "centred": Scale("Centred, the paper's Table 3", centred),
    "z_adjusted": Scale("z-adjusted, the paper's text", z_adjusted),
    "rank": Scale("Rank in a question (the paper's Table 4)", ranks, lower_is_better=True),
}


def scales(ratings: Ratings) -> dict[str, Scale]:
    """SCALES; `matched` only where some questions have every method's answer and others have not."""
    partial = np.isfinite(matched(ratings.scores)).any() and np.isnan(ratings.scores).any()
    return {name: scale for name, scale in SCALES.items() if partial or name != "matched"}


def fair(ratings: Ratings) -> str:
    """The scale of raw ratings whose means compare: `matched` where answers are missing, else `raw`."""
    return "matched" if "matched" in scales(ratings) else "raw"


def reader_means(values: np.ndarray) -> np.ndarray:
    """(R, C, ...) -> (R, ...): each reader's mean over the cases that they answered, NaN where there is none."""
    return _mean(values, 1)


def answers_interval(
    values: np.ndarray, size: int, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> tuple[float, float]:
    """Percentiles of the mean of `size` answers drawn with replacement from all answers, NaN left out."""
    pool = values[np.isfinite(values)]
    if not len(pool):
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(0, len(pool), (resamples, size))
    return interval(pool[draws].mean(1), level)


def t_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Interval of t for the mean of the known values (N,); NaN for fewer than two."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return float("nan"), float("nan")
    margin = stats.t.ppf((1 + level) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return float(known.mean() - margin), float(known.mean() + margin)


def means(ratings: Ratings, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """One row a scale, criterion and method: mean of the readers' means, its t interval over readers (`ci_low`,
    `ci_high`), the interval of the paper's kind (`answers_low`, `answers_high`), counts of readers and answers."""
    rows = []
    for scale, values in _scaled(ratings):
        for k, criterion in enumerate(ratings.criteria):
            for m, method in enumerate(ratings.methods):
                rows.append(
                    {"scale": scale, "criterion": criterion, "method": method}
                    | mean_row(values[:, :, m, k], resamples, seed)
                )
    return pd.DataFrame(rows)


def by_label(ratings: Ratings, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """`means` of the benign (label 0) and of the malignant cases (1) apart; empty where labels are unknown."""
    if ratings.labels is None:
        return pd.DataFrame()
    rows = []
    for scale, values in _scaled(ratings):
        for k, criterion in enumerate(ratings.criteria):
            for m, method in enumerate(ratings.methods):
                for label in np.unique(ratings.labels):
                    part = values[:, ratings.labels == label, m, k]
                    rows.append(
                        {"scale": scale, "criterion": criterion, "method": method, "label": int(label)}
                        | mean_row(part, resamples, seed)
                    )
    return pd.DataFrame(rows)


def mean_row(values: np.ndarray, resamples: int, seed: int) -> dict[str, float]:
    """Mean, both intervals and counts of one method's answers (R, C)."""
    own = reader_means(values)
    ci_low, ci_high = t_interval(own)
    low, high = answers_interval(values, len(own), resamples, seed)
    return {
        "mean": float(_mean(own, 0)),
        "ci_low": ci_low,
        "ci_high": ci_high,
        "answers_low": low,
        "answers_high": high,
        "readers": int(np.isfinite(own).sum()),
        "answers": int(np.isfinite(values).sum()),
    }


def _scaled(ratings: Ratings) -> list[tuple[str, np.ndarray]]:
    return [(name, scale.of(ratings.scores)) for name, scale in scales(ratings).items()]


def _mean(values: np.ndarray, axis: int | tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN, which is meant
        return np.nanmean(values, axis=axis, keepdims=keepdims)
