"""An opened source: planes in Hounsfield units, positions in it, and windows around them."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from cycle_am.data.dicom import may_be_dicom
from cycle_am.data.images import cut, hounsfield, reach_mm
from cycle_am.data.series import Series
from cycle_am.data.volumes import Bare, Volume, open_volume
from cycle_am.errors import UserError
from cycle_am.place import Place
from cycle_am.sources import nifti
from cycle_am.sources.dicom import open_series
from cycle_am.sources.pictures import RASTERS, read_raster, unit_values
from cycle_am.sources.planes import Planes
from cycle_am.sources.windows import ALLOWANCE, DicomFiles, Window
from cycle_am.sources.words import called
from cycle_am.task import Task

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK prints whole paths
DAMAGED = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class Spot(NamedTuple):
    """A lesion's midpoint in a scan: its name, plane, row and column (from 0, as `Volume` counts them), and its mask
    on that plane, or on the window.
    """

    name: str
    plane: int
    row: float
    column: float
    mask: np.ndarray | None = None
    window_mask: np.ndarray | None = None


@dataclass(eq=False)
class Scan:
    """A source that is open.

    path: as the user gave it. volume: its planes. spacing: mm per row and column that the user gives, where the file
    says none; with given_first, instead of what it says. series: of DICOM. keep: what must live as long as its files.
    """

    path: Path
    volume: Volume
    task: Task
    spacing: tuple[float, float] | None = None
    series: Series | None = None
    keep: object = None
    given_first: bool = False
    _last: tuple[int, np.ndarray] | None = field(default=None, repr=False)

    @property
    def uids(self) -> tuple[str, ...]:
        """What tables may call it: the series' UID, the file's stem."""
        return (self.series.uid if self.series else "", self.path.name.split(".nii")[0], self.path.stem)

    @cached_property
    def pixel_mm(self) -> tuple[float, float]:
        """mm per row and column. Raises UserError where nobody says, or file and user differ."""
        stated, given = self.volume.spacing, self.spacing
        if stated is None and given is None:
            raise UserError("it says no pixel size; give spacing=(mm per row, mm per column)")
        if given is not None and self.given_first:
            return given
        if stated is not None and given is not None and not np.allclose(stated, given, rtol=0.01):
            raise UserError(
                f"its pixels are {stated[0]:g} x {stated[1]:g} mm, but spacing says {given[0]:g} x {given[1]:g}; drop "
                "spacing"
            )
        return stated or given

    def at(self, point: Sequence[float]) -> tuple[int, float, float]:
        """(plane, row, column) of a position in the patient in mm."""
        if not self.volume.placed or self.volume.flat:
            raise UserError("it does not say where it lies in the patient; give voxel=(column, row, slice)")
        plane = self.volume.nearest(point)
        if plane is None:
            raise UserError(f"no slice of it lies at ({_numbers(point)}) mm; mend the position")
        return (plane, *self.volume.place(plane).pixel(point))

    def voxel(self, voxel: Sequence[float]) -> tuple[int, float, float]:
        """(plane, row, column) of (column, row, slice) as the file counts them, from 0."""
        plane, row, column = self._locate((*voxel, 0.0)[:3])
        if not -0.5 <= plane < self.volume.size[0] - 0.5:
            raise UserError(
                f"it has no slice {voxel[2]:g}; its slices are 0 to {self.volume.size[0] - 1}"
                if len(voxel) == 3 and self._slices_last
                else f"it has no voxel ({_numbers(voxel)})"
            )
        return math.floor(plane + 0.5), row, column

    @property
    def _slices_last(self) -> bool:
        return isinstance(self.volume, (Planes, Bare))

    def _locate(self, voxel: Sequence[float]) -> tuple[float, float, float]:
        if isinstance(self.volume, Planes):
            return self.volume.locate(voxel)
        if isinstance(self.volume, Bare):
            return voxel[2], voxel[1], voxel[0]
        image = self.volume.image
        point = _stored_point(self.path, voxel, self.volume.flat) if self.series is None else None
        if point is None:
            raise UserError("its slices are not axial; give at=(x, y, z) in mm")
        column, row, plane = image.TransformPhysicalPointToContinuousIndex(point)
        return plane, row, column

    def plane(self, index: int) -> np.ndarray:
        """A plane in Hounsfield units, (rows, columns) float32. The last one is kept."""
        if self._last is None or self._last[0] != index:
            pixels = self.volume.pixels(index)
            self._last = (index, hounsfield(self.path, pixels, (self.task.low, self.task.high)))
        return self._last[1]

    def window(self, spot: Spot) -> Window:
        """The window around a spot. Raises UserError where it reaches over the edge."""
        plane, spacing, centre = self.plane(spot.plane), self.pixel_mm, (spot.row, spot.column)
        self._check_reach(reach_mm(plane.shape, spacing, centre))
        mask = spot.window_mask
        if spot.mask is not None:
            mask = np.clip(cut(spot.mask.astype(np.float32), spacing, centre, self.task.pixel_mm, 0), 0, 1)
        image = self.task.scale(cut(plane, spacing, centre, self.task.pixel_mm, 0))
        return Window(image, self.place(spot), mask, self._files(spot.plane))

    def _check_reach(self, reach: float) -> None:
        needed = (self.task.size - 1) / 2 * self.task.pixel_mm
        if reach < 0:
            raise UserError("the position lies outside of the image; mend it")
        if reach < needed - ALLOWANCE * self.task.pixel_mm:
            raise UserError(
                f"the window of {self.task.fov_mm:g} mm around the position leaves the image by "
                f"{needed - reach:.1f} mm; there is nothing to explain beyond the edge"
            )

    def place(self, spot: Spot) -> Place:
        """Where a spot's window lies."""
        spacing = self.pixel_mm
        known = {"name": spot.name, "source": called(self.path), "slice": spot.plane, "spacing_mm": spacing}
        if not self.volume.placed or self.volume.flat:
            return Place(**known)
        place = self.volume.place(spot.plane)
        return Place(
            **known,
            centre_mm=_vector(place.point(spot.row, spot.column)),
            row_mm=_vector(np.asarray(place.down) * self.task.pixel_mm),
            column_mm=_vector(np.asarray(place.right) * self.task.pixel_mm),
            thickness_mm=self._thickness(spot.plane),
        )

    def _thickness(self, plane: int) -> float | None:
        """mm of a plane, the distance to the next where its own is not said; None where neither is."""
        if isinstance(self.volume, Planes):
            return float(self.volume.thickness[plane]) or self.volume.step or None
        return float(self.volume.image.GetSpacing()[2])

    def _files(self, plane: int) -> DicomFiles | None:
        if self.series is None or not isinstance(self.volume, Planes):
            return None
        many = self.series.first.frames > 1
        file = self.series.first.path if many else self.series.slices[plane][0].path
        return DicomFiles(
            file, tuple(self.series.files), self.volume.numbers[plane] if many else None, self.keep
        )


def _vector(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _stored_point(path: Path, voxel: Sequence[float], flat: bool) -> tuple[float, ...]:
    """The place of a voxel by the header as it is stored, (x, y, z) in mm as ITK has it."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    n = reader.GetDimension()
    steps = np.asarray(reader.GetSpacing()) * np.asarray(voxel[:n], dtype=float)
    point = np.asarray(reader.GetOrigin()) + np.reshape(reader.GetDirection(), (n, n)) @ steps
    return (*map(float, point), 0.0) if flat else tuple(map(float, point))


def open_scan(
    path: Path,
    task: Task,
    spacing: tuple[float, float] | None = None,
    number: int | None = None,
    uids: Sequence[str] = (),
) -> Scan:
    """A file of any kind, but a table or an archive. Raises UserError where it cannot be read."""
    try:
        if path.name.lower().endswith(RASTERS):
            return Scan(path, Bare(path, read_raster(path)), task, spacing)
        if may_be_dicom(path):
            return open_files(path, [path], task, spacing, number, uids)
        nifti.check(path)
        return Scan(path, open_volume(path), task, spacing)
    except DAMAGED as error:
        raise UserError(
            "it cannot be read; give DICOM, NIfTI, MHA, NRRD, PNG, JPEG, TIFF or NPY, or mend the file"
        ) from error


def open_files(
    path: Path,
    files: Sequence[Path],
    task: Task,
    spacing: tuple[float, float] | None = None,
    number: int | None = None,
    uids: Sequence[str] = (),
    keep: object = None,
) -> Scan:
    """The CT series among DICOM files that the folder or archive `path` holds."""
    volume, series = open_series(path, files, number, uids)
    return Scan(path, volume, task, spacing, series, keep)


def ready(scan: Scan) -> Iterator[Window] | None:
    """The images of a picture or an array that are windows as they are, None where they are not."""
    if not isinstance(scan.volume, Bare) or scan.volume.size[1:] != (scan.task.size,) * 2:
        return None
    values = unit_values(scan.path, scan.volume.array)
    if values is None:
        return None
    images = values.reshape(scan.volume.size)
    place = Place(source=called(scan.path))
    return (
        Window(image, replace(place, name=f"image {i}" if len(images) > 1 else ""))
        for i, image in enumerate(images, 1)
    )
