"""KMO by regression residuals, PCA by numpy and scikit-learn, the tree by hand."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from cycle_am.reader_study.analysis import factor
from tests.cycle_am.reader_study.trials import trial_scores

ANSWERS = trial_scores().reshape(-1, 3)


def partial_by_residuals(answers, i, j):
    """Correlation of what the other criteria leave of i and of j."""
    others = np.delete(answers, [i, j], axis=1)
    design = np.column_stack([np.ones(len(answers)), others])
    left = [y - design @ np.linalg.lstsq(design, y, rcond=None)[0] for y in (answers[:, i], answers[:, j])]
    return np.corrcoef(*left)[0, 1]


def test_kmo_by_partial_correlations_of_residuals():
    answers = np.random.default_rng(0).normal(size=(200, 4)) @ np.random.default_rng(1).normal(size=(4, 4))
    pairs = [(i, j) for i in range(4) for j in range(i)]
    r = sum(np.corrcoef(answers[:, i], answers[:, j])[0, 1] ** 2 for i, j in pairs)
    partial = sum(partial_by_residuals(answers, i, j) ** 2 for i, j in pairs)
    assert factor.kmo(factor.correlations(answers)) == pytest.approx(r / (r + partial))


def test_kmo_by_hand():
    assert factor.kmo(np.array([[1, 0.3], [0.3, 1]])) == pytest.approx(0.5)  # nothing to partial out
    # All r = .5: partial correlation (.5 - .25) / (1 - .25) = 1/3, so .25 / (.25 + 1/9) = 9/13.
    assert factor.kmo(np.full((3, 3), 0.5) + np.eye(3) / 2) == pytest.approx(9 / 13)


@pytest.mark.parametrize("matrix", [np.ones((1, 1)), np.ones((2, 2)), np.array([[1, np.nan], [np.nan, 1]])])
def test_kmo_has_no_value_for_one_criterion_or_a_singular_matrix(matrix):
    assert np.isnan(factor.kmo(matrix))


def test_general_factor_as_numpy_and_scikit_learn_have_it():
    found = factor.general_factor(ANSWERS)
    standard = (ANSWERS - ANSWERS.mean(0)) / ANSWERS.std(0)
    _, singular, vectors = np.linalg.svd(standard, full_matrices=False)
    assert found.explained == pytest.approx(singular[0] ** 2 / (singular**2).sum())
    pca = PCA().fit(standard)
    assert found.eigenvalues / 3 == pytest.approx(pca.explained_variance_ratio_)
    direction = vectors[0] * np.sign(vectors[0].sum())
    assert found.weights == pytest.approx(direction / np.abs(direction).sum())
    assert np.abs(found.weights).sum() == pytest.approx(1)
    phi = found.of(ANSWERS)
    assert phi == pytest.approx(standard @ direction / np.abs(direction).sum())
    assert found.loadings == pytest.approx([np.corrcoef(phi, column)[0, 1] for column in ANSWERS.T])


def test_higher_ratings_mean_a_higher_factor():
    found = factor.general_factor(ANSWERS)
    assert (found.weights > 0).all()
    assert found.of(np.full(3, 4.0)) > found.of(np.full(3, -4.0))


def test_incomplete_answers_and_criteria_that_do_not_vary():
    lacking = np.vstack([ANSWERS, [np.nan, 1, 2]])
    assert factor.general_factor(lacking).weights == pytest.approx(factor.general_factor(ANSWERS).weights)
    assert np.isnan(factor.general_factor(ANSWERS).of(np.array([np.nan, 1, 2])))
    assert factor.general_factor(np.column_stack([ANSWERS[:, 0], np.ones(len(ANSWERS))])) is None


def test_one_criterion_is_its_own_factor():
    found = factor.general_factor(ANSWERS[:, :1])
    assert (found.explained, found.weights.tolist()) == (1, [1])


def test_tree_joins_the_closest_criteria_first():
    links = factor.tree(np.array([[1, 0.2, 0.9], [0.2, 1, 0.4], [0.9, 0.4, 1]]))
    assert links[:, 2] == pytest.approx([1 - 0.9, 1 - (0.2 + 0.4) / 2])
    assert set(links[0, :2]) == {0, 2}
    assert factor.tree(np.ones((1, 1))) is None
    assert factor.tree(np.array([[1, np.nan], [np.nan, 1]])) is None
