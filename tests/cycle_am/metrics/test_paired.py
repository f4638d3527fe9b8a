"""Paired comparison: the permutation test against enumeration and its nominal level, Holm and ranks by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from cycle_am.metrics import paired
from cycle_am.metrics.bootstrap import mean_figure


def enumerated(totals):
    sums = [abs(np.dot(signs, totals)) for signs in product((-1, 1), repeat=len(totals))]
    return np.mean([total >= abs(sum(totals)) - 1e-9 for total in sums])


def test_exact_test_is_the_enumeration_of_patients():
    rng = np.random.default_rng(0)
    patients = np.array(list("aabbbcdefghh"))
    differences = rng.normal(0.6, 1, (12, 3))
    differences[4, 1] = np.nan
    filled = np.nan_to_num(differences)
    totals = np.stack([filled[patients == one].sum(0) for one in np.unique(patients)])
    found = paired.sign_flip_test(differences, patients)
    assert found == pytest.approx([enumerated(column) for column in totals.T])


def test_by_hand():
    # Three patients, all better: only +++ and --- of 8 patterns are as extreme.
    assert paired.sign_flip_test(np.array([[1.0], [2.0], [3.0]]), np.arange(3)) == pytest.approx([2 / 8])
    # 3 against 1 and 2 sums to nothing: every pattern is as extreme.
    assert paired.sign_flip_test(np.array([[1.0], [2.0], [-3.0]]), np.arange(3)) == pytest.approx([1])
    assert paired.sign_flip_test(np.zeros((20, 1)), np.arange(20)) == pytest.approx([1])
    assert np.isnan(paired.sign_flip_test(np.full((20, 1), np.nan), np.arange(20))).all()


def test_random_flips_approach_the_t_test_and_scipys_permutations():
    values = np.random.default_rng(1).normal(0.3, 1, 80)
    p = paired.sign_flip_test(values[:, None], np.arange(80))[0]
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.004)
    oracle = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=50_000, rng=np.random.default_rng(0)
    )
    assert p == pytest.approx(oracle.pvalue, abs=0.004)


def test_p_is_never_zero_and_follows_the_seed():
    certain = np.random.default_rng(0).normal(5, 1, (40, 1))
    assert paired.sign_flip_test(certain, np.arange(40), flips=999) == pytest.approx([1 / 1000])
    unclear = np.random.default_rng(0).normal(0.2, 1, (40, 1))
    runs = [paired.sign_flip_test(unclear, np.arange(40), flips=999, seed=seed)[0] for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_false_positive_rate_is_nominal_although_cases_of_a_patient_are_alike():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(25), 4)
    null = rng.normal(0, 1, (25, 2000)).repeat(4, 0) + rng.normal(0, 0.5, (100, 2000))
    rate = (paired.sign_flip_test(null, patients, flips=1000) <= 0.05).mean()
    assert rate == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))
    cases_alone = (paired.sign_flip_test(null, np.arange(100), flips=1000) <= 0.05).mean()
    assert cases_alone > 0.2  # what the cluster is for


def test_holm_is_that_of_statsmodels():
    p = np.random.default_rng(0).random(40) ** 4
    p[3] = p[7]
    expected = multipletests(p, method="holm")[1]
    assert paired.holm(p) == pytest.approx(expected, abs=1e-12, rel=1e-12)


def test_holm_by_hand():
    assert paired.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm(np.array([0.01, np.nan, 0.5, 0.9])) == pytest.approx([0.03, np.nan, 1, 1], nan_ok=True)
    assert paired.holm(np.array([0.02, 0.02])) == pytest.approx([0.04, 0.04])
    assert np.isnan(paired.holm(np.full(2, np.nan))).all()


def test_ranks_follow_the_direction():
    values = {
        "a": {"pointing": 0.9, "deletion_blur": 0.9, "topk_iou": np.nan},
        "b": {"pointing": 0.5, "deletion_blur": 0.1, "topk_iou": 0.2},
        "c": {"pointing": 0.9, "deletion_blur": 0.5, "topk_iou": 0.3},
    }
    ranks = paired.method_ranks(values)
    assert [ranks[m]["pointing"] for m in "abc"] == [1.5, 3, 1.5]
    assert [ranks[m]["deletion_blur"] for m in "abc"] == [3, 1, 2]
    assert [ranks[m]["topk_iou"] for m in "abc"] == pytest.approx([np.nan, 2, 1], nan_ok=True)
    turned = paired.method_ranks(values, lambda metric: metric == "pointing")
    assert [turned[m]["pointing"] for m in "abc"] == [2.5, 1, 2.5]


def make_table():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 2)
    own = rng.random(60)
    own[:6] = np.nan
    return patients, {
        "cycle_am": {"pointing": own, "deletion": rng.random(60)},
        "worse": {"pointing": own - 0.3 + 0.1 * rng.normal(size=60), "deletion": rng.random(60)},
        "same": {"pointing": own + 0.1 * rng.normal(size=60), "deletion": rng.random(60)},
    }


def test_comparison_with_a_reference():
    patients, table = make_table()
    rows = {(row.method, row.metric): row for row in paired.compare(table, patients, flips=5000)}
    assert len(rows) == 6
    worse = rows["worse", "pointing"]
    assert worse.mean == mean_figure(table["worse"]["pointing"], patients)
    assert worse.difference == mean_figure(
        table["worse"]["pointing"] - table["cycle_am"]["pointing"], patients
    )
    assert (worse.difference["n"], worse.rank) == (54, 3)
    assert worse.difference["ci_high"] < 0
    assert worse.p == pytest.approx(1 / 5001)
    assert worse.p_holm == pytest.approx(4 / 5001)  # the smallest of 2 methods x 2 metrics
    assert rows["same", "pointing"].p_holm > 0.05
    reference = rows["cycle_am", "pointing"]
    assert np.isnan([reference.p, reference.p_holm]).all()
    assert reference.difference["value"] == 0
    lowest = min(table, key=lambda method: rows[method, "deletion"].mean["value"])
    assert rows[lowest, "deletion"].rank == 1


def test_a_missing_reference_is_an_error():
    patients, table = make_table()
    with pytest.raises(KeyError):
        paired.compare(table, patients, "lrp")
