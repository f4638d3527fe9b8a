"""Lesions of LIDC-IDRI: clusters of annotations with a label, one axial slice, a midpoint and a consensus
outline.

The rules of sec. 3.1: lesions with at least three annotations; median malignancy above 3 is malignant,
below 3 benign, exactly 3 is dropped; one axial slice. The paper does not say which slice: it is the one
nearest the lesion's midpoint, and the midpoint is the mean of the readers' centroids (pylidc's
`Annotation.centroid`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.path import Path as Polygon

from cycle_am.data.lidc.annotations import Annotation, Scan, load_scans
from cycle_am.data.lidc.clustering import MAX_READERS, cluster_annotations

MIN_READERS = 3
BORDERLINE = 3
OVERSAMPLING = 4  # mask samples per window pixel and axis


@dataclass(frozen=True, eq=False)
class Lesion:
    """One lesion of one scan.

    lesion_id: `<patient>-<scan id>-<number within the scan>`. label: benign, malignant or borderline.
    excluded_because: empty for a lesion of the cohort. slice_k, slice_z_mm: the chosen axial slice (index
    among the scan's slices by ascending z; ImagePositionPatient z). centre_i, centre_j: midpoint as (row,
    column) pixel coordinates. pixel_spacing: mm. diameter_mm: readers' mean of pylidc's
    `Annotation.diameter`.
    """

    lesion_id: str
    patient_id: str
    scan_id: int
    series_uid: str
    label: str
    excluded_because: str
    slice_k: int
    slice_z_mm: float
    centre_i: float
    centre_j: float
    pixel_spacing: float
    diameter_mm: float
    annotations: tuple[Annotation, ...] = field(repr=False)

    @property
    def included(self) -> bool:
        """Whether the lesion belongs to the cohort."""
        return not self.excluded_because

    @property
    def annotation_ids(self) -> tuple[int, ...]:
        """pylidc's ids of the annotations."""
        return tuple(a.annotation_id for a in self.annotations)

    @property
    def n_readers(self) -> int:
        """Number of annotations (above four where pylidc's rule could not part neighbouring lesions)."""
        return len(self.annotations)

    @property
    def malignancies(self) -> tuple[int, ...]:
        """The readers' malignancy ratings, 1..5."""
        return tuple(a.malignancy for a in self.annotations)

    @property
    def median_malignancy(self) -> float:
        """Median of the readers' malignancy ratings."""
        return float(np.median(self.malignancies))


def load_lesions(min_readers: int = MIN_READERS) -> tuple[Lesion, ...]:
    """Every lesion of LIDC's 1018 scans, included or not, ordered by scan and then by z."""
    if min_readers == MIN_READERS:
        return _all_lesions()
    return tuple(
        replace(lesion, excluded_because=_excluded_because(lesion.n_readers, lesion.label, min_readers))
        for lesion in _all_lesions()
    )


@functools.lru_cache(maxsize=1)
def _all_lesions() -> tuple[Lesion, ...]:
    return tuple(lesion for scan in load_scans() for lesion in find_lesions(scan))


def find_lesions(scan: Scan, min_readers: int = MIN_READERS) -> list[Lesion]:
    """The lesions of one scan, included or not."""
    return [
        _lesion(scan, number, cluster, min_readers)
        for number, cluster in enumerate(cluster_annotations(scan), start=1)
    ]


def _lesion(scan: Scan, number: int, cluster: list[Annotation], min_readers: int) -> Lesion:
    label = _label(np.median([a.malignancy for a in cluster]))
    centre_i, centre_j, _ = np.mean([a.centroid for a in cluster], axis=0)
    z = np.mean([a.centroid_z_mm for a in cluster])
    k = int(np.abs(scan.slice_zvals - z).argmin())
    return Lesion(
        lesion_id=f"{scan.patient_id}-{scan.scan_id}-{number}",
        patient_id=scan.patient_id,
        scan_id=scan.scan_id,
        series_uid=scan.series_uid,
        label=label,
        excluded_because=_excluded_because(len(cluster), label, min_readers),
        slice_k=k,
        slice_z_mm=float(scan.slice_zvals[k]),
        centre_i=float(centre_i),
        centre_j=float(centre_j),
        pixel_spacing=scan.pixel_spacing,
        diameter_mm=float(np.mean([diameter_mm(a, scan.pixel_spacing) for a in cluster])),
        annotations=tuple(cluster),
    )


def _label(median: float) -> str:
    if median == BORDERLINE:
        return "borderline"
    return "malignant" if median > BORDERLINE else "benign"


def _excluded_because(n_readers: int, label: str, min_readers: int) -> str:
    reasons = []
    if n_readers < min_readers:
        reasons.append(f"fewer than {min_readers} readers")
    if label == "borderline":
        reasons.append(f"median malignancy is {BORDERLINE}")
    return "; ".join(reasons)


def diameter_mm(annotation: Annotation, pixel_spacing: float) -> float:
    """Largest distance of two points of one outline in mm (pylidc's `Annotation.diameter`)."""
    return pixel_spacing * max(_longest(c.points) for c in annotation.contours)


def _longest(points: np.ndarray) -> float:
    """Largest distance of two of the points (P, 2)."""
    i, j = (np.subtract.outer(axis, axis) for axis in points.T)
    return float(np.sqrt((i * i + j * j).max()))


def annotation_mask(annotation: Annotation, k: int, low: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """One reader's nodule on slice k, bool `shape`, of which pixel [0, 0] is the scan's pixel `low` (i, j).

    As pylidc's `Annotation.boolean_mask`: the outline's own pixels lie outside the nodule, outlines with
    inclusion False cut holes, and their pixels belong to the hole.
    """
    pixels = np.indices(shape).reshape(2, -1).T + low
    mask = np.zeros(shape, dtype=bool)
    contours = [c for c in annotation.contours if c.k == k]
    for contour in sorted(contours, key=lambda c: not c.inclusion):
        inside = _enclosed(contour.points, pixels).reshape(shape)
        mask = mask | inside if contour.inclusion else mask & ~inside
        mask[tuple((contour.points - low).T)] = False
    return mask


def _enclosed(points: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """(n,) bool: which pixels (n, 2) the closed outline `points` (P, 2) encloses."""
    closed = points if (points[0] == points[-1]).all() else np.concatenate([points, points[:1]])
    return Polygon(closed, closed=True).contains_points(pixels)


def slice_consensus(lesion: Lesion) -> tuple[np.ndarray, np.ndarray]:
    """Fraction of readers who drew each pixel as nodule on the lesion's slice, on the scan's own pixels.

    Returns (fraction (h, w) float in [0, 1], low (2,) int): fraction[0, 0] belongs to the scan's pixel `low`.
    A reader without an outline on this slice counts as one who drew nothing.
    """
    outlines = [c.points for a in lesion.annotations for c in a.contours if c.k == lesion.slice_k]
    points = np.concatenate(outlines)
    low, shape = points.min(axis=0), tuple(np.ptp(points, axis=0) + 1)
    count = sum(annotation_mask(a, lesion.slice_k, low, shape).astype(float) for a in lesion.annotations)
    return np.minimum(count / min(lesion.n_readers, MAX_READERS), 1.0), low


def lesion_mask(lesion: Lesion, fov_mm: float = 45.0, size: int = 64, margin: int = 0) -> np.ndarray:
    """The consensus on a window around the lesion's midpoint: float32 (S, S) in [0, 1], S = size + 2 margin.

    Values are the fraction of readers who drew the pixel as nodule. The window's pixels measure fov_mm /
    size; each is the mean of 4 x 4 bilinear samples of the readers' pixel masks, so that edges are
    anti-aliased.
    """
    fraction, low = slice_consensus(lesion)
    step = fov_mm / size / lesion.pixel_spacing
    rows = interpolation(fraction.shape[0], lesion.centre_i - low[0], step, size + 2 * margin, OVERSAMPLING)
    columns = interpolation(
        fraction.shape[1], lesion.centre_j - low[1], step, size + 2 * margin, OVERSAMPLING
    )
    return (rows @ fraction @ columns.T).clip(0, 1).astype(np.float32)


def interpolation(
    length: int, centre: float, step: float, count: int, oversampling: int = 1, extend: bool = False
) -> np.ndarray:
    """(count, length) weights of linear interpolation along one axis.

    Beyond the axis' ends they are zero or, with `extend`, repeat the outermost value.

    count samples, `step` source pixels apart and symmetric around source coordinate `centre`; each is the
    mean of `oversampling` samples spread evenly over its step.
    """
    fine = count * oversampling
    coordinates = centre + (np.arange(fine) - (fine - 1) / 2) * step / oversampling
    coordinates = coordinates.clip(0, length - 1) if extend else coordinates
    weights = np.clip(1 - np.abs(coordinates[:, None] - np.arange(length)), 0, None)
    return weights.reshape(count, oversampling, length).mean(axis=1)
