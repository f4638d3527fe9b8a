"""Tests of a difference: power against closed forms, false positives at their nominal level, planted rankings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from cycle_am.reader_study.planning import calibration, power
from cycle_am.reader_study.planning.readers import PARTS, Model

STUDIES = 2000


def gaussian(item=0.0, difference=1.2):
    sd = dict(zip(PARTS, (0.5, item, 0.7, 0.9, 0.6, 0.8), strict=True))
    return Model(
        ("ours", "other"),
        ("quality",),
        np.array([[difference], [0.0]]),
        {part: np.array([value]) for part, value in sd.items()},
        np.ones((1, 1)),
        whole=False,
    )


def within(rate, expected, studies=STUDIES, errors=4):
    return abs(rate - expected) < errors * np.sqrt(expected * (1 - expected) / studies)


def test_power_of_the_paired_t_is_that_of_the_noncentral_t():
    table = power.power_table(gaussian(), "ours", ["other"], [4, 8, 12], [6, 24], studies=STUDIES)
    for row in table[table["test"] == "readers"].itertuples():
        sd = np.sqrt(2 * 0.9**2 + 2 * (0.6**2 + 0.8**2) / row.cases)
        expected = TTestPower().power(1.2 / sd, row.readers, 0.05)
        assert within(row.power, expected), row
        assert row.low < row.power < row.high
        solved = TTestPower().solve_power(None, row.readers, 0.05, 0.8) * sd
        assert row.detectable == pytest.approx(solved, rel=0.03)


def test_power_with_random_lesions_meets_the_noncentral_t_where_the_variance_is_known():
    # Many readers and lesions: the variance of the mean difference is estimated well, and both parts of it count.
    table = power.power_table(gaussian(item=1.5, difference=1.0), "ours", ["other"], [30], [40], studies=500)
    variance = 2 * 0.9**2 / 30 + 2 * 1.5**2 / 40 + 2 * (0.6**2 + 0.8**2) / (30 * 40)
    row = table[table["test"] == "both"].iloc[0]
    expected = stats.norm.sf(stats.norm.isf(0.025) - 1.0 / np.sqrt(variance))
    assert row["power"] == pytest.approx(expected, abs=0.07)


def test_estimates_by_hand_and_against_scipy():
    x = np.random.default_rng(0).normal(0.5, 1, (3, 5, 7))
    over = power.over_readers(x)
    expected = stats.ttest_1samp(x.mean(2), 0, axis=1)
    assert over.t == pytest.approx(expected.statistic)
    assert over.p == pytest.approx(expected.pvalue)
    # Two readers, two lesions: mean 1.5; MS_R = 1, MS_C = 4, MS_RC = 0; variance (1 + 4) / 4, freedom 1 * 5 ** 2.
    both = power.over_both(np.array([[[0.0, 2.0], [1.0, 3.0]]]))
    assert (both.mean[0], both.variance[0], both.freedom[0]) == pytest.approx((1.5, 1.25, 25))


def test_differences_without_variance():
    nothing, certain = np.zeros((1, 4, 6)), np.ones((1, 4, 6))
    for test in power.TESTS.values():
        assert test(nothing).p == pytest.approx([1])
        assert test(certain).p == pytest.approx([0])
    assert power.detectable(0.0, 7) == 0


def test_against_all_others_each_must_be_found():
    model = calibration.published().only("image_quality")
    one = power.power_table(model, "cycle_am", ["deep_taylor"], [8], [24], studies=300)
    everyone = power.power_table(
        model, "cycle_am", ["deep_taylor", "deep_shap", "lrp"], [8], [24], studies=300
    )
    assert (everyone["power"] < one["power"]).all()
    assert (everyone["power"] > 0.3).all()


def test_better_in_the_wrong_direction_is_not_found():
    table = power.power_table(gaussian(difference=-3.0), "ours", ["other"], [8], [12], studies=200)
    assert (table["power"] == 0).all()


@pytest.fixture(scope="module")
def rates():
    model = calibration.published().only("semantic_meaningfulness")
    return power.false_positives(model, 8, 24, studies=STUDIES).set_index(["alike", "test"])["rate"]


def test_a_null_study_finds_nothing(rates):
    for test in ("paired t over readers, t(N − 1)", "readers and lesions both random"):
        assert within(rates["every lesion", test], 0.05), test
    # Exact on 2^8 sign patterns, and chi-square for eight blocks: at most nominal.
    assert 0.02 < rates["every lesion", "Wilcoxon over readers"] < 0.06
    assert 0.02 < rates["every lesion", "Friedman over readers"] < 0.06
    assert within(rates["mean over lesions", "readers and lesions both random"], 0.05)


def test_a_degree_of_freedom_too_few_is_safe(rates):
    stated = rates["every lesion", "paired t over readers, as t(N − 2)"]
    critical = stats.t.isf(0.025, 6)
    assert within(stated, 2 * stats.t.sf(critical, 7))
    assert stated < rates["every lesion", "paired t over readers, t(N − 1)"]


def test_dependent_answers_are_no_evidence(rates):
    for test in ("paired t over all answers", "paired t over lesions", "Friedman over all answers"):
        assert rates["every lesion", test] > 0.4
        assert rates["mean over lesions", test] > 0.2
    # What is true of these lesions alone is taken for a difference of the methods.
    assert rates["mean over lesions", "paired t over readers, t(N − 1)"] > 0.06


def test_p_values_against_scipy():
    x = np.random.default_rng(0).normal(size=(1, 9, 5, 4))
    found = {name: p[0] for name, p in power.p_values(x).items()}
    means = x[0].mean(1)
    assert found["Wilcoxon over readers"] == pytest.approx(stats.wilcoxon(means[:, 0], means[:, 1]).pvalue)
    assert found["Friedman over readers"] == pytest.approx(stats.friedmanchisquare(*means.T).pvalue)
    flat = x[0].reshape(-1, 4)
    assert found["Friedman over all answers"] == pytest.approx(stats.friedmanchisquare(*flat.T).pvalue)
    assert found["paired t over all answers"] == pytest.approx(stats.ttest_rel(flat[:, 0], flat[:, 1]).pvalue)
    lesions = x[0].mean(0)
    assert found["paired t over lesions"] == pytest.approx(
        stats.ttest_rel(lesions[:, 0], lesions[:, 1]).pvalue
    )


def test_methods_made_alike():
    model = calibration.published()
    for on_every_lesion in (True, False):
        null = power.alike(model, on_every_lesion)
        assert np.ptp(null.means, axis=0) == pytest.approx(np.zeros(3))
        assert (null.sd["item"] == 0).all() == on_every_lesion


def test_a_planted_ranking_is_recovered():
    planted = np.array([[0.0], [1.5], [-1.5], [-3.0]])
    model = calibration.published().only("intuitive_validity")
    model = replace(model, label=0.0).expecting(planted)
    x = np.concatenate(list(power.simulated(model, 20, 48, 100, seed=1)))[..., 0]
    best_first = (-x.mean((1, 2))).argsort(1)
    assert (best_first == (-planted[:, 0]).argsort()).all(1).mean() > 0.9


def test_fewest_readers_by_hand():
    rows = [
        (6, 4, 0.5),
        (6, 8, 0.82),
        (6, 12, 0.79),
        (24, 4, 0.81),
        (24, 8, 0.9),
        (24, 12, 0.95),
        (48, 4, 0.7),
    ]
    rows += [(48, 8, 0.79), (48, 12, 0.85)]
    table = pd.DataFrame(rows, columns=["cases", "readers", "power"])
    assert power.fewest_readers(table, 0.8) == {6: None, 24: 4, 48: 12}


def test_share_is_wilsons():
    found = power.share(8, 10)
    assert (found["value"], found["n"]) == (0.8, 10)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)
