"""The classifier's evaluation from end to end."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from sklearn.metrics import roc_auc_score

from cycle_am.app.tasks.evaluation import evaluate_classifier
from cycle_am.errors import UserError
from cycle_am.metrics.classifier import size_figures
from cycle_am.reports.draw import roc_and_calibration
from cycle_am.runs.results import read_metrics
from cycle_am.task import Task
from tests.cycle_am.metrics.fakes import BrightnessClassifier, SwappedClassifier, make_cases

TABLE = (
    "accuracy",
    "f1",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "informedness",
    "markedness",
    "mcc",
    "auc",
)


def test_everything_is_written_and_agrees(tmp_path):
    cases = make_cases(60)
    evaluation = evaluate_classifier(
        BrightnessClassifier(), cases, tmp_path, resamples=200, notes={"Run": "<b>one</b>"}
    )
    metrics = evaluation.metrics
    assert {f"classifier/{name}" for name in (*TABLE, "size_only_auc", "auc_size_matched")} <= set(metrics)
    table = pd.read_csv(tmp_path / "cases.csv")
    assert table["case_id"].tolist() == cases.case_id.tolist()
    auc = roc_auc_score(table["label"], table["p_x"])
    assert read_metrics(tmp_path / "metrics.json")["classifier/auc"]["value"] == pytest.approx(auc, abs=1e-3)
    page = (tmp_path / "report.html").read_text()
    assert "<b>one</b>" not in page
    assert "&lt;b&gt;one" in page
    assert "0.809 [0.757, 0.860]" in page
    assert (tmp_path / "figures" / "classifier.png").stat().st_size > 10_000
    rows = evaluation.tables()["cases"]
    assert [row["p_x"] for row in rows] == pytest.approx(table["p_x"].tolist(), abs=1e-4)
    assert rows[0]["x"].shape == (64, 64, 3)
    assert not {"case_id", "patient_id"} & set(rows[0])


def test_swapped_classes_are_said_to_be_swapped(tmp_path):
    for classifier, said in ((SwappedClassifier(), True), (BrightnessClassifier(), False)):
        evaluate_classifier(classifier, make_cases(60), tmp_path, resamples=50)
        assert ("below 0.5: it gives malignant" in (tmp_path / "report.html").read_text()) == said


def test_one_class_alone_has_no_roc_curve_and_says_so(tmp_path):
    cases = make_cases(20)
    evaluate_classifier(BrightnessClassifier(), cases.select(cases.label == 1), tmp_path, resamples=20)
    page = (tmp_path / "report.html").read_text()
    assert "need cases of both classes, such as the AUC, are left open" in page
    drawn = []
    original = Axes.plot

    def plot(self, *args, **kwargs):
        drawn.append(kwargs.get("label"))
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Axes, "plot", plot)
        for labels, curves in ((np.ones(4, int), 0), (np.array([0, 1, 0, 1]), 2)):
            drawn.clear()
            roc_and_calibration(
                tmp_path / "a.png", np.arange(4) / 4, np.ones(4), labels, np.ones((1, 3)), Task()
            )
            assert sum(label is not None for label in drawn) == curves


def test_cases_without_a_label_take_no_part(tmp_path):
    cases = make_cases(40)
    hidden = replace(cases, label=np.where(np.arange(40) < 10, -1, cases.label))
    metrics = evaluate_classifier(BrightnessClassifier(), hidden, tmp_path, resamples=50).metrics
    assert metrics["classifier/auc"]["n"] == 30
    assert len(pd.read_csv(tmp_path / "cases.csv")) == 40
    with pytest.raises(UserError, match="label"):
        evaluate_classifier(BrightnessClassifier(), replace(cases, label=np.full(40, -1)), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_estimated_diameters_are_said_to_be_estimated(tmp_path):
    evaluate_classifier(BrightnessClassifier(), make_cases(40, diameters=False), tmp_path, resamples=50)
    assert "estimated from the images" in (tmp_path / "report.html").read_text()


def test_a_classifier_that_reads_size_gains_nothing_over_size():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 60)
    diameter = np.concatenate([rng.uniform(4, 16, 60), rng.uniform(8, 24, 60)])
    patients = np.arange(120)
    same = size_figures(diameter / 30, label, diameter, patients, resamples=200)
    assert same["auc_minus_size"] == {"value": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": 120}
    knowing = size_figures(label + 0.0, label, diameter, patients, resamples=200)
    assert knowing["auc_minus_size"]["ci_low"] > 0
    assert knowing["auc_size_matched"]["value"] == 1
    apart = size_figures(label + 0.0, label, np.where(label == 1, 30.0, 5.0), patients, resamples=50)
    assert apart["auc_size_matched"]["n"] == 0
    assert np.isnan(apart["auc_size_matched"]["value"])
