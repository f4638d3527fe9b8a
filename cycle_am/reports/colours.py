"""Colours and scales that all pictures share, whatever draws them; light to import.

Blue speaks for the first class (benign) and red for the second (malignant), as in the paper's figure 6; the two are
told apart by colour-blind readers too.
"""

from __future__ import annotations

import numpy as np

from cycle_am.task import Task

FIRST, SECOND, PLAIN, ACCENT = "#2166ac", "#b2182b", "#6b6b6b", "#1a1a1a"
DIVERGING = "RdBu_r"
DIVERGING_POINTS = (
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247),
    (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
)  # fmt: skip  # ColorBrewer's, of which matplotlib makes DIVERGING
RELEVANCE_SCALE = 0.3  # R and changes are drawn from -.3 to .3 wherever they are, so that pictures compare


def scale_words(task: Task) -> str:
    """How R is drawn, for people."""
    of = (
        f"{RELEVANCE_SCALE * (task.high - task.low):.0f} HU" if task.is_hounsfield else "of 1, black to white"
    )
    return (
        f"drawn from −{RELEVANCE_SCALE} to {RELEVANCE_SCALE} ({of}), what is beyond in the colour of the end"
    )


def whole_words(task: Task) -> str:
    """What a change of 1 is, for people."""
    return f"1 = {task.high - task.low:.0f} HU" if task.is_hounsfield else "1 = black to white"


def diverging(values: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 in the colours of DIVERGING: blue at -1, white at 0, red at 1, what is beyond as the end."""
    place = (np.clip(values, -1, 1) + 1) / 2 * (len(DIVERGING_POINTS) - 1)
    channels = np.transpose(DIVERGING_POINTS)
    mixed = [np.interp(place, np.arange(len(DIVERGING_POINTS)), channel) for channel in channels]
    return np.stack(mixed, -1).round().astype(np.uint8)
