"""Figures of more than two classes against scikit-learn and against sums by hand."""

import numpy as np
import pytest
from sklearn import metrics

from cycle_am.metrics.classes import Moved, classifier_figures, matrix, transfer_figures

NAMES = ("a", "b", "c")
FEW = {"resamples": 20, "seed": 0}


def answers(count=60, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count)
    logits = rng.normal(size=(count, 3)) + 1.5 * np.eye(3)[label]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), label, np.arange(count).astype(str)


def test_table_one_as_of_scikit_learn():
    p, label, patients = answers()
    label[:3] = -1  # unknown ones are in no figure
    figures = classifier_figures(p, label, patients, NAMES, **FEW)
    p, label = p[3:], label[3:]
    called = p.argmax(1)
    assert figures["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(label, called))
    assert figures["f1"]["value"] == pytest.approx(metrics.f1_score(label, called, average="macro"))
    assert figures["sensitivity"]["value"] == pytest.approx(
        metrics.recall_score(label, called, average="macro")
    )
    assert figures["auc"]["value"] == pytest.approx(
        metrics.roc_auc_score(label, p, multi_class="ovr", average="macro")
    )
    for k, name in enumerate(NAMES):
        assert figures[f"ppv/{name}"]["value"] == pytest.approx(
            metrics.precision_score(label == k, called == k)
        )


def test_transfer_by_hand():
    x = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2]])
    to = np.zeros((3, 2, 3))
    to[0] = [[0.9, 0.1, 0.0], [0.6, 0.3, 0.1]]
    to[1] = [[0.2, 0.7, 0.1], [0.1, 0.8, 0.1]]
    to[2] = [[0.3, 0.2, 0.5], [0.0, 0.6, 0.4]]
    result, seen = Moved(x, to), np.array([0, 1])
    figures = transfer_figures(result, seen, np.array(["p", "q"]), NAMES, **FEW)
    assert figures["x"]["value"] == pytest.approx((0.8 + 0.7) / 2)
    assert figures["reached"]["value"] == pytest.approx(np.mean([(0.7 + 0.5) / 2, (0.6 + 0.4) / 2]))
    assert figures["left"]["value"] == pytest.approx(np.mean([(0.2 + 0.3) / 2, (0.3 + 0.6) / 2]))
    assert figures["matrix/a/a"]["value"] == pytest.approx(0.9)
    assert figures["matrix/b/c"]["value"] == pytest.approx(0.4)
    table = matrix(result, seen)
    assert table[0].tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert np.isnan(table[2]).all()
