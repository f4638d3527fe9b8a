"""Readers and lesions both random: against an analysis of variance of statsmodels, with gaps too; false positives."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from cycle_am.reader_study.analysis import difference

RNG = np.random.default_rng(0)
COMPLETE = RNG.normal(0.5, 1, (5, 7)) + RNG.normal(0, 0.7, (5, 1)) + RNG.normal(0, 0.7, (1, 7))
GAPS = np.where(np.random.default_rng(1).random((5, 7)) < 0.3, np.nan, COMPLETE)


def anova(differences, *order):
    """Sequential sums of squares and degrees of freedom."""
    reader, case = np.nonzero(np.isfinite(differences))
    table = pd.DataFrame({"d": differences[reader, case], "reader": reader, "case": case})
    return anova_lm(smf.ols("d ~ " + " + ".join(f"C({one})" for one in order), table).fit())


def test_complete_differences_are_the_analysis_of_variance():
    found = anova(COMPLETE, "reader", "case")["sum_sq"] / anova(COMPLETE, "reader", "case")["df"]
    reader, case, rest = found["C(reader)"], found["C(case)"], found["Residual"]
    assert case > rest
    both = difference.over_both_with_gaps(COMPLETE)
    assert both.mean[0] == pytest.approx(COMPLETE.mean())
    assert both.variance[0] == pytest.approx((reader + case - rest) / 35)
    # Hillis (2007): (MS_R + max(MS_C - MS_RC, 0))^2 / (MS_R^2 / (R - 1)).
    assert both.freedom[0] == pytest.approx((reader + case - rest) ** 2 / (reader**2 / 4))
    t = COMPLETE.mean() / np.sqrt((reader + case - rest) / 35)
    assert both.p[0] == pytest.approx(2 * stats.t.sf(t, both.freedom[0]))


def test_differences_with_gaps_by_the_sums_of_squares_that_each_factor_adds():
    known = np.isfinite(GAPS)
    n, (readers, cases) = known.sum(), known.shape
    last_case, last_reader = anova(GAPS, "reader", "case"), anova(GAPS, "case", "reader")
    rest = last_case["sum_sq"]["Residual"] / (n - readers - cases + 1)
    of_case = (last_case["sum_sq"]["C(case)"] - (cases - 1) * rest) / (n - readers)
    of_reader = (last_reader["sum_sq"]["C(reader)"] - (readers - 1) * rest) / (n - cases)
    weight = known / known.sum(1, keepdims=True) / readers
    by_reader = of_reader * (weight.sum(1) ** 2).sum() + rest * (weight**2).sum()
    by_case = max(of_case, 0) * (weight.sum(0) ** 2).sum()
    both = difference.over_both_with_gaps(GAPS)
    assert both.mean[0] == pytest.approx(np.nanmean(GAPS, axis=1).mean())
    assert both.variance[0] == pytest.approx(by_reader + by_case)
    assert both.freedom[0] == pytest.approx(4 * ((by_reader + by_case) / by_reader) ** 2)


def test_readers_and_lesions_without_any_answer_do_not_count():
    wider = np.pad(GAPS, ((0, 2), (1, 0)), constant_values=np.nan)
    found, expected = difference.over_both_with_gaps(wider), difference.over_both_with_gaps(GAPS)
    assert (found.mean, found.variance, found.freedom) == (expected.mean, expected.variance, expected.freedom)


@pytest.mark.parametrize(
    "differences",
    [COMPLETE[:1], COMPLETE[:, :1], np.full((3, 4), np.nan), np.where(np.eye(4) > 0, 1.0, np.nan)],
    ids=["one reader", "one case", "nothing", "no two readers share a case"],
)
def test_variances_that_cannot_be_told_apart_have_no_value(differences):
    assert np.isnan(difference.over_both_with_gaps(differences).p).all()


def null_studies(studies, item, seed=0, readers=8, cases=24):
    """Differences of two methods that are alike in general; lesions suit one or the other by `item`."""
    rng = np.random.default_rng(seed)
    parts = (0.7, (studies, readers, 1)), (item, (studies, 1, cases)), (1.4, (studies, readers, cases))
    return sum(sd * rng.normal(size=shape) for sd, shape in parts)


def test_false_positives_stay_near_five_percent_where_lesions_differ():
    both = difference.over_both(null_studies(4000, item=1.0)).p
    paired = difference.over_readers(null_studies(4000, item=1.0)).p
    assert np.mean(both < 0.05) == pytest.approx(0.055, abs=0.012)
    assert np.mean(paired < 0.05) > 0.10  # it speaks of the drawn lesions alone


@pytest.mark.parametrize(("cases", "most"), [(12, 0.085), (6, 0.12), (4, 0.16)])
def test_few_lesions_cost_what_the_results_say(cases, most):
    found = np.mean(difference.over_both(null_studies(3000, item=2.0, cases=cases)).p < 0.05)
    assert 0.05 < found < most


def test_false_positives_with_gaps():
    studies = null_studies(600, item=0.5, seed=3)
    gone = np.random.default_rng(4).random(studies.shape) < np.r_[np.full(8, 0.9), np.zeros(16)]
    p = [difference.over_both_with_gaps(one).p[0] for one in np.where(gone, np.nan, studies)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.055, abs=0.027)  # three standard errors


def test_two_groups_of_lesions_by_the_mean_squares_of_each():
    first, second = COMPLETE[:, :3], COMPLETE[:, 3:]
    found = difference.between_groups(first, second)
    own = first.mean(1) - second.mean(1)
    by_case = 0
    for one in (first, second):
        table = anova(one, "reader", "case")
        excess = (table["sum_sq"] / table["df"])["C(case)"] - (table["sum_sq"] / table["df"])["Residual"]
        by_case += max(excess, 0) / one.size
    by_reader = own.var(ddof=1) / 5
    assert by_case > 0
    assert found.mean[0] == pytest.approx(own.mean())
    assert found.variance[0] == pytest.approx(by_reader + by_case)
    assert found.freedom[0] == pytest.approx(4 * ((by_reader + by_case) / by_reader) ** 2)


def test_false_positives_between_groups_of_lesions_that_are_alike():
    studies = null_studies(600, item=1.0, seed=5)
    p = [difference.between_groups(one[:, ::2], one[:, 1::2]).p[0] for one in studies]
    paired = difference.over_readers(studies[:, :, ::2] - studies[:, :, 1::2]).p
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.055, abs=0.028)
    assert np.mean(paired < 0.05) > 0.2


def test_groups_that_cannot_be_compared():
    assert np.isnan(difference.between_groups(COMPLETE[:, :1], COMPLETE[:, 1:]).p[0])
    assert np.isfinite(difference.between_groups(GAPS[:, :3], GAPS[:, 3:]).p[0])
