"""Table 1 against scikit-learn, plainly and on resampled cases."""

import numpy as np
import pytest
from sklearn import metrics

from cycle_am.metrics import scores

RNG = np.random.default_rng(0)
LABELS = (RNG.random(120) < 0.4).astype(int)
P = np.round(np.clip(0.3 * LABELS + RNG.normal(0.35, 0.2, 120), 0, 1), 2)  # rounded: ties
CALLED = (P >= 0.5).astype(int)


def oracle(index):
    real, p = LABELS[index], P[index]
    called = (p >= 0.5).astype(int)

    def recall(positive):
        return metrics.recall_score(real, called, pos_label=positive)

    def precision(positive):
        return metrics.precision_score(real, called, pos_label=positive)

    return {
        "accuracy": metrics.accuracy_score(real, called),
        "f1": metrics.f1_score(real, called),
        "sensitivity": recall(1),
        "specificity": recall(0),
        "ppv": precision(1),
        "npv": precision(0),
        "informedness": metrics.balanced_accuracy_score(real, called, adjusted=True),
        "markedness": precision(1) + precision(0) - 1,
        "mcc": metrics.matthews_corrcoef(real, called),
        "auc": metrics.roc_auc_score(real, p),
    }


@pytest.mark.parametrize("name", list(oracle(np.arange(120))))
def test_each_figure_equals_sklearns_on_all_and_on_resampled_cases(name):
    statistic = scores.table_one(P, LABELS)[name]
    draws = [np.arange(120)] + [np.random.default_rng(k).integers(0, 120, 120) for k in range(5)]
    weights = np.stack([np.bincount(draw, minlength=120) for draw in draws]).astype(float)
    assert statistic(weights) == pytest.approx([oracle(draw)[name] for draw in draws])


def test_one_class_is_undefined_not_wrong():
    with np.errstate(invalid="ignore"):
        assert np.isnan(scores.table_one(P, np.zeros(120, int))["sensitivity"](np.ones((1, 120))))
        assert np.isnan(scores.auc(P, np.zeros(120, int))(np.ones((1, 120))))


def test_brier_and_calibration_error():
    assert scores.brier(P, LABELS) == pytest.approx(metrics.brier_score_loss(LABELS, P))
    p, real = np.array([0.9, 0.9, 0.1, 0.1, 0.1]), np.array([1, 0, 0, 0, 1])
    expected = 2 / 5 * 0.4 + 3 / 5 * (1 / 3 - 0.1)
    assert scores.expected_calibration_error(p, real) == pytest.approx(expected)
    assert scores.calibration_bins(np.array([1.0]), np.array([1])).tolist() == [[1.0, 1.0, 1.0]]
