"""Tests and effect sizes against scipy, enumeration and published cases; the mixed model against mean squares."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from cycle_am.metrics.paired import holm
from cycle_am.reader_study.analysis import inference, tables
from cycle_am.reader_study.analysis.difference import over_both
from tests.cycle_am.reader_study.trials import CRITERIA, METHODS, trial_scores

FIRST = np.array([1.8, 2.4, 0.3, 1.3, 2.9, 2.2, 1.7, 0.6])
SECOND = np.array([0.4, -1.2, 0.9, -0.3, 1.1, -2.0, 0.2, 0.8])


def test_paired_t_and_wilcoxon_as_scipy_has_them():
    found = inference.paired(FIRST, SECOND)
    t = stats.ttest_rel(FIRST, SECOND)
    assert (found.t, found.p) == pytest.approx((t.statistic, t.pvalue))
    assert (found.ci_low, found.ci_high) == pytest.approx(t.confidence_interval())
    assert found.p_paper == pytest.approx(2 * stats.t.sf(t.statistic, 6))
    w = stats.wilcoxon(FIRST, SECOND, method="exact")
    assert (found.w, found.p_wilcoxon) == pytest.approx((w.statistic, w.pvalue))


def test_signed_rank_with_ties_is_the_enumeration_of_signs():
    differences = np.array([1.0, 1, 2, -2, 3, -1, 0, 4])
    ranks = stats.rankdata(np.abs(differences[differences != 0]))
    observed = ranks[differences[differences != 0] > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in product((0, 1), repeat=len(ranks))])
    extreme = np.abs(sums - ranks.sum() / 2) >= abs(observed - ranks.sum() / 2) - 1e-9
    w, p, r = inference.signed_rank(differences)
    assert p == pytest.approx(extreme.mean())
    assert w == min(observed, ranks.sum() - observed)
    assert r == pytest.approx((observed - (ranks.sum() - observed)) / ranks.sum())


def test_signed_rank_of_many_is_near_the_normal_approximation():
    differences = np.random.default_rng(0).normal(0.2, 1, 100)
    expected = stats.wilcoxon(differences, method="asymptotic").pvalue
    assert inference.signed_rank(differences)[1] == pytest.approx(expected, abs=0.002)


def test_effect_size_and_its_interval():
    found = inference.paired(FIRST, SECOND)
    differences = FIRST - SECOND
    assert found.d == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.g / found.d == pytest.approx(1 - 3 / (4 * 7 - 1), abs=0.002)  # Hedges' approximation
    # At the ends of the interval, the observed t is just as far out as 2.5 %.
    factor = inference.hedges_factor(7)
    for limit, share in ((found.g_low, 0.975), (found.g_high, 0.025)):
        assert stats.nct.cdf(found.t, 7, limit / factor * np.sqrt(8)) == pytest.approx(share, abs=1e-6)


def test_effect_size_interval_where_scipys_distribution_has_holes():
    low, high = inference.noncentral_limits(8.36, 7)  # nct.cdf(8.36, 7, -6.12) is NaN
    assert stats.nct.cdf(8.36, 7, [low, high]) == pytest.approx([0.975, 0.025], abs=1e-6)


@pytest.mark.parametrize(
    ("first", "p", "p_wilcoxon"),
    [(SECOND, 1.0, 1.0), (SECOND + 1, np.nan, 2 / 2**8), (SECOND[:1], np.nan, np.nan)],
)
def test_pairs_that_do_not_vary_or_are_alone(first, p, p_wilcoxon):
    found = inference.paired(first, SECOND[: len(first)])
    assert (found.p, found.p_wilcoxon) == pytest.approx((p, p_wilcoxon), nan_ok=True)
    assert np.isnan([found.t, found.d, found.g]).all()


def test_two_readers_have_no_degrees_of_freedom_left_for_the_papers_test():
    found = inference.paired(FIRST[:2], SECOND[:2])
    assert found.p == pytest.approx(stats.ttest_rel(FIRST[:2], SECOND[:2]).pvalue)
    assert np.isnan(found.p_paper)


def test_a_reader_without_one_of_both_is_left_out():
    lacking = FIRST.copy()
    lacking[2] = np.nan
    assert inference.paired(lacking, SECOND) == inference.paired(np.delete(FIRST, 2), np.delete(SECOND, 2))


def test_every_pair_of_methods_once_and_holm_within_a_criterion():
    scores = trial_scores(seed=3)
    means = tables.reader_means(scores)
    rows = inference.pairwise(scores, METHODS, CRITERIA)
    assert len(rows) == 6 * 3
    assert rows["first"].tolist()[:3] == ["cycle_am"] * 3
    part = rows[rows["criterion"] == "image_quality"]
    assert part["p_holm"].to_numpy() == pytest.approx(holm(part["p"].to_numpy()))
    row = part[(part["first"] == "deep_shap") & (part["second"] == "lrp")].iloc[0]
    assert row["t"] == pytest.approx(stats.ttest_rel(means[:, 1, 2], means[:, 3, 2]).statistic)
    both = over_both((scores[:, :, 1, 2] - scores[:, :, 3, 2])[None])
    assert (row["t_both"], row["df_both"], row["p_both"]) == pytest.approx(
        (both.t[0], both.freedom[0], both.p[0])
    )
    margin = stats.t.ppf(0.975, both.freedom[0]) * np.sqrt(both.variance[0])
    assert (row["both_low"], row["both_high"]) == pytest.approx(
        (both.mean[0] - margin, both.mean[0] + margin)
    )
    assert part["p_both_holm"].to_numpy() == pytest.approx(holm(part["p_both"].to_numpy()))


def test_methods_are_compared_by_the_answers_that_a_reader_gave_to_both():
    scores = np.zeros((3, 4, 2, 1))
    scores[:, 2:] = 4  # two lesions that everybody rates high
    scores[:, :, 1] -= np.array([0, 1, 2])[:, None, None]
    scores[:2, 2:, 1] = np.nan
    row = inference.pairwise(scores, ["a", "b"], ["c"]).iloc[0]
    assert (row["n"], row["answers"], row["difference"]) == (3, 8, 1.0)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        (np.zeros((3, 4)), 1.0),
        (np.ones((3, 4)), np.nan),
        (np.ones((1, 4)), np.nan),
        (np.eye(3)[:, :1], np.nan),
    ],
    ids=["no difference", "the same everywhere", "one reader", "one case"],
)
def test_both_random_says_where_it_has_no_value(differences, p):
    found = inference.both_random(differences)
    assert found.p_both == pytest.approx(p, nan_ok=True)
    assert np.isnan([found.t_both, found.both_low]).all()


def test_friedman_as_scipy_has_it_and_kendalls_w():
    means = np.random.default_rng(0).normal(size=(8, 4)) + np.arange(4) * 0.5
    found = inference.friedman(means)
    chi2, p = stats.friedmanchisquare(*means.T)
    assert (found["chi2"], found["p"], found["degrees"]) == pytest.approx((chi2, p, 3))
    sums = stats.rankdata(means, axis=1).sum(0)  # Kendall & Babington Smith 1939
    assert found["kendall_w"] == pytest.approx(12 * ((sums - sums.mean()) ** 2).sum() / (64 * (64 - 4)))
    assert inference.friedman(np.tile([1.0, 2, 3], (5, 1)))["kendall_w"] == pytest.approx(1)


@pytest.mark.parametrize("means", [np.ones((8, 4)), np.random.default_rng(0).normal(size=(8, 2))])
def test_friedman_says_where_it_has_no_value(means):
    assert np.isnan([inference.friedman(means)[key] for key in ("chi2", "p", "kendall_w")]).all()


def test_friedman_leaves_out_readers_with_a_gap():
    means = np.random.default_rng(0).normal(size=(8, 4))
    means[3, 1] = np.nan
    found = inference.friedman(means)
    assert found["n"] == 7
    assert found["chi2"] == pytest.approx(stats.friedmanchisquare(*np.delete(means, 3, 0).T).statistic)


def test_mixed_model_of_balanced_data_is_the_analysis_of_variance():
    """Where every mean square is larger than the one below it, REML and the expected mean squares agree exactly."""
    scores = trial_scores(readers=6, cases=10, severity=1, taste=0.8, seed=4)[..., 0]
    scores += np.random.default_rng(1).normal(0, 1, (10, 4))  # cases suit methods
    expected = inference.mean_squares(scores)
    assert min(expected.values()) > 0
    fit = inference.mixed_model(scores, METHODS, "with interactions")
    assert fit.converged
    assert fit.components == pytest.approx(expected, rel=0.01)
    assert fit.effects["difference"].to_numpy() == pytest.approx(
        (scores[..., :1] - scores[..., 1:]).mean((0, 1)), abs=1e-6
    )
    error = np.sqrt(
        2 * (expected["residual"] / 60 + expected["reader x method"] / 6 + expected["case x method"] / 10)
    )
    assert fit.effects["error"].to_numpy() == pytest.approx([error] * 3, rel=0.01)


def test_mean_squares_find_planted_variances():
    rng = np.random.default_rng(0)
    scores = (
        rng.normal(0, 1, (200, 1, 1))
        + rng.normal(0, 2, (1, 200, 1))
        + rng.normal(0, 0.5, (200, 1, 3))
        + rng.normal(0, 0.7, (1, 200, 3))
        + rng.normal(0, 1.5, (200, 200, 3))
    )
    planted = {"reader": 1, "case": 4, "reader x method": 0.25, "case x method": 0.49, "residual": 2.25}
    assert inference.mean_squares(scores) == pytest.approx(planted, rel=0.25)


def test_random_intercepts_alone_understate_the_error_where_readers_disagree():
    scores = trial_scores(readers=6, cases=8, taste=1.5)[..., 0]
    alone, both = (
        inference.mixed_model(scores, METHODS, model).effects["error"][0] for model in inference.MODELS
    )
    assert both > 1.4 * alone


def test_mixed_model_says_where_it_cannot_be_fitted():
    same = inference.mixed_model(np.zeros((3, 4, 4)), METHODS)
    assert not same.converged
    assert "not converge" in same.remark
    single = inference.mixed_model(trial_scores(4, 1)[..., 0], METHODS)
    assert (single.converged, single.remark) == (False, "needs two or more cases")
    lacking = trial_scores(4, 6)[..., 0]
    lacking[..., 0] = np.nan  # the reference: the others would be compared with the next one
    assert inference.mixed_model(lacking, METHODS).remark == "needs ratings of every method"


def test_mixed_model_takes_missing_ratings():
    scores = trial_scores(4, 6)[..., 0]
    scores[0, 0, 0] = scores[3, 4, 2] = np.nan
    fit = inference.mixed_model(scores, METHODS)
    assert fit.converged
    assert fit.n == 4 * 6 * 4 - 2


def test_variants_by_the_two_sample_test():
    means = tables.reader_means(trial_scores(seed=5))
    variants = np.array(list("ABABABAB"))
    rows = inference.variant_differences(means, variants, METHODS, CRITERIA)
    assert len(rows) == 12
    row = rows[(rows["criterion"] == "image_quality") & (rows["method"] == "lrp")].iloc[0]
    expected = stats.ttest_ind(means[::2, 3, 2], means[1::2, 3, 2])
    assert (row["t"], row["p"], row["degrees"]) == pytest.approx((expected.statistic, expected.pvalue, 6))
    assert inference.variant_differences(means, None, METHODS, CRITERIA).empty
    assert inference.variant_differences(means, np.array(["A"] * 8), METHODS, CRITERIA).empty


def test_mirrored_variants_without_an_effect_differ_no_more_often_than_chance():
    """Readers of A and B see the same; per test 5 % are below .05, and after Holm at most 5 % of studies find any."""
    rng = np.random.default_rng(0)
    variants = np.array(list("ABABABAB"))
    uncorrected, any_found = [], []
    for _ in range(150):
        rows = inference.variant_differences(rng.normal(size=(8, 4, 3)), variants, METHODS, CRITERIA)
        uncorrected.append((rows["p"] < 0.05).mean())
        any_found.append((rows["p_holm"] < 0.05).any())
    assert np.mean(uncorrected) == pytest.approx(0.05, abs=0.02)
    assert np.mean(any_found) < 0.09


def test_one_reader_of_a_variant_and_readers_who_do_not_vary():
    means = np.array([1.0, 2, 3])[:, None, None]
    row = inference.variant_differences(means, np.array(["A", "B", "B"]), ["m"], ["c"]).iloc[0]
    assert (row["degrees"], row["difference"]) == (1, -1.5)
    assert np.isfinite(row["p"])
    flat = inference.variant_differences(np.ones((4, 1, 1)), np.array(list("ABAB")), ["m"], ["c"]).iloc[0]
    assert np.isnan(flat["p"])
