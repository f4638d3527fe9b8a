"""How far along the dial from G-(x) over x to G+(x) the answer flips; numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation

POSITIONS = np.linspace(0, 1, 33, dtype=np.float32)  # of the dial, each way
HALVINGS = 12  # of the step of the dial in which the answer flips


def distance(
    explanation: Explanation, probabilities: Callable[[Explanation, np.ndarray], np.ndarray]
) -> np.ndarray:
    """(N,) as `Explanation.distance`, to 1e-5: the first flip on a grid, then halved.

    probabilities: (explanation, positions (N, T)) -> p of the second class there (N, T).
    """
    second = explanation.explained.x >= 0.5
    side = np.where(second, -1, 1).astype(np.float32)[:, None]

    def flipped(steps: np.ndarray) -> np.ndarray:
        return (probabilities(explanation, side * steps) >= 0.5) != second[:, None]

    answers = flipped(POSITIONS[None])
    first = answers.argmax(1)
    below, above = POSITIONS[np.maximum(first - 1, 0)], POSITIONS[first]
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        beyond = flipped(middle[:, None])[:, 0]
        below, above = np.where(beyond, below, middle), np.where(beyond, middle, above)
    return np.where(answers.any(1), above, np.nan).astype(np.float32)
