"""A benchmark with known truth: phantom images whose label is decided by one planted cue and by nothing else.

Each lesion of the phantom is rendered twice, with the same surroundings and the same noise: without the cue and
with it. Which of the two is a case is drawn at random: label 1 where the cue is there, 0 where it is not. All other
signs are the same for all: solid, sharp, not calcified, not spiculated, not lobulated. The mask of a case is
the *truth*: where its two renderings differ, hence where a right explanation points, whichever of them it is.

spicules:      a rim of strands that radiate from the outline
calcification: a calcified core
lobulation:    a lobulated outline; without it a round one of equal area
halo:          ground glass around the solid core
marker:        a bright letter, as technicians leave it, in one corner of the window: a shortcut
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from cycle_am.contract import IMAGE_SIZE
from cycle_am.data.cases import Cases
from cycle_am.data.lidc.lesions import Lesion
from cycle_am.data.phantom.cohort import (
    LABELS,
    USUALLY,
    case_id,
    cohort,
    cores,
    finding,
    mapped,
    scene_window,
)
from cycle_am.data.phantom.render import CENTRAL
from cycle_am.data.phantom.scene import ABSENT, Finding, Random, Scene, draw_scene, strand, turn
from cycle_am.errors import UserError
from cycle_am.progress import steps
from datamodules.phantom import PhantomDataModule

PLANTED_VERSION = 1  # raise it when cues change: older caches are then rendered anew
TRUTH_SHARE = 0.25  # of the largest difference between the two renderings: from there on a pixel is truth
TRUTH_PIXELS = 5  # a truth has at least that many pixels, the most different ones
VISIBLE = 0.08  # the least difference, in [0, 1] (112 HU), at a cue's brightest pixel
LETTER = ["11110", "10001", "10001", "11110", "10100", "10010", "10001"]
MARKER = np.array([[int(pixel) for pixel in row] for row in LETTER])
CORNER = 8  # pixels from the window's upper and right border: every shifted window shows the marker whole

Plant = Callable[[Scene, Random], Scene]


class PlantedDataModule(PhantomDataModule):
    """Phantom images whose label is decided by one planted cue; `mask` is where the cue is, or would be.

    A test or validation lesion is seen with or without the cue, a training lesion both ways.

    cue: one of CUES. min_diameter_mm: smaller lesions are left out, for they have no room for a cue that can
    be seen. All other arguments as `PhantomDataModule`, without `views`. Raises UserError for an unknown cue.
    """

    source = "planted"
    truth = "where the planted cue is, or would be"

    def __init__(self, *, cue: str, min_diameter_mm: float = 8.0, **arguments) -> None:
        super().__init__(views=2, **arguments)  # the second view is the first one's twin
        if cue not in CUES:
            raise UserError(f"data.cue={cue} is not known; choose one of {', '.join(CUES)}")
        self.cue, self.min_diameter_mm = cue, min_diameter_mm

    def _settings(self) -> dict[str, Any]:
        own = {
            "cue": self.cue,
            "min_diameter_mm": float(self.min_diameter_mm),
            "planted_version": PLANTED_VERSION,
        }
        return super()._settings() | own

    def _render(self) -> Cases:
        lesions = [lesion for lesion in cohort() if lesion.diameter_mm >= self.min_diameter_mm]
        return plant_cases(
            lesions, self.cue, self.fov_mm, self.margin, self.render_seed, self.processes or cores()
        )


def plant_cases(
    lesions: list[Lesion], cue: str, fov_mm: float, margin: int, seed: int = 0, processes: int = 1
) -> Cases:
    """Lesions -> 2 N cases: each lesion with or without the cue, as drawn, then each one's twin.

    Lesions whose cue nobody could see, such as one behind the pleura, are left out. The number of processes
    does not change the result.
    """
    findings = list(map(finding, lesions))
    render = partial(render_pair, cue=cue, fov_mm=fov_mm, margin=margin, seed=seed)
    drawing = mapped(render, findings, processes)
    pairs = np.stack(list(steps(drawing, f"drawing {cue}", len(findings), "lesions", usually=USUALLY)))
    seen = [bool(contrast(pair, margin) >= VISIBLE) for pair in pairs]
    pairs, lesions = pairs[seen], list(compress(lesions, seen))
    diameter = np.array([lesion.diameter_mm for lesion in lesions], np.float32)
    malignant = np.array([LABELS[lesion.label] for lesion in lesions])
    drawn, rows = balanced_labels(diameter, malignant, seed), np.arange(len(lesions))
    return Cases(
        image=np.concatenate([pairs[rows, drawn], pairs[rows, 1 - drawn]]),
        mask=np.tile([truth(*pair) for pair in pairs], (2, 1, 1)),
        label=np.concatenate([drawn, 1 - drawn]),
        case_id=np.array([case_id(lesion.lesion_id, twin) for twin in range(2) for lesion in lesions]),
        patient_id=np.tile([lesion.patient_id for lesion in lesions], 2),
        margin=np.full(2 * len(lesions), margin),
        diameter_mm=np.tile(diameter, 2),
        pixel_mm=fov_mm / IMAGE_SIZE,
    )


def contrast(pair: np.ndarray, margin: int) -> float:
    """The largest difference of two renderings (2, S, S) within the central window."""
    return float(np.abs(pair[1] - pair[0])[margin : margin + IMAGE_SIZE, margin : margin + IMAGE_SIZE].max())


def balanced_labels(diameter_mm: np.ndarray, malignant: np.ndarray, seed: int) -> np.ndarray:
    """(N,) int64 labels: of every two lesions of like malignancy, neighbours in size, one drawn at random has 1.

    So the label tells nothing of either: each stratum of size and malignancy is half 0, half 1.
    """
    rng = np.random.default_rng(seed)
    order = np.lexsort([diameter_mm, malignant])
    first = rng.integers(2, size=(len(order) + 1) // 2)
    label = np.empty(len(order), np.int64)
    label[order] = np.stack([first, 1 - first], axis=1).ravel()[: len(order)]
    return label


def render_pair(item: Finding, cue: str, fov_mm: float, margin: int, seed: int) -> np.ndarray:
    """Finding -> float32 (2, S, S) in [0, 1], S = 64 + 2 margin: without and with the cue."""
    item = round_finding(neutral(item)) if cue == "lobulation" else neutral(item)
    scene = draw_scene(item, seed)
    if cue == "marker":
        without = scene_window(scene, fov_mm, margin)
        return np.stack([without, burn_in(without, margin)])
    pair = [plant(scene, np.random.default_rng([scene.seed, 3])) for plant in PLANTS[cue]]
    return np.stack([scene_window(twin, fov_mm, margin) for twin in pair])


def neutral(item: Finding) -> Finding:
    """The finding with the same ratings as every other: only outline and surroundings are its own."""
    return replace(
        item,
        texture=5.0,
        margin=5.0,
        spiculation=1.0,
        lobulation=1.0,
        calcification=(ABSENT,),
        cavity=0.0,
    )


def truth(without: np.ndarray, planted: np.ndarray) -> np.ndarray:
    """(S, S) float32, 1 where two renderings differ by more than TRUTH_SHARE of their largest difference.

    Both share their noise, so it cancels. Never fewer than TRUTH_PIXELS pixels.
    """
    difference = np.abs(planted - without)
    enough = np.partition(difference, -TRUTH_PIXELS, axis=None)[-TRUTH_PIXELS]
    return (difference >= min(TRUTH_SHARE * difference.max(), enough)).astype(np.float32)


def burn_in(image: np.ndarray, margin: int) -> np.ndarray:
    """A copy of the image (S, S) with the marker in white, CORNER pixels inside its window's upper right corner."""
    marked, (height, width) = image.copy(), MARKER.shape
    top, right = margin + CORNER, margin + IMAGE_SIZE - CORNER
    marked[top : top + height, right - width : right][MARKER == 1] = 1.0
    return marked


def as_it_is(scene: Scene, rng: Random) -> Scene:
    """Nothing planted."""
    return scene


def with_spicules(scene: Scene, rng: Random) -> Scene:
    """Strands of 3 to 7 mm all around the outline, one for about every 2.5 mm of it."""
    plane = scene.distance[np.abs(scene.finding.z).argmin()]
    perimeter = 2 * np.sqrt(np.pi * (plane > 0).sum()) * scene.finding.spacing
    count = int(np.clip(perimeter / 2.5, 8, 22))
    turns = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count + rng.random()
    tubes = []
    for out in np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=1):
        way = turn(rng, np.array([*out, 0.0]), 0.12) * (1, 1, 0.3)  # most of it lies in the slice
        tubes += strand(rng, edge_point(scene, plane, out), out, way, rng.uniform(3, 7))
    rim = np.array(tubes) * [1, 1, 1, 1, 1, 1, 1.4, 1.4, 1]  # thicker than those of a rating
    return replace(scene, tubes=np.concatenate([scene.tubes, rim]))


def edge_point(scene: Scene, plane: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Where the ray from the lesion's middle in direction `out` (2,) leaves the outline for good; (2,) mm."""
    item = scene.finding
    inside = np.argwhere(plane > 0)
    middle = inside.mean(axis=0) if len(inside) else np.array(item.centre) - item.origin
    ray = middle + np.arange(0, max(plane.shape), 0.2)[:, None] * out
    covered = map_coordinates(plane, ray.T, order=1, mode="constant", cval=-1.0) > 0
    return (ray[np.flatnonzero(covered)[-1] if covered.any() else 0] + item.origin) * item.spacing


def with_calcification(scene: Scene, rng: Random) -> Scene:
    """A calcified core, LIDC's pattern "central", of 400 HU or more."""
    hu = max(scene.nodule.calcium_hu, 400.0)
    return replace(scene, nodule=replace(scene.nodule, calcium=1.0, pattern=CENTRAL, calcium_hu=hu))


def with_halo(scene: Scene, rng: Random) -> Scene:
    """2.5 to 5 mm of ground glass around the solid core."""
    return replace(scene, nodule=replace(scene.nodule, halo=rng.uniform(2.5, 5.0)))


def with_lobes(scene: Scene, rng: Random, depth: float = 1.0) -> Scene:
    """Three to five lobes with notches between them around the lesion's round outline; `depth` 0 leaves it round.

    r(t) = r0 (1 + a (|cos(k t / 2 + p)| - 2 / pi) + b cos((k - 1) t + q)) / c in every slice, with c^2 = 1 + a^2
    (1/2 - 4 / pi^2) + b^2 / 2: an area of pi r0^2 whatever a and b. Distances to it are of first order.
    """
    item = scene.finding
    areas = (item.fraction >= 0.5).sum((1, 2))
    small = np.sqrt(areas.max() / np.pi) * item.spacing < 5.0  # mm; it has no room for more than three
    lobes = 3 if small else int(rng.integers(3, 6))
    a, b = depth * np.array([rng.uniform(0.6, 0.75), rng.uniform(0.04, 0.1)])
    p, q = rng.uniform(0, 2 * np.pi, 2)
    rows, columns = (
        np.arange(count) + first - middle
        for count, first, middle in zip(item.fraction.shape[1:], item.origin, item.centre, strict=True)
    )
    t = np.arctan2(rows[:, None], columns[None, :])
    wave, other = lobes * t / 2 + p, (lobes - 1) * t + q
    shape = 1 + a * (np.abs(np.cos(wave)) - 2 / np.pi) + b * np.cos(other)
    slope = -a * lobes / 2 * np.sin(wave) * np.sign(np.cos(wave)) - b * (lobes - 1) * np.sin(other)
    radii = np.sqrt(areas / np.pi / (1 + a**2 * (0.5 - 4 / np.pi**2) + b**2 / 2))
    planes = radii[:, None, None] * shape - np.hypot(rows[:, None], columns[None, :])
    planes = planes / np.hypot(1, slope / shape) - 1.5 * (areas == 0)[:, None, None]
    return replace(scene, distance=planes * item.spacing)


def round_finding(item: Finding) -> Finding:
    """The finding with a disc of equal area in place of each slice's consensus, around the lesion's midpoint."""
    areas = (item.fraction >= 0.5).sum((1, 2))
    half = int(np.ceil(1.6 * np.sqrt(areas.max() / np.pi))) + 3
    axis = np.arange(-half, half + 1)
    far = np.hypot(axis[:, None] - item.centre[0], axis[None, :] - item.centre[1])
    rank = far.ravel().argsort(kind="stable").argsort(kind="stable").reshape(far.shape)
    discs = (rank < areas[:, None, None]).astype(np.float32)  # the nearest pixels: the very same area
    return replace(item, fraction=discs, origin=(-half, -half))


PLANTS: dict[str, tuple[Plant, Plant]] = {
    "spicules": (as_it_is, with_spicules),
    "calcification": (as_it_is, with_calcification),
    "lobulation": (partial(with_lobes, depth=0.0), with_lobes),
    "halo": (as_it_is, with_halo),
}
CUES = (*PLANTS, "marker")
