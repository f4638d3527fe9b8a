"""How p changes along the dial from G-(x) over x to G+(x), and where the answer flips; numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cycle_am.explanation import Explanation

POSITIONS = np.linspace(0, 1, 33, dtype=np.float32)  # each way, at which a flip is looked for
HALVINGS = 12  # of the step in which the answer flips
AT_ONCE = 64  # images: bounds the memory, whatever the number of cases
Probability = Callable[[np.ndarray], np.ndarray]  # images (T, H, W) -> p of the second class (T,)


def probabilities(explanation: Explanation, positions: np.ndarray, probability: Probability) -> np.ndarray:
    """(N, T) p at `positions`, (T,) or (N, T), as `Explanation.dial` counts them."""
    count, steps = len(explanation), np.shape(positions)[-1]
    rows = np.broadcast_to(positions, (count, steps))
    found = np.empty((count, steps), np.float32)
    cases = max(1, AT_ONCE // steps)
    for start in range(0, count, cases):
        part = slice(start, start + cases)
        images = explanation[part].dial(rows[part]).reshape(-1, *explanation.x.shape[1:])
        parts = [probability(images[i : i + AT_ONCE]) for i in range(0, len(images), AT_ONCE)]
        found[part] = np.concatenate(parts).reshape(-1, steps)
    return found


def distance(explanation: Explanation, probability: Probability) -> np.ndarray:
    """(N,) as `Explanation.distance`, to 1e-5: the first flip on a grid, then halved."""
    malignant = explanation.explained.x >= 0.5
    side = np.where(malignant, -1, 1).astype(np.float32)[:, None]

    def flipped(steps: np.ndarray) -> np.ndarray:
        return (probabilities(explanation, side * steps, probability) >= 0.5) != malignant[:, None]

    answers = flipped(POSITIONS[None])
    first = answers.argmax(1)
    below, above = POSITIONS[np.maximum(first - 1, 0)], POSITIONS[first]
    for _ in range(HALVINGS):
        middle = (below + above) / 2
        beyond = flipped(middle[:, None])[:, 0]
        below, above = np.where(beyond, below, middle), np.where(beyond, middle, above)
    return np.where(answers.any(1), above, np.nan).astype(np.float32)
