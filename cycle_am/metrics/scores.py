"""Figures of a two-class classifier as functions of case weights, so that one line gives each its bootstrap
interval.

Labels: 0 benign, 1 malignant. Scores: p(malignant) or anything that rises with it.
"""

import numpy as np

from cycle_am.metrics.bootstrap import Statistic

THRESHOLD = 0.5


def pair_wins(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """(P,), (M,) -> (P, M): 1 where the positive scores higher, .5 on a tie, else 0."""
    step = positive[:, None] - negative[None, :]
    return (step > 0) + 0.5 * (step == 0)


def auc(scores: np.ndarray, labels: np.ndarray, pairs: np.ndarray | None = None) -> Statistic:
    """Area under the ROC curve: the share of malignant-benign pairs in which the malignant case scores
    higher.

    Args:
        scores, labels: (N,).
        pairs: (P, M) bool, which of the P malignant x M benign pairs count; all where None.
    """
    positive, negative = labels == 1, labels == 0
    wins = pair_wins(scores[positive], scores[negative])
    counted = np.ones_like(wins) if pairs is None else pairs.astype(np.float64)

    def statistic(weights: np.ndarray) -> np.ndarray:
        of_positive, of_negative = weights[:, positive], weights[:, negative]
        won = ((of_positive @ (wins * counted)) * of_negative).sum(1)
        return won / ((of_positive @ counted) * of_negative).sum(1)

    return statistic


def confusion(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray, threshold: float = THRESHOLD):
    """True positives, false positives, true negatives, false negatives, each (B,)."""
    called, real = scores >= threshold, labels == 1
    return tuple(
        weights @ cell.astype(np.float64)
        for cell in (called & real, called & ~real, ~called & ~real, ~called & real)
    )


def accuracy(tp, fp, tn, fn):
    """Share of cases called right."""
    return (tp + tn) / (tp + fp + tn + fn)


def f1(tp, fp, tn, fn):
    """Harmonic mean of sensitivity and positive predictive value."""
    return 2 * tp / (2 * tp + fp + fn)


def sensitivity(tp, fp, tn, fn):
    """Share of malignant cases that are called malignant."""
    return tp / (tp + fn)


def specificity(tp, fp, tn, fn):
    """Share of benign cases that are called benign."""
    return tn / (tn + fp)


def ppv(tp, fp, tn, fn):
    """Share of calls "malignant" that are right."""
    return tp / (tp + fp)


def npv(tp, fp, tn, fn):
    """Share of calls "benign" that are right."""
    return tn / (tn + fn)


def informedness(tp, fp, tn, fn):
    """Sensitivity + specificity - 1 (Youden's J)."""
    return sensitivity(tp, fp, tn, fn) + specificity(tp, fp, tn, fn) - 1


def markedness(tp, fp, tn, fn):
    """PPV + NPV - 1."""
    return ppv(tp, fp, tn, fn) + npv(tp, fp, tn, fn) - 1


def mcc(tp, fp, tn, fn):
    """Matthews correlation coefficient."""
    return (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))


FROM_CONFUSION = {
    rule.__name__: rule
    for rule in (accuracy, f1, sensitivity, specificity, ppv, npv, informedness, markedness, mcc)
}


def table_one(scores: np.ndarray, labels: np.ndarray) -> dict[str, Statistic]:
    """The ten statistics of the paper's Table 1 by name."""

    def from_confusion(rule):
        return lambda weights: rule(*confusion(scores, labels, weights))

    return {name: from_confusion(rule) for name, rule in FROM_CONFUSION.items()} | {
        "auc": auc(scores, labels)
    }


def brier(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance of p(malignant) from the label: 0 perfect, .25 for a constant .5."""
    return float(np.mean((scores - labels) ** 2))


def calibration_bins(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> np.ndarray:
    """(K, 3): mean p, share of malignant cases and number of cases in each non-empty bin of equal width."""
    index = np.minimum((scores * bins).astype(int), bins - 1)
    rows = [
        (scores[index == k].mean(), labels[index == k].mean(), (index == k).sum()) for k in np.unique(index)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean over cases of |mean p - share malignant| of the case's bin."""
    table = calibration_bins(scores, labels, bins)
    return float(np.average(np.abs(table[:, 0] - table[:, 1]), weights=table[:, 2]))
