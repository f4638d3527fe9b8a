"""Localisation of each method's |R| against a region, fair to maps with ties and to maps that say nothing.

Relevance mass and rank accuracy: Arras et al. 2022 (CLEVR-XAI). Pointing game: Zhang et al. 2018. Where pixels
tie, a result is its expectation over a random order of them. So a map that is constant, or zero everywhere,
scores exactly the chance level, the share of the window that the region covers, and no method gains by staying
silent on the hard cases (`cycle_am.metrics.localisation` leaves those out: there a silent generator is the finding).
NaN only for cases without a region and for maps with a value that is not finite.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cycle_am.metrics.localisation import SHIFT_PIXELS, Regions, regions, shift_plan


def pointing_game(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(N,) 1 where the pixel of largest |R| lies in the region (N, H, W) bool, else 0; a share among tied peaks."""
    magnitude, inside = _flat(maps, region)
    peak = magnitude == magnitude.max(1, keepdims=True)
    return _where_known(magnitude, inside, (peak & inside).sum(1) / np.maximum(peak.sum(1), 1))


def mass_accuracy(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(N,) share of |R| that lies in the region; the region's area for a map that is zero everywhere."""
    magnitude, inside = _flat(maps, region)
    total = magnitude.sum(1)
    with np.errstate(invalid="ignore"):
        share = np.where(total > 0, (magnitude * inside).sum(1) / total, inside.mean(1))
    return _where_known(magnitude, inside, share)


def rank_accuracy(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(N,) share of the k pixels of largest |R| that lie in the region, k its number of pixels."""
    magnitude, inside = _flat(maps, region)
    size = inside.sum(1)
    last = np.maximum(size, 1)[:, None] - 1
    threshold = np.take_along_axis(-np.sort(-magnitude, 1), last, 1)
    above, tied = magnitude > threshold, magnitude == threshold
    places = (size - above.sum(1)) / np.maximum(tied.sum(1), 1)  # for each tied pixel
    hits = (above & inside).sum(1) + places * (tied & inside).sum(1)
    return _where_known(magnitude, inside, hits / np.maximum(size, 1))


def topk_iou(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of the k pixels of largest |R| and the region of k pixels.

    With this k it is r / (2 - r) of the rank accuracy r: the same order of cases on another scale.
    """
    hit = rank_accuracy(maps, region)
    return hit / (2 - hit)


METRICS = {
    "pointing": pointing_game,
    "relevance_mass": mass_accuracy,
    "relevance_rank": rank_accuracy,
    "topk_iou": topk_iou,
}


def pointing(maps: np.ndarray, where: Regions, suffix: str = "") -> dict[str, np.ndarray]:
    """All four of (N, H, W) maps, each (N,), in the consensus mask and, `<name>_dilated`, in the dilated one.

    `suffix`, such as "_shifted", ends every name.
    """
    return {
        f"{name}{ending}{suffix}": metric(maps, region)
        for ending, region in (("", where.mask), ("_dilated", where.dilated))
        for name, metric in METRICS.items()
    }


def chance(where: Regions, suffix: str = "") -> dict[str, np.ndarray]:
    """What a map that says nothing scores, by the names of `pointing`."""
    return pointing(np.zeros(where.mask.shape), where, suffix)


@dataclass(frozen=True)
class Window:
    """What to explain and where the truth lies: images (N, 1, H, W) in [0, 1] and their regions."""

    images: Tensor
    where: Regions


def windows(cases, pixels: int = SHIFT_PIXELS) -> tuple[Window, Window]:
    """The centred windows of `cycle_am.data.cases.Cases` and shifted ones; a case that has no margin to be shifted
    is unknown among the latter."""
    shifts = shift_plan(cases.margin, pixels)
    return _window(cases, 0 * shifts, cases.has_mask), _window(cases, shifts, cases.has_mask & shifts.any(1))


def _window(cases, shifts: np.ndarray, has_mask: np.ndarray) -> Window:
    images, masks = cases.window(shifts)
    shape = (len(images), *images.shape[-2:])
    return Window(images, regions(masks, has_mask, cases.pixel_mm, shape))


def _flat(maps: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(maps)
    return np.abs(maps).reshape(n, -1).astype(np.float64), region.reshape(n, -1)


def _where_known(magnitude: np.ndarray, inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(inside.any(1) & np.isfinite(magnitude).all(1), values, np.nan)
