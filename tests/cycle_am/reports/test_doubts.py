"""What is said where a classifier's answers look misunderstood, and that nothing is said where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from cycle_am.reports.doubts import doubts

LABEL = np.arange(40) % 2
GOOD = np.clip(0.5 + 0.4 * (2 * LABEL - 1) + 0.3 * np.sin(np.arange(40) * 7.0), 0, 1)


def test_nothing_is_said_of_a_good_classifier_or_of_what_cannot_be_told():
    assert doubts(GOOD, LABEL) == []
    assert doubts(GOOD, np.full(40, -1)) == []
    assert doubts(np.full(40, 0.9), np.ones(40, int)) == []  # all are malignant
    assert doubts(np.full(7, 0.9), np.full(7, -1)) == []  # a few may be
    assert doubts(np.array([0.3]), np.array([1])) == []
    assert doubts(np.zeros(0), np.zeros(0, int)) == []


def test_swapped_classes_are_told_by_the_auc():
    (said,) = doubts(1 - GOOD, LABEL, "The judge")
    assert said.startswith("The judge has an AUC of 0.0")
    assert "below 0.5" in said
    assert "classes swapped" in said
    assert "chance" not in said
    (said,) = doubts(np.array([0.4, 0.6, 0.3, 0.7]), np.array([1, 0, 0, 1]) * [1, 1, 0, 0])
    assert "AUC of 0.333" in said
    assert said.endswith("With so few cases it may be chance.")


def test_a_sigmoid_of_a_probability_calls_every_case_malignant():
    squeezed = 1 / (1 + np.exp(-LABEL.astype(float)))
    one, other = doubts(squeezed, LABEL)
    assert one == "The classifier calls every one of 40 cases malignant (p from 0.500 to 0.731)."
    assert "0.500 of 40 cases right at p ≥ 0.5, and would 1.000 of them at p ≥ 0.731" in other
    assert "logits" in other
    assert doubts(squeezed - 0.5, np.full(40, -1)) == [
        "The classifier calls every one of 40 cases benign (p from 0.000 to 0.231)."
    ]


def test_another_threshold_must_gain_in_both_classes_and_in_all():
    """A rare class, weighted: none called would be more of all. Unweighted: a lower threshold, more of each class."""
    label = (np.arange(200) % 10 == 0).astype(int)
    benign = np.linspace(0.1, 0.8, 200)
    weighted = np.where(label, 0.6, benign)
    assert np.mean((weighted >= 0.5) == label) < 0.9 - 0.26
    assert doubts(weighted, label) == []
    calibrated = np.where(label, np.linspace(0.2, 0.55, 200), 0.4 * benign)
    sensitivity = np.mean(calibrated[label == 1] >= 0.5)
    assert sensitivity < 0.2
    assert doubts(calibrated, label) == []


@pytest.mark.parametrize("count", [10, 30, 100, 300])
def test_a_calibrated_classifier_is_hardly_ever_doubted(count):
    draw, said = np.random.default_rng(count), 0
    for _ in range(300):
        p = draw.beta(1, 1, count)
        said += bool(doubts(p, (draw.random(count) < p).astype(int)))
    assert said / 300 < (0.05 if count == 10 else 0.01)


def test_answers_that_are_no_numbers_are_counted():
    p = np.where(np.arange(40) < 3, np.nan, GOOD)
    assert doubts(p, LABEL) == ["The classifier gives no number for 3 of 40 cases."]
