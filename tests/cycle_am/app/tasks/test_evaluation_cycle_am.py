"""CycleAM's evaluation from end to end, on a generator that looks at the image and on one that does not."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cycle_am.app.tasks.evaluation import evaluate_cycle_am
from cycle_am.model.custom import Custom
from cycle_am.reports.colours import scale_words
from cycle_am.reports.cycle_am import balanced_sample
from cycle_am.runs.results import read_metrics
from cycle_am.task import Task
from tests.cycle_am.metrics.fakes import (
    BrightnessClassifier,
    FixedPatternGan,
    OracleGan,
    SwappedClassifier,
    make_cases,
)

SECTIONS = {  # the names that others build on
    "classifier": (
        "accuracy f1 sensitivity specificity ppv npv informedness markedness mcc auc "
        "size_only_auc auc_size_matched"
    ),
    "transfer/explained": "x neg pos t_pos p_pos t_neg p_neg",
    "transfer/independent": "x neg pos t_pos p_pos t_neg p_neg",
    "similarity": "ssim_neg ssim_pos l1_neg l1_pos",
    "cycle": "l1",
    "localisation": (
        "peak_in_mask relevance_mass mask_area peak_in_dilated relevance_mass_dilated dilated_area "
        "centre_prior_peak centre_prior_mass peak_in_mask_shifted relevance_mass_shifted "
        "shift_followed fixed_pattern"
    ),
}
KEYS = [f"{section}/{name}" for section, names in SECTIONS.items() for name in names.split()]
REALISM = [f"realism/{k}" for k in ["auc_neg", "auc_pos", "auc_real", "auc_planted"]]
COLUMNS = {
    "case_id",
    "patient_id",
    "label",
    "ssim_neg",
    "ssim_pos",
    "l1_neg",
    "l1_pos",
    "peak_in_mask",
    "relevance_mass",
}
OPTIONS = {"resamples": 100, "examples": 2, "progress": False}


def run(gan, out_dir, cases=None, **options):
    cases = make_cases(40, seed=1) if cases is None else cases
    judge = BrightnessClassifier(0.5)
    return evaluate_cycle_am(
        gan, BrightnessClassifier(), judge, make_cases(40), cases, out_dir, **OPTIONS | options
    ).metrics


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("oracle")
    return run(OracleGan(), folder, realism=False), folder


def test_metrics_hold_every_key_of_the_stable_interface(oracle):
    metrics, folder = oracle
    assert set(KEYS) <= set(metrics)
    stored = read_metrics(folder / "metrics.json")
    assert set(stored) == set(metrics)
    assert all(set(figure) == {"value", "ci_low", "ci_high", "n"} for figure in stored.values())
    assert stored["similarity/ssim_neg"]["ci_low"] <= stored["similarity/ssim_neg"]["value"]


def test_cases_agree_with_the_metrics(oracle):
    metrics, folder = oracle
    table = pd.read_csv(folder / "cases.csv")
    probabilities = {f"p_{who}_{on}" for who in ("explained", "independent") for on in ("x", "neg", "pos")}
    assert COLUMNS | probabilities <= set(table)
    for column, key in (
        ("p_independent_neg", "transfer/independent/neg"),
        ("relevance_mass", "localisation/relevance_mass"),
    ):
        assert table[column].mean() == pytest.approx(metrics[key]["value"], abs=1e-4)


def test_maps_are_r_of_each_case(oracle):
    _, folder = oracle
    cases = make_cases(40, seed=1)
    made = OracleGan().generate(cases.window()[0])
    with np.load(folder / "relevance.npz", allow_pickle=False) as stored:
        assert stored["case_id"].tolist() == cases.case_id.tolist()
        assert stored["cycle_am"] == pytest.approx((made.pos - made.neg)[:, 0].numpy())


def test_the_report_stands_alone(oracle):
    _, folder = oracle
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) >= 6
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in page
    assert page.count("<figcaption>") == len(sources)
    assert (
        page.count(scale_words(Task())) == 4
    )  # of R and of its mean, each as caption and for those who do not see it
    assert all(
        text in page for text in ("0.289 [0.250, 0.330]", "39 degrees of freedom", "Worst and best cases")
    )


def test_a_fixed_pattern_is_caught_and_realism_finds_it(tmp_path, monkeypatch):
    monkeypatch.setattr("cycle_am.metrics.realism.STEPS", 30)
    monkeypatch.setattr("cycle_am.metrics.realism.HALVINGS", 1)
    metrics = run(FixedPatternGan(), tmp_path, make_cases(32, seed=2))
    assert set(KEYS + REALISM) <= set(metrics)
    assert metrics["localisation/fixed_pattern"]["value"] > 0.9
    assert metrics["localisation/shift_followed"]["value"] == 0
    assert metrics["realism/auc_neg"]["value"] > 0.9
    assert "Realism" in (tmp_path / "report.html").read_text()


def test_without_masks_and_labels_the_rest_is_reported(tmp_path):
    bare = replace(make_cases(20, masks=False), label=np.full(20, -1), margin=np.zeros(20, dtype=int))
    metrics = run(OracleGan(), tmp_path, bare, realism=False)
    assert "classifier/auc" not in metrics
    assert metrics["localisation/peak_in_mask"]["n"] == 0
    assert metrics["transfer/explained/neg"]["n"] == 20
    page = (tmp_path / "report.html").read_text()
    assert "No test case has an outline" in page
    assert "nothing could be moved" in page


@pytest.mark.parametrize("labelled", [True, False])
def test_classifiers_that_look_misunderstood_are_named(labelled, tmp_path):
    cases = make_cases(20)
    cases = cases if labelled else replace(cases, label=np.full(20, -1))
    explained, judge = BrightnessClassifier(9.0), SwappedClassifier()
    evaluate_cycle_am(
        OracleGan(), explained, judge, cases, cases, tmp_path, **OPTIONS | {"realism": False, "resamples": 20}
    )
    page = (tmp_path / "report.html").read_text()
    assert page.count("classifier calls every one of 20 cases malignant") == 1
    assert page.count("The independent classifier (judge) has an AUC of 0.") == labelled


def test_one_case_has_no_interval_no_test_and_is_not_both_best_and_worst(tmp_path):
    metrics = run(OracleGan(), tmp_path, make_cases(2).select([1]), realism=False)
    assert metrics["similarity/ssim_neg"]["value"] < 1
    assert all(np.isnan(figure["ci_low"]) for figure in metrics.values())
    assert np.isnan(metrics["localisation/fixed_pattern"]["value"])
    page = (tmp_path / "report.html").read_text()
    assert "One case cannot be tested." in page
    assert "degrees of freedom" not in page
    assert "Worst and best cases" not in page
    assert "such as the AUC, are left open" in page


def test_an_outline_is_promised_only_where_one_is_drawn(tmp_path):
    where = make_cases(2).select([0] * 6)
    apart = np.stack([np.roll(where.mask[0], 12 * k, axis=1) for k in range(6)])
    for mask, promised in ((where.mask, True), (apart, False)):
        run(OracleGan(), tmp_path, replace(where, mask=mask), realism=False)
        assert ("in more than half of the cases" in (tmp_path / "report.html").read_text()) == promised
    few = replace(where, has_mask=np.arange(6) < 2, mask=where.mask * (np.arange(6) < 2)[:, None, None])
    run(OracleGan(), tmp_path, few, realism=False)
    assert "in more than half of the cases that have an outline" in (tmp_path / "report.html").read_text()


def test_a_classifier_trained_elsewhere_is_not_said_to_have_seen_nobody(tmp_path):
    cases, said = make_cases(8), "none of them in the training set"
    for foreign in (True, False):
        explained = BrightnessClassifier()
        explained.foreign = foreign
        options = OPTIONS | {"realism": False, "resamples": 5}
        evaluate_cycle_am(OracleGan(), explained, BrightnessClassifier(), cases, cases, tmp_path, **options)
        assert (said in (tmp_path / "report.html").read_text()) != foreign
    assert Custom.foreign


def test_the_sample_is_balanced_right_and_seeded():
    label = np.array([0, 0, 0, 1, 1, 1, -1])
    p = np.array([0.1, 0.9, 0.2, 0.8, 0.1, 0.7, 0.9])
    assert balanced_sample(label, p, 2).tolist() == [0, 2, 3, 5]
    assert balanced_sample(label, p, 1, seed=0).tolist() == balanced_sample(label, p, 1, seed=0).tolist()
    assert len(balanced_sample(label, p, 1)) == 2
