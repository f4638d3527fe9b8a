"""Readers like the paper's: a model whose simulated studies show the published figures in the mean.

What fixes what (sec. 4.2; eight readers, 24 lesions, four methods):

    Table 2, raw means                         means of the methods
    t of the second best method                spread of the answers to one method
    inter-observer rho (eq. 7)                 how much of the spread all readers share
    correlations of the criteria               their correlation within each part of a rating
    Table 3 narrower than Table 2              lesion, about 7 % of the spread's variance
    t larger than the CIs of Table 2 imply     severity, about 3 %

How the published t is read here. All bounds of Table 2 are multiples of 1/8 (those of Table 4 of 1/16, for tied
ranks), as means of *eight single answers* are; means of eight readers' means over 24 lesions would be multiples of
1/192. The width of an interval then gives the spread of single answers, and this spread with n = 8 gives the published
t within 12 %. So t is calibrated as mean / (SD of paired single answers / sqrt(8)). That is an inference: the paper
does not say how t was computed. A t over the readers' means does not go together with the published rho in this model:
see :func:`as_stated`.

What the paper does not tell is how much of a reader's own part is a lasting preference for a method, which does not
average out over lesions. It is an assumption here (`preference`) and decides what more lesions are worth.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.optimize import brentq

from cycle_am.reader_study import paper
from cycle_am.reader_study.planning.readers import Model, Panel, balanced, ratings

PREFERENCE = 0.5
CASE, SEVERITY = 0.07, 0.03
STUDIES, STEPS = 300, 12
METHODS, CRITERIA = tuple(paper.METHODS), tuple(paper.CRITERIA)
SECOND_BEST = [METHODS.index(test.method) for test in paper.TESTS]
RAW = np.array([[cell.mean for cell in row.values()] for row in paper.RAW.values()])
T = np.array([test.t for test in paper.TESTS])
RHO = np.array(list(paper.INTER_OBSERVER_RHO.values()))


@cache
def published(preference: float = PREFERENCE) -> Model:
    """The model of the paper's readers.

    Found by fixed-point steps on simulated studies of the paper's design, always with the same random numbers: each
    parameter moves by what its figure lacks. Which share of a reader's own variance is `preference`, 0 to 1, for
    methods is assumed; the rest is half opinion on the item, half noise.
    """
    spread, shared, correlation = np.full(3, 2.5), np.full(3, 0.4), criteria_correlation()
    for _ in range(STEPS):
        model = _model(spread, shared, correlation, preference)
        drawn = _paper_design(model)
        spread = spread * answers_t(drawn).mean(0) / T
        shared = np.clip(shared + RHO - inter_observer(drawn).mean(0), CASE, 1 - SEVERITY)
        step = criteria_correlation() - correlations(drawn).mean(0)
        correlation = np.clip(correlation + step, -0.99, 0.99)
        np.fill_diagonal(correlation, 1)
    return _model(spread, shared, correlation, preference)


@cache
def as_stated() -> Model:
    """Preferences so strong that the published t comes out over the *readers' means*, as its t(N - 2) has it.

    The worst case for planning. Its inter-observer correlation falls far below the published one.
    """
    model = published()
    for _ in range(STEPS):
        factor = readers_t(_paper_design(model)).mean(0) / T
        model = replace(model, sd={**model.sd, "preference": model.sd["preference"] * factor}).expecting(RAW)
    return model


def expected_rho(model: Model) -> np.ndarray:
    """(K,) inter-observer rho that studies of the paper's design show in the mean."""
    return inter_observer(_paper_design(model)).mean(0)


def criteria_correlation() -> np.ndarray:
    """(3, 3) published correlations of the criteria.

    The one that is not stated follows from the general factor, whose variance is the largest eigenvalue of this matrix.
    """
    known = {frozenset(pair): r for pair, r in paper.CRITERIA_CORRELATION.items()}
    matrix = np.array([[known.get(frozenset((a, b)), np.nan) for b in CRITERIA] for a in CRITERIA])
    np.fill_diagonal(matrix, 1)
    target = len(CRITERIA) * paper.GENERAL_FACTOR_VARIANCE

    def excess(r: float) -> float:
        return np.linalg.eigvalsh(np.nan_to_num(matrix, nan=r))[-1] - target

    return np.nan_to_num(matrix, nan=brentq(excess, 0, 1))


def inter_observer(ratings: np.ndarray) -> np.ndarray:
    """(S, K) mean pairwise correlation of the readers (eq. 7), of ratings (S, R, C, M, K).

    A pair with a reader who gives one value counts as 0.
    """
    studies, readers, *_, criteria = ratings.shape
    flat = ratings.reshape(studies, readers, -1, criteria)
    flat = flat - flat.mean(2, keepdims=True)
    length = np.sqrt((flat**2).sum(2, keepdims=True))
    unit = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    own = (unit**2).sum((1, 2))
    return ((unit.sum(1) ** 2).sum(1) - own) / (readers * (readers - 1))


def correlations(ratings: np.ndarray) -> np.ndarray:
    """(S, K, K) correlations of the criteria over all answers of a study."""
    flat = ratings.reshape(len(ratings), -1, ratings.shape[-1])
    flat = flat - flat.mean(1, keepdims=True)
    products = flat.swapaxes(1, 2) @ flat
    length = np.sqrt(np.diagonal(products, axis1=1, axis2=2))
    return products / (length[:, :, None] * length[:, None])


def answers_t(ratings: np.ndarray) -> np.ndarray:
    """(S, K) t of the reference against the published second best: SD of paired single answers, n readers."""
    difference = _difference(ratings)
    sd = difference.std((1, 2), ddof=1)
    return difference.mean((1, 2)) / (sd / np.sqrt(ratings.shape[1]))


def readers_t(ratings: np.ndarray) -> np.ndarray:
    """(S, K) paired t over the readers' means, n - 1 degrees of freedom."""
    means = _difference(ratings).mean(2)
    return means.mean(1) / (means.std(1, ddof=1) / np.sqrt(ratings.shape[1]))


def _difference(ratings: np.ndarray) -> np.ndarray:
    """(S, R, C, K): the reference less the second best of each criterion."""
    criteria = np.arange(ratings.shape[-1])
    return ratings[..., METHODS.index(paper.REFERENCE), :] - ratings[..., SECOND_BEST, criteria]


def _model(spread: np.ndarray, shared: np.ndarray, correlation: np.ndarray, preference: float) -> Model:
    own = 1 - shared - SEVERITY
    share = {
        "case": np.full(3, CASE),
        "item": shared - CASE,
        "severity": np.full(3, SEVERITY),
        "preference": own * preference,
        "opinion": own * (1 - preference) / 2,
        "noise": own * (1 - preference) / 2,
    }
    sd = {part: spread * np.sqrt(value) for part, value in share.items()}
    return Model(METHODS, CRITERIA, RAW, sd, correlation, low=paper.LOW, high=paper.HIGH).expecting(RAW)


def _paper_design(model: Model) -> np.ndarray:
    panel, labels = Panel.of(paper.READERS), balanced(paper.LESIONS)
    return ratings(model, np.random.default_rng(0), STUDIES, panel, labels)
