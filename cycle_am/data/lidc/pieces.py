"""Preparation of LIDC-IDRI, scan by scan: windows of Hounsfield units and masks, kept so that it can be
resumed.

Nothing here needs torch: worker processes start faster without it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from cycle_am.data.cases import write_arrays
from cycle_am.data.dicom import Header, SliceError, choose_slice, read_headers, read_slice
from cycle_am.data.lidc.lesions import Lesion, interpolation, lesion_mask
from cycle_am.errors import UserError
from cycle_am.progress import steps

VERSION = 2  # raise it when the content of a piece changes: older pieces are then made anew
AIR = -1024.0  # scanners fill the corners outside their field of view with lower values; those are no tissue
POOL_FROM = 16  # scans; fewer are done before worker processes have started


@dataclass(frozen=True)
class Window:
    """Geometry of the prepared windows: fov_mm over `size` pixels, and `margin` more pixels on each side."""

    fov_mm: float
    size: int
    margin: int

    @property
    def side(self) -> int:
        """Pixels per side, margin included."""
        return self.size + 2 * self.margin

    def step(self, pixel_spacing: float) -> float:
        """Side of a window pixel in pixels of the scan."""
        return self.fov_mm / self.size / pixel_spacing


@dataclass(frozen=True)
class Piece:
    """What one scan gives: n lesions and the list of those that failed.

    lesion_id (n,) str; hu (n, S, S) float32 Hounsfield units; mask (n, S, S) float32 in [0, 1]; margin (n,)
    int64: pixels around the central window that are inside the scan. skipped (m, 3) str: lesion id, reason,
    detail.
    """

    lesion_id: np.ndarray
    hu: np.ndarray
    mask: np.ndarray
    margin: np.ndarray
    skipped: np.ndarray

    def save(self, path: Path) -> None:
        """Write one .npz without pickled objects; a reader never sees a part of it."""
        write_arrays(path, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Piece | None:
        """The piece at `path`; None where there is none or it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(**{f.name: stored[f.name] for f in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None


@dataclass(frozen=True)
class Job:
    """One scan to prepare: its lesions, the folders that hold its series, and where the piece is kept."""

    lesions: tuple[Lesion, ...]
    folders: tuple[Path, ...]
    window: Window
    path: Path


def prepare_scans(jobs: Iterable[Job], workers: int | None = None) -> Iterator[Piece]:
    """The pieces of all jobs in their order; those already on disk are read, the others made.

    workers: number of processes, None means every core. Shows a progress bar. Raises UserError where pieces
    cannot be written or a process was killed; what is done by then is kept.
    """
    jobs = list(jobs)
    pending = [job for job in jobs if Piece.load(job.path) is None]
    with steps(what="reading LIDC", total=len(jobs), initial=len(jobs) - len(pending), unit="scans") as bar:
        for _ in _reported(_make(pending, workers or available_cores())):
            bar.update()
    for job in jobs:
        yield Piece.load(job.path) or prepare_scan(job)


def _reported(steps: Iterator[None]) -> Iterator[None]:
    """The steps, with what may stop them put into words for the user."""
    try:
        yield from steps
    except BrokenProcessPool as error:
        raise UserError(
            "a preparing process was killed (memory?); start again with data.workers=1, it goes on there"
        ) from error
    except OSError as error:
        raise UserError(f"preparation stopped ({error}); mend that and start it again") from error


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make(jobs: list[Job], workers: int) -> Iterator[None]:
    """Make the pieces, in other processes where that pays; one step a scan."""
    if workers == 1 or len(jobs) < POOL_FROM:
        yield from map(_make_one, jobs)
        return
    context = multiprocessing.get_context("spawn")  # fork would copy torch's threads in an unknown state
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
        yield from pool.map(_make_one, jobs, chunksize=4)


def _make_one(job: Job) -> None:
    prepare_scan(job).save(job.path)


def prepare_scan(job: Job) -> Piece:
    """Read the slices of a scan's lesions and cut their windows; damaged data are listed, not raised."""
    cuts, skipped = [], []
    copies = [_Slices(folder, job.lesions[0]) for folder in job.folders]
    for lesion in job.lesions:
        try:
            cuts.append((lesion.lesion_id, *cut(_slice(copies, lesion.slice_z_mm), lesion, job.window)))
        except SliceError as error:
            skipped.append((lesion.lesion_id, error.reason, error.detail))
    return _piece(cuts, skipped, job.window.side)


def _piece(cuts: list[tuple], skipped: list[tuple[str, str, str]], side: int) -> Piece:
    return Piece(
        lesion_id=np.array([c[0] for c in cuts], dtype=np.str_),
        hu=np.array([c[1] for c in cuts], dtype=np.float32).reshape(-1, side, side),
        mask=np.array([c[2] for c in cuts], dtype=np.float32).reshape(-1, side, side),
        margin=np.array([c[3] for c in cuts], dtype=np.int64),
        skipped=np.array(skipped, dtype=np.str_).reshape(-1, 3),
    )


def _slice(copies: list[_Slices], z_mm: float) -> np.ndarray:
    """From the first copy of the series that has it whole; the first copy's SliceError where none has."""
    errors = []
    for copy in copies:
        try:
            return copy.at(z_mm)
        except SliceError as error:
            errors.append(error)
    raise errors[0]


class _Slices:
    """The slices of one series by z; headers are read once, and so is a slice that two lesions share."""

    def __init__(self, folder: Path, lesion: Lesion) -> None:
        self.folder, self.series_uid, self.pixel_spacing = folder, lesion.series_uid, lesion.pixel_spacing
        self.read: dict[Path, np.ndarray] = {}

    @cached_property
    def headers(self) -> tuple[list[Header], list[str]]:
        try:
            return read_headers(self.folder, self.series_uid)
        except OSError:  # the folder went away, or may not be listed
            return [], []

    def at(self, z_mm: float) -> np.ndarray:
        if not any(self.headers):
            raise SliceError("scan absent", "its folder holds no file of this series")
        path = choose_slice(*self.headers, z_mm)
        if path not in self.read:
            self.read[path] = read_slice(path, self.pixel_spacing)
        return self.read[path]


def cut(hu: np.ndarray, lesion: Lesion, window: Window) -> tuple[np.ndarray, np.ndarray, int]:
    """Window around the lesion's midpoint out of a slice (rows, columns) in Hounsfield units.

    Returns (hu (S, S) float32, mask (S, S) float32 in [0, 1], margin in pixels). Bilinear interpolation
    (sec. 3.1); beyond the slice's border its outermost pixels repeat, and `margin` says how far that is
    from the central window. Raises SliceError where the midpoint lies outside the slice.
    """
    centre = (lesion.centre_i, lesion.centre_j)
    if not all(0 <= c <= length - 1 for c, length in zip(centre, hu.shape, strict=True)):
        raise SliceError("other geometry", f"{hu.shape[0]} x {hu.shape[1]} pixels do not hold the lesion")
    step = window.step(lesion.pixel_spacing)
    rows, columns = (
        interpolation(length, c, step, window.side, extend=True)
        for length, c in zip(hu.shape, centre, strict=True)
    )
    used = [np.flatnonzero(weights.any(axis=0)) for weights in (rows, columns)]
    pixels = rows[:, used[0]] @ np.maximum(hu[np.ix_(*used)], AIR) @ columns[:, used[1]].T
    mask = lesion_mask(lesion, window.fov_mm, window.size, window.margin)
    return pixels.astype(np.float32), mask, real_margin(hu.shape, centre, step, window)


def real_margin(shape: tuple[int, int], centre: tuple[float, float], step: float, window: Window) -> int:
    """By how many pixels the central window can move each way and stay inside the slice: 0..window.margin."""
    reach = min(min(c, length - 1 - c) for c, length in zip(centre, shape, strict=True))
    return int(np.clip(np.floor(reach / step - (window.size - 1) / 2), 0, window.margin))


def folder_state(folder: Path) -> str:
    """Hex digest over names, sizes and times of a folder's files: changes when one is added or mended."""
    with os.scandir(folder) as entries:
        files = [(e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries if e.is_file()]
    return hashlib.sha256(repr(sorted(files)).encode()).hexdigest()[:16]
