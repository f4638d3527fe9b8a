"""How far along the dial from G-(x) over x to G+(x) the answer flips; numpy alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cycle_am.explanation import Explanation

POSITIONS = np.linspace(0, 1, 33, dtype=np.float32)  # of the dial, each way


def distance(explanation: Explanation, probability: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(N,) as `Explanation.distance`; probability: images (T, H, W) -> p of the second class (T,)."""
    start = explanation.explained.x >= 0.5
    found = np.full(len(explanation), np.nan, np.float32)
    for i, one in enumerate(explanation):
        p = probability(one.dial(-POSITIONS if start[i] else POSITIONS)[0])
        flipped = np.flatnonzero((p >= 0.5) != start[i])
        if len(flipped):
            found[i] = _crossing(p, int(flipped[0]))
    return found


def _crossing(p: np.ndarray, first: int) -> float:
    """|position| at which p crosses .5, linear between the two steps around it."""
    if first == 0:
        return 0.0
    before, after = p[first - 1], p[first]
    share = (0.5 - before) / (after - before)
    return float(POSITIONS[first - 1] + share * (POSITIONS[first] - POSITIONS[first - 1]))
