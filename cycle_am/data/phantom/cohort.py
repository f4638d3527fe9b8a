"""The phantom's lesions: LIDC's own, their outlines and ratings turned into findings, rendered as cases."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from cycle_am.contract import BENIGN, IMAGE_SIZE, MALIGNANT, scale_hu
from cycle_am.data.cases import Cases
from cycle_am.data.lidc.annotations import Scan, load_scans
from cycle_am.data.lidc.lesions import (
    MIN_READERS,
    Lesion,
    annotation_mask,
    interpolation,
    lesion_mask,
    load_lesions,
)
from cycle_am.data.phantom.render import render_slice
from cycle_am.data.phantom.scene import Finding, Scene, draw_scene
from cycle_am.progress import steps

EXTENT_MM = 57.0  # side of what is rendered; windows up to 45 mm with a margin of 8 pixels share one scene
LABELS = {"benign": BENIGN, "malignant": MALIGNANT}
USUALLY = "usually a minute or two"
POOL_FROM = 64  # images; fewer are not worth processes of their own
AIR = 4  # LIDC's rating of the internal structure


def cohort(min_readers: int = MIN_READERS) -> list[Lesion]:
    """The labelled lesions of LIDC, ordered by scan and z."""
    return [lesion for lesion in load_lesions(min_readers) if lesion.included]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def render_cases(
    lesions: list[Lesion], fov_mm: float, margin: int, seed: int = 0, views: int = 1, processes: int = 1
) -> Cases:
    """Lesions -> cases, view by view. The number of processes does not change the result."""
    findings = list(map(finding, lesions))
    work = [(item, view) for view in range(views) for item in findings]
    render = partial(render_window, fov_mm=fov_mm, margin=margin, seed=seed)
    drawing = mapped(render, work, processes)
    images = np.stack(list(steps(drawing, "drawing the phantom", len(work), "windows", usually=USUALLY)))
    masks = np.stack([lesion_mask(lesion, fov_mm, IMAGE_SIZE, margin) for lesion in lesions])
    return Cases(
        image=images,
        mask=np.tile(masks, (views, 1, 1)),
        label=np.tile([LABELS[lesion.label] for lesion in lesions], views).astype(np.int64),
        case_id=np.array([case_id(item.lesion_id, view) for item, view in work]),
        patient_id=np.tile([lesion.patient_id for lesion in lesions], views),
        margin=np.full(len(work), margin),
        diameter_mm=np.tile([lesion.diameter_mm for lesion in lesions], views).astype(np.float32),
        pixel_mm=fov_mm / IMAGE_SIZE,
    )


def case_id(lesion_id: str, view: int) -> str:
    """The lesion's own id, with the view's number behind it for further views."""
    return f"{lesion_id}+{view}" if view else lesion_id


def mapped(function, work: list, processes: int):
    """Results in order, by forked processes where there is work enough (they use numpy only)."""
    if processes < 2 or len(work) < POOL_FROM or sys.platform != "linux":
        yield from map(function, work)
        return
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        yield from pool.map(function, work, chunksize=16)


def render_window(work: tuple[Finding, int], fov_mm: float, margin: int, seed: int) -> np.ndarray:
    """(finding, view) -> float32 (S, S) in [0, 1], S = 64 + 2 margin: bilinear, as LIDC's images are."""
    item, view = work
    return scene_window(draw_scene(item, seed, view), fov_mm, margin)


def scene_window(scene: Scene, fov_mm: float, margin: int) -> np.ndarray:
    """A scene's slice through the lesion's midpoint: float32 (S, S) in [0, 1], S = 64 + 2 margin."""
    item = scene.finding
    count, step = IMAGE_SIZE + 2 * margin, fov_mm / IMAGE_SIZE / item.spacing
    size = scene_size(item.spacing, fov_mm, margin)
    hu = render_slice(scene, size).clip(-1024, 3071)
    rows, columns = (interpolation(size, size // 2 + shift, step, count) for shift in item.centre)
    return scale_hu(rows @ hu @ columns.T)


def scene_size(spacing: float, fov_mm: float = 45.0, margin: int = 8) -> int:
    """Odd number of the scan's pixels to render; the same for all windows up to 45 mm."""
    reach = max(EXTENT_MM, fov_mm * (1 + 2 * margin / IMAGE_SIZE) + 1)
    return 2 * int(np.ceil(reach / spacing / 2)) + 1


def finding(lesion: Lesion) -> Finding:
    """What the renderer may know of a lesion: outlines and ratings, no malignancy."""
    scan = _scan(lesion.scan_id)
    slices = outlined_slices(lesion, scan)
    anchor = np.round([lesion.centre_i, lesion.centre_j]).astype(int)
    fraction, low = consensus(lesion, slices)
    position = (np.array([lesion.centre_i, lesion.centre_j]) - 255.5) * lesion.pixel_spacing
    return Finding(
        lesion_id=lesion.lesion_id,
        fraction=fraction,
        origin=tuple((low - anchor).tolist()),
        centre=(lesion.centre_i - anchor[0], lesion.centre_j - anchor[1]),
        z=scan.slice_zvals[slices] - lesion.slice_z_mm,
        spacing=lesion.pixel_spacing,
        thickness=scan.slice_thickness,
        texture=_mean(lesion, "texture"),
        margin=_mean(lesion, "margin"),
        spiculation=_mean(lesion, "spiculation"),
        lobulation=_mean(lesion, "lobulation"),
        calcification=tuple(a.calcification for a in lesion.annotations),
        cavity=float(np.mean([a.internalStructure == AIR for a in lesion.annotations])),
        contrast=scan.contrast_used,
        position=(float(position[0]), float(position[1])),
    )


def _scan(scan_id: int) -> Scan:
    return next(scan for scan in load_scans()[scan_id - 1 :] if scan.scan_id == scan_id)


def _mean(lesion: Lesion, rating: str) -> float:
    return float(np.mean([getattr(annotation, rating) for annotation in lesion.annotations]))


def outlined_slices(lesion: Lesion, scan: Scan) -> np.ndarray:
    """Indices of the slices with outlines and one beyond on either side, each height once."""
    drawn = [c.k for a in lesion.annotations for c in a.contours]
    first, last = max(min(drawn) - 1, 0), min(max(drawn) + 1, len(scan.slice_zvals) - 1)
    slices = np.arange(first, last + 1)
    return slices[np.unique(scan.slice_zvals[slices].round(3), return_index=True)[1]]


def consensus(lesion: Lesion, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, h, w) float32 share of readers who drew each pixel; and the scan's pixel of [:, 0, 0]."""
    points = np.concatenate([a.points[:, :2] for a in lesion.annotations])
    low, shape = points.min(axis=0) - 2, tuple(np.ptp(points, axis=0) + 5)
    count = [
        sum(annotation_mask(a, k, low, shape).astype(np.float32) for a in lesion.annotations) for k in slices
    ]
    return np.stack(count) / lesion.n_readers, low
