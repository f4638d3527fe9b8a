"""Simulated studies of the paper's design show its published figures; the claims about how its t came about."""

import numpy as np
import pytest
from scipy import stats

from cycle_am.reader_study import paper
from cycle_am.reader_study.planning import calibration
from cycle_am.reader_study.planning.calibration import RAW, RHO, STUDIES, T
from cycle_am.reader_study.planning.readers import Panel, balanced, ratings

FRESH = 400


@pytest.fixture(scope="module")
def studies():
    model, rng = calibration.published(), np.random.default_rng(12345)
    return ratings(model, rng, FRESH, Panel.of(paper.READERS), balanced(paper.LESIONS))


def agrees(drawn, target):
    """Whether the mean over studies (S, ...) is the target, up to the error of these and of the calibration's."""
    error = drawn.std(0) * np.sqrt(1 / len(drawn) + 1 / STUDIES)
    return (np.abs(drawn.mean(0) - target) <= 4 * error + 1e-9).all()


def test_published_figures_come_back(studies):
    assert agrees(studies.mean((1, 2)), RAW)
    assert agrees(calibration.inter_observer(studies), RHO)
    assert agrees(calibration.correlations(studies), calibration.criteria_correlation())
    assert agrees(calibration.answers_t(studies), T)


def test_the_check_is_sharp_enough_to_fail(studies):
    assert not agrees(studies.mean((1, 2)), RAW + 0.3)
    assert not agrees(calibration.inter_observer(studies), RHO + 0.05)
    assert not agrees(calibration.answers_t(studies), T * 1.15)


def test_ranks_come_near_table_4_without_being_fitted(studies):
    ranks = stats.rankdata(-studies, axis=3).mean((0, 1, 2))
    table = np.array([[cell.mean for cell in row.values()] for row in paper.RANKS.values()])
    assert ranks == pytest.approx(table, abs=0.15)


@pytest.mark.parametrize("preference", [0.0, 0.75])
def test_what_is_assumed_of_preferences_leaves_the_published_figures(preference):
    drawn = ratings(
        calibration.published(preference), np.random.default_rng(1), 200, Panel.of(8), balanced(24)
    )
    assert agrees(drawn.mean((1, 2)), RAW)
    assert agrees(calibration.inter_observer(drawn), RHO)
    assert agrees(calibration.answers_t(drawn), T)


def test_a_t_over_readers_means_contradicts_the_published_rho():
    model = calibration.as_stated()
    drawn = ratings(model, np.random.default_rng(2), FRESH, Panel.of(8), balanced(24))
    assert agrees(calibration.readers_t(drawn), T)
    assert agrees(drawn.mean((1, 2)), RAW)
    assert (calibration.expected_rho(model) < RHO - 0.15).all()


def test_published_intervals_are_of_means_of_eight_answers():
    for table, step in ((paper.RAW, 1 / 8), (paper.RANKS, 1 / 16)):
        ends = np.array(
            [end for row in table.values() for cell in row.values() for end in (cell.low, cell.high)]
        )
        assert ends == pytest.approx(np.round(ends / step) * step, abs=0.0051)
    # ... and the spread of single answers that they imply gives the published t with n = 8.
    for test in paper.TESTS:
        ours, other = paper.RAW[paper.REFERENCE][test.criterion], paper.RAW[test.method][test.criterion]
        standard_errors = [(cell.high - cell.low) / (2 * stats.norm.isf(0.025)) for cell in (ours, other)]
        assert (ours.mean - other.mean) / np.hypot(*standard_errors) == pytest.approx(test.t, rel=0.12)


def test_the_criterion_correlation_that_is_not_stated_gives_the_published_kmo():
    r = calibration.criteria_correlation()
    inverse = np.linalg.inv(r)
    partial = inverse / np.sqrt(np.outer(np.diag(inverse), np.diag(inverse)))
    off = ~np.eye(3, dtype=bool)
    assert np.linalg.eigvalsh(r)[-1] / 3 == pytest.approx(paper.GENERAL_FACTOR_VARIANCE)
    kmo = (r[off] ** 2).sum() / ((r[off] ** 2).sum() + (partial[off] ** 2).sum())
    assert kmo == pytest.approx(paper.KMO, abs=0.005)


def test_statistics_against_numpy_and_scipy():
    x = np.random.default_rng(0).integers(-4, 5, (2, 4, 6, 4, 3)).astype(float)
    x[0, 0, :, :, 1] = 3  # a reader who gives one value
    pairs = [(i, j) for i in range(4) for j in range(i)]
    readers = x[1, :, :, :, 1].reshape(4, -1)
    expected = np.mean([np.corrcoef(readers[i], readers[j])[0, 1] for i, j in pairs])
    assert calibration.inter_observer(x)[1, 1] == pytest.approx(expected)
    readers = x[0, :, :, :, 1].reshape(4, -1)
    expected = sum(np.corrcoef(readers[i], readers[j])[0, 1] for i, j in pairs if j) / len(pairs)
    assert calibration.inter_observer(x)[0, 1] == pytest.approx(expected)
    assert calibration.correlations(x)[1] == pytest.approx(np.corrcoef(x[1].reshape(-1, 3), rowvar=False))
    first, second = x[1, :, :, 0, 0], x[1, :, :, 2, 0]
    assert calibration.readers_t(x)[1, 0] == pytest.approx(
        stats.ttest_rel(first.mean(1), second.mean(1)).statistic
    )
    over_answers = stats.ttest_rel(first.ravel(), second.ravel()).statistic
    assert calibration.answers_t(x)[1, 0] == pytest.approx(over_answers / np.sqrt(6))
