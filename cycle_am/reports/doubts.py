"""Does a classifier answer as if something about it were misunderstood: its classes, its outputs, its images?

Told from p and labels wherever data are at hand: before generators are trained for it, and in every report.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cycle_am.metrics import scores
from cycle_am.reports.page import number
from cycle_am.task import Task

FEW = 8  # cases: fewer may all fall on one side by chance
GAIN = 0.1  # of accuracy by another threshold, beside what chance gives


def doubts(
    p: np.ndarray, label: np.ndarray, who: str = "The classifier", classes: Sequence[str] = Task.classes
) -> list[str]:
    """What speaks against a classifier's p of the second class (N,) of cases with `label` (N,) 0, 1, -1 unknown:
    sentences about `who`, none where nothing does. classes: their names."""
    unknown = int((~np.isfinite(p)).sum())
    if unknown:
        return [f"{who} gives no number for {unknown} of {len(p)} cases."]
    known = label >= 0
    some = p[known], label[known]
    found = one_sided(p, label, who, classes), swapped(*some, who, classes) or misplaced(*some, who)
    return [text for text in found if text]


def one_sided(p: np.ndarray, label: np.ndarray, who: str, classes: Sequence[str]) -> str:
    """Every case called the same, which not all of them are known to be."""
    called = p >= scores.THRESHOLD
    if len(p) < FEW or called.any() != called.all() or (label == called[0]).all():
        return ""
    side = classes[int(called[0])]
    return f"{who} calls every one of {len(p)} cases {side} (p from {number(p.min())} to {number(p.max())})."


def swapped(p: np.ndarray, label: np.ndarray, who: str, classes: Sequence[str]) -> str:
    """An AUC below .5: what ranks the wrong way round ranks."""
    second, first = (label == 1).sum(), (label == 0).sum()
    if not second or not first:
        return ""
    area = float(scores.auc(p, label)(np.ones((1, len(p))))[0])
    if round(area, 3) >= 0.5:
        return ""
    error = np.sqrt((len(p) + 1) / (12 * second * first))  # of an AUC without any knowledge (Mann-Whitney)
    chance = "" if area < 0.5 - 2 * error else " With so few cases it may be chance."
    return (
        f"{who} has an AUC of {number(area)}, below 0.5: it gives {classes[1]} cases the lower p. Are its classes "
        f"swapped (of two logits the first is {classes[0]}), or the labels (0 {classes[0]}, 1 {classes[1]})?{chance}"
    )


def misplaced(p: np.ndarray, label: np.ndarray, who: str) -> str:
    """Another threshold than .5 calls far more cases right, of each class and of all."""
    fewer = min((label == 1).sum(), (label == 0).sum())
    if not fewer:
        return ""
    right, balanced = (
        np.array(rows) for rows in zip(*(_accuracies(p, label, t) for t in np.unique(p)), strict=True)
    )
    now, now_balanced = _accuracies(p, label, scores.THRESHOLD)
    gain = np.minimum(right - now, balanced - now_balanced)
    best = int(gain.argmax())
    if gain[best] < GAIN + 1 / np.sqrt(2 * fewer):
        return ""
    return (
        f"{who} calls {number(now)} of {len(p)} cases right at p ≥ {number(scores.THRESHOLD, 1)}, and would "
        f"{number(right[best])} of them at p ≥ {number(np.unique(p)[best])}: its p is no probability. Does it give "
        "logits, as it must, and was it trained on images scaled as these are?"
    )


def _accuracies(p: np.ndarray, label: np.ndarray, threshold: float) -> tuple[float, float]:
    """Share of cases called right, and the mean of both classes' shares."""
    cells = [float(cell[0]) for cell in scores.confusion(p, label, np.ones((1, len(p))), threshold)]
    return scores.accuracy(*cells), (scores.sensitivity(*cells) + scores.specificity(*cells)) / 2
