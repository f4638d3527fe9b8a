"""What the published numbers say of how they were computed."""

import numpy as np
import pytest
from scipy import stats

from cycle_am.reader_study import paper
from cycle_am.reader_study.analysis import factor
from cycle_am.reader_study.analysis.inference import two_sided

CELLS = [(method, criterion) for method in paper.METHODS for criterion in paper.CRITERIA]
#: Both tables are rounded to .01, and the mean of four rounded numbers is off by up to .005 again.
ROUNDING = 0.005 + 0.005 + 0.005 + 1e-9


def bounds(table):
    return np.array([(cell.low, cell.high) for row in table.values() for cell in row.values()]).ravel()


def on_grid(values, parts):
    """Whether each value is a multiple of 1 / parts, rounded to .01 either way at halves."""
    return np.abs(np.rint(values * parts) / parts - values) <= 0.005 + 1e-9


@pytest.mark.parametrize(("method", "criterion"), CELLS)
def test_table_3_is_table_2_less_the_mean_of_the_methods(method, criterion):
    mean = np.mean([paper.RAW[m][criterion].mean for m in paper.METHODS])
    assert paper.ADJUSTED[method][criterion].mean == pytest.approx(
        paper.RAW[method][criterion].mean - mean, abs=ROUNDING
    )


def test_published_adjusted_means_are_no_z_values():
    # The mean of 4 x 8 z values of a case has a square of 1; four method means cannot have a larger one.
    squares = [np.mean([paper.ADJUSTED[m][c].mean ** 2 for m in paper.METHODS]) for c in paper.CRITERIA]
    assert min(squares) > 1.5


@pytest.mark.parametrize("test", paper.TESTS, ids=lambda test: test.criterion)
def test_published_p_belong_to_seven_degrees_of_freedom(test):
    # t is rounded to .01, so p is known to about .0005.
    assert two_sided(test.t, paper.READERS - 1) == pytest.approx(test.p, abs=0.0006)
    assert abs(two_sided(test.t, paper.STATED_DEGREES) - test.p) > 0.003
    assert two_sided(test.t, 7) == pytest.approx(2 * (1 - stats.t(7).cdf(test.t)))


def test_ranks_of_four_methods_add_up_to_ten():
    for criterion in paper.CRITERIA:
        assert sum(row[criterion].mean for row in paper.RANKS.values()) == pytest.approx(10, abs=0.021)


def test_published_bounds_are_those_of_means_of_eight_answers():
    assert on_grid(bounds(paper.RAW), 8).all()
    assert on_grid(bounds(paper.RANKS), 16).all()
    # Not the percentiles of lesions' means over eight readers: less the lesion's mean of 32 answers, these would be
    # multiples of 1/32.
    assert not on_grid(bounds(paper.ADJUSTED), 32).all()
    # A grid of eighths holds about one in twelve numbers of two decimals; chance does not put 24 on it.
    others = np.round(np.random.default_rng(0).uniform(-4, 4, (1000, 24)), 2)
    assert on_grid(others, 8).all(1).sum() == 0


def test_published_factor_fits_the_published_correlations():
    """With the one correlation that is not stated set so that Phi explains 84.6 %, it lies between the stated ones, as
    it must, and KMO follows."""
    low, high = paper.CRITERIA_CORRELATION.values()
    thirds = np.linspace(low, high, 2000)
    matrices = np.array([[[1, high, low], [high, 1, r], [low, r, 1]] for r in thirds])
    explained = np.linalg.eigvalsh(matrices)[:, -1] / 3
    best = np.abs(explained - paper.GENERAL_FACTOR_VARIANCE).argmin()
    assert explained[best] == pytest.approx(paper.GENERAL_FACTOR_VARIANCE, abs=1e-4)
    assert low < thirds[best] < high
    assert factor.kmo(matrices[best]) == pytest.approx(paper.KMO, abs=0.005)
