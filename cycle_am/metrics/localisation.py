"""Where the explanation points, and controls that a generator which paints one fixed pattern does not pass.

A map R is judged by its magnitude |R|. `mask` is the readers' consensus (at least half of them drew the
pixel), `dilated` the mask grown by 3 mm, because growth and spicules lie just outside an outline. The centre
prior is what a fixed blob in the middle of the window would score without looking at the image: nodules are
centred, so it scores well; on shifted windows it does not.

Relevance mass and rank accuracy: Arras et al. 2022 (CLEVR-XAI). Pointing game: Zhang et al. 2018.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from torch import Tensor

from cycle_am.estimate import Estimate, undefined
from cycle_am.explainers.control_centre import centre_blob
from cycle_am.metrics.bootstrap import Statistic, bootstrap, mean_figure

CONSENSUS = 0.5
DILATION_MM = 3.0
SHIFT_PIXELS = 6
FOLLOWED_ABOVE = 0.8
DIRECTIONS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])


@dataclass(frozen=True)
class Regions:
    """Outlines of N cases, (N, H, W) bool each; rows of cases without a mask are all False and `known` (N,)
    is False there."""

    mask: np.ndarray
    dilated: np.ndarray
    known: np.ndarray


def dilate(mask: np.ndarray, radius_pixels: float) -> np.ndarray:
    """Every pixel of (H, W) whose centre lies within `radius_pixels` of a pixel of the mask."""
    if not mask.any():
        return mask.copy()
    return ndimage.distance_transform_edt(~mask) <= radius_pixels


def regions(
    masks: Tensor | np.ndarray | None, has_mask: np.ndarray, pixel_mm: float, shape: tuple[int, ...]
) -> Regions:
    """Regions from (N, 1, H, W) or (N, H, W) reader fractions in [0, 1]; `masks` may be None where nobody
    drew any.

    A case whose consensus is empty (no pixel drawn by half of the readers) counts as one without a mask.
    """
    if masks is None:
        empty = np.zeros(shape, dtype=bool)
        return Regions(empty, empty, np.zeros(shape[0], dtype=bool))
    mask = np.asarray(masks).reshape(shape) >= CONSENSUS
    mask &= np.asarray(has_mask, dtype=bool)[:, None, None]
    dilated = np.stack([dilate(outline, DILATION_MM / pixel_mm) for outline in mask])
    return Regions(mask, dilated, mask.any((1, 2)))


def peak_inside(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """`pointing_game`, but NaN for a map that is zero everywhere: a silent generator is a finding of its own."""
    return _unless_silent(maps, pointing_game(maps, region))


def mass_inside(maps: np.ndarray, region: np.ndarray) -> np.ndarray:
    """`mass_accuracy`, but NaN for a map that is zero everywhere."""
    return _unless_silent(maps, mass_accuracy(maps, region))


def _unless_silent(maps: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(np.any(maps != 0, axis=(1, 2)), values, np.nan)


def area(region: np.ndarray) -> np.ndarray:
    """(N,) share of the window that the region covers: the relevance mass of a map that is equal
    everywhere."""
    return region.mean((1, 2), dtype=np.float64)


def locate(maps: np.ndarray, where: Regions) -> dict[str, np.ndarray]:
    """Peak and mass of each map in the mask and in the dilated mask, each (N,), NaN for cases without a
    mask."""
    found = {
        "peak": peak_inside(maps, where.mask),
        "mass": mass_inside(maps, where.mask),
        "peak_dilated": peak_inside(maps, where.dilated),
        "mass_dilated": mass_inside(maps, where.dilated),
    }
    return {name: np.where(where.known, values, np.nan) for name, values in found.items()}


def shift_plan(margin: np.ndarray, pixels: int = SHIFT_PIXELS) -> np.ndarray:
    """(N, 2) shifts in rows and columns: `pixels`, or the case's margin where that is less, in four
    directions by turns."""
    size = np.minimum(np.asarray(margin), pixels)
    return DIRECTIONS[np.arange(len(size)) % len(DIRECTIONS)] * size[:, None]


def move(image: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut two maps to their overlap: (H, W) and the shift of a second one -> index of the content in first
    and second."""
    first, second = [], []
    for size, step in zip(image.shape, shift, strict=True):
        first.append(slice(max(0, -step), size - max(0, step)))
        second.append(slice(max(0, step), size - max(0, -step)))
    return tuple(first), tuple(second)


def followed(maps: np.ndarray, shifted_maps: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """(N,) correlation of each shifted image's map with the shifted map of the image, on their overlap.

    NaN for cases that could not be shifted; 0 where one of the two maps is constant.
    """
    return np.array(
        [overlap_correlation(*triple) for triple in zip(maps, shifted_maps, shifts, strict=True)],
        dtype=np.float64,
    )


def overlap_correlation(first: np.ndarray, second: np.ndarray, shift: np.ndarray) -> float:
    """Correlation of (H, W) maps after `second` is moved back by `shift`; NaN for a zero shift."""
    if not np.any(shift):
        return float("nan")
    here, there = move(first, shift)
    a, b = first[here].ravel().astype(np.float64), second[there].ravel().astype(np.float64)
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def fixed_pattern(maps: np.ndarray) -> Statistic:
    """Energy of the mean map over the mean energy of the maps: 1 where every case gets the same map, about
    1/N where maps have nothing in common. (N, H, W) -> statistic."""
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    gram = flat @ flat.T
    energy = np.diag(gram)

    def statistic(weights: np.ndarray) -> np.ndarray:
        of_mean = ((weights @ gram) * weights).sum(1) / weights.sum(1) ** 2
        return of_mean / ((weights @ energy) / weights.sum(1))

    return statistic


@dataclass(frozen=True)
class Localisation:
    """Per-case results: `found` on centred windows, `found_shifted` on shifted ones, `prior` and
    `prior_shifted` for the blob."""

    figures: dict[str, np.ndarray]
    found_shifted: dict[str, np.ndarray]
    prior: dict[str, np.ndarray]
    prior_shifted: dict[str, np.ndarray]
    area: np.ndarray
    area_dilated: np.ndarray
    correlation: np.ndarray
    shifts: np.ndarray


def localise(cases, maps: np.ndarray, explain: Callable[[Tensor], np.ndarray]) -> Localisation:
    """Judge the maps of all cases on centred and on shifted windows.

    Args:
        cases: the test cases with margin (`cycle_am.data.cases.Cases`).
        maps: (N, H, W) R of the centred windows.
        explain: (N, 1, H, W) images in [0, 1] -> (N, H, W) R, called once, on the shifted windows.
    """
    shifts = shift_plan(cases.margin)
    centred, moved = cases.window(), cases.window(shifts)
    where = regions(centred[1], cases.has_mask, cases.pixel_mm, maps.shape)
    where_moved = regions(moved[1], cases.has_mask & shifts.any(1), cases.pixel_mm, maps.shape)
    maps_moved = explain(moved[0]) if shifts.any() else maps
    blob = np.broadcast_to(centre_blob(maps.shape[1:], cases.pixel_mm), maps.shape)
    return Localisation(
        figures=locate(maps, where),
        found_shifted=locate(maps_moved, where_moved),
        prior=locate(blob, where),
        prior_shifted=locate(blob, where_moved),
        area=np.where(where.known, area(where.mask), np.nan),
        area_dilated=np.where(where.known, area(where.dilated), np.nan),
        correlation=followed(maps, maps_moved, shifts),
        shifts=shifts,
    )


def localisation_figures(
    result: Localisation, maps: np.ndarray, patients: np.ndarray, **options
) -> dict[str, Estimate]:
    """All figures of localisation by the names of metrics.json."""
    followed_share = np.where(np.isfinite(result.correlation), result.correlation >= FOLLOWED_ABOVE, np.nan)
    moved = np.where(result.shifts.any(1), np.abs(result.shifts).max(1), np.nan)
    per_case = {
        "peak_in_mask": result.figures["peak"],
        "relevance_mass": result.figures["mass"],
        "mask_area": result.area,
        "peak_in_dilated": result.figures["peak_dilated"],
        "relevance_mass_dilated": result.figures["mass_dilated"],
        "dilated_area": result.area_dilated,
        "centre_prior_peak": result.prior["peak"],
        "centre_prior_mass": result.prior["mass"],
        "centre_prior_peak_dilated": result.prior["peak_dilated"],
        "centre_prior_mass_dilated": result.prior["mass_dilated"],
        "peak_in_mask_shifted": result.found_shifted["peak"],
        "relevance_mass_shifted": result.found_shifted["mass"],
        "peak_in_dilated_shifted": result.found_shifted["peak_dilated"],
        "relevance_mass_dilated_shifted": result.found_shifted["mass_dilated"],
        "centre_prior_peak_shifted": result.prior_shifted["peak"],
        "centre_prior_mass_shifted": result.prior_shifted["mass"],
        "centre_prior_peak_dilated_shifted": result.prior_shifted["peak_dilated"],
        "centre_prior_mass_dilated_shifted": result.prior_shifted["mass_dilated"],
        "shift_followed": followed_share,
        "shift_correlation": result.correlation,
        "shift_pixels": moved,
    }
    figures = {name: mean_figure(values, patients, **options) for name, values in per_case.items()}
    pattern = bootstrap(fixed_pattern(maps), patients, **options) if len(maps) > 1 else undefined(len(maps))
    return figures | {"fixed_pattern": pattern}


# Where pixels tie, a result is its expectation over a random order of them. So a map that is constant, or zero
# everywhere, scores exactly the chance level, the share of the window that the region covers, and where methods stand
# side by side none gains by staying silent on the hard cases. NaN only for cases without a region and for maps with a
# value that is not finite.


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
