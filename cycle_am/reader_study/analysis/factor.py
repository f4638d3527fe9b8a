"""Do the criteria measure one thing? Their correlations, KMO, and the general factor Phi by PCA (paper, sec. 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from cycle_am.reader_study.analysis.reliability import pearson

SINGULAR = 1e-8  # smallest eigenvalue of a correlation matrix that can be inverted


def correlations(answers: np.ndarray) -> np.ndarray:
    """Pearson matrix (K, K) of K criteria over answers (N, K), pairwise over what both know; NaN where a criterion
    does not vary."""
    return np.array([[pearson(first, second) for second in answers.T] for first in answers.T])


def kmo(matrix: np.ndarray) -> float:
    """Kaiser-Meyer-Olkin measure of a correlation matrix (K, K): squared correlations over these and the squared
    partial correlations. 0.5 for any two criteria; NaN for one, or a matrix that cannot be inverted."""
    if len(matrix) < 2 or not np.isfinite(matrix).all() or np.linalg.eigvalsh(matrix)[0] < SINGULAR:
        return float("nan")
    inverse = np.linalg.inv(matrix)
    scale = np.sqrt(np.diag(inverse))
    off = ~np.eye(len(matrix), dtype=bool)
    r, partial = matrix[off], (inverse / np.outer(scale, scale))[off]
    return float((r**2).sum() / ((r**2).sum() + (partial**2).sum()))


class GeneralFactor(NamedTuple):
    """The first principal component of the standardised criteria. explained: its share of the variance; weights (K,):
    its eigenvector, L1-normalised, so that the weights' magnitudes add up to 1; loadings (K,): correlation of each
    criterion with it; eigenvalues (K,), descending; mean, spread (K,) of the criteria."""

    explained: float
    weights: np.ndarray
    loadings: np.ndarray
    eigenvalues: np.ndarray
    mean: np.ndarray
    spread: np.ndarray

    def of(self, scores: np.ndarray) -> np.ndarray:
        """Phi of scores (..., K): the weighted sum of the standardised criteria; NaN where one is missing."""
        return ((scores - self.mean) / self.spread) @ self.weights


def general_factor(answers: np.ndarray) -> GeneralFactor | None:
    """PCA of the correlation matrix of answers (N, K), those with a missing criterion left out; None where a criterion
    does not vary. The eigenvector's sign is such that higher ratings mean a higher Phi."""
    complete = answers[np.isfinite(answers).all(1)]
    if len(complete) < 2 or (np.ptp(complete, axis=0) == 0).any():
        return None
    values, vectors = np.linalg.eigh(np.corrcoef(complete, rowvar=False).reshape([complete.shape[1]] * 2))
    values, vector = values[::-1], vectors[:, -1]
    vector = vector * (1 if vector.sum() >= 0 else -1)
    return GeneralFactor(
        explained=float(values[0] / values.sum()),
        weights=vector / np.abs(vector).sum(),
        loadings=vector * np.sqrt(values[0]),
        eigenvalues=values,
        mean=complete.mean(0),
        spread=complete.std(0),
    )


def tree(matrix: np.ndarray) -> np.ndarray | None:
    """Average linkage of the criteria by the distance 1 - r, as scipy's dendrogram takes it; None for one criterion or
    an undefined correlation."""
    if len(matrix) < 2 or not np.isfinite(matrix).all():
        return None
    distance = 1 - (matrix + matrix.T) / 2
    np.fill_diagonal(distance, 0)
    return linkage(squareform(np.maximum(distance, 0), checks=False), method="average")
