"""Agreement against published examples, a double loop by hand and other implementations."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from cycle_am.reader_study.analysis import reliability
from tests.cycle_am.reader_study.trials import trial_scores

#: Shrout & Fleiss (1979), table 2: four judges (rows here) rate six targets.
SHROUT_FLEISS = np.array(
    [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], float
)
#: Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve units.
GAP = np.nan
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, GAP, GAP, GAP],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, GAP, 3],
        [GAP, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, GAP],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, GAP],
    ]
)


def test_icc_of_shrout_and_fleiss():
    found = reliability.icc(SHROUT_FLEISS)
    assert (found.single, found.average, found.items) == pytest.approx((0.29, 0.62, 6), abs=0.005)
    # The intervals as R's psych package prints them for this table.
    assert (found.single_low, found.single_high) == pytest.approx((0.019, 0.76), abs=0.005)
    assert (found.average_low, found.average_high) == pytest.approx((0.07, 0.93), abs=0.005)


def test_icc_leaves_out_incomplete_items_and_has_no_value_without_variation():
    wider = np.column_stack([SHROUT_FLEISS, [5, 4, GAP, 3]])
    assert reliability.icc(wider) == reliability.icc(SHROUT_FLEISS)
    assert np.isnan(reliability.icc(np.full((3, 5), 2.0)).single)
    assert np.isnan(reliability.icc(SHROUT_FLEISS[:1]).single)
    assert np.isnan(reliability.icc(SHROUT_FLEISS[:, :1]).single)


def test_icc_of_perfect_agreement_and_of_a_constant_offset():
    items = np.arange(6.0)
    assert reliability.icc(np.stack([items, items])).single == pytest.approx(1)
    assert reliability.icc(np.stack([items, items + 3])).single < 0.5  # agreement is absolute


def test_krippendorffs_published_example():
    assert reliability.alpha(KRIPPENDORFF) == pytest.approx(0.815, abs=0.0005)


def test_alpha_has_no_value_where_nothing_varies_or_nobody_shares_an_item():
    assert np.isnan(reliability.alpha(np.full((3, 4), 1.0)))
    assert np.isnan(reliability.alpha(np.array([[1, 2, GAP, GAP], [GAP, GAP, 3, 4]])))


def by_double_loop(questionnaires):
    """Equation 7 as it is written."""
    n, total = len(questionnaires), 0.0
    for i in range(n - 1):
        for j in range(i + 1, n):
            a, b = questionnaires[i], questionnaires[j]
            a, b = a - sum(a) / len(a), b - sum(b) / len(b)
            total += sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5
    return total / (n * (n - 1) / 2)


def test_equation_7_by_hand():
    questionnaires = trial_scores(readers=5, cases=6)[..., 0].reshape(5, -1)
    found = reliability.inter_observer_rho(questionnaires)
    assert found.rho == pytest.approx(by_double_loop(questionnaires))
    assert (found.pairs, found.undefined) == (10, 0)


def test_a_reader_who_gives_one_value_is_left_out_and_counted():
    questionnaires = trial_scores(readers=4, cases=6)[..., 0].reshape(4, -1)
    others = reliability.inter_observer_rho(questionnaires[1:])
    questionnaires[0] = 2
    found = reliability.inter_observer_rho(questionnaires)
    assert (found.rho, found.pairs, found.undefined) == (others.rho, 3, 3)
    nobody = reliability.inter_observer_rho(np.ones((3, 5)))
    assert np.isnan(nobody.rho)
    assert (nobody.pairs, nobody.undefined) == (0, 3)


def test_correlations_take_what_both_readers_answered():
    first, second = np.array([1, 2, GAP, 4, 3.0]), np.array([2, 1, 5, 4, GAP])
    expected = np.corrcoef([1, 2, 4], [2, 1, 4])[0, 1]
    assert reliability.inter_observer_rho(np.stack([first, second])).rho == pytest.approx(expected)


def test_weighted_kappa_as_scikit_learn_has_it():
    rng = np.random.default_rng(0)
    first = rng.integers(-4, 5, 60)
    second = np.clip(first + rng.integers(-2, 3, 60), -4, 4)
    expected = cohen_kappa_score(first, second, weights="quadratic", labels=range(-4, 5))
    assert reliability.weighted_kappa(first, second) == pytest.approx(expected)
    assert np.isnan(reliability.weighted_kappa(np.ones(4), np.ones(4)))


def test_agreement_with_oneself_by_hand():
    first = np.array([[1.0, 2], [3, -1]])
    second = np.array([[1.0, GAP], [1, 0]])
    found = reliability.self_agreement(first, second)
    assert (found.pairs, found.mean_difference, found.equal) == pytest.approx((3, 1, 1 / 3))
    assert reliability.self_agreement(first, np.full((2, 2), GAP)).pairs == 0
