"""Volumes with the place of each plane in the patient, whatever kind of file they come from.

Planes count feet up, rows front to back, columns right to left where the file says how it lies; arrays without
such a header (NPY, PNG) are taken as stored, slices first. Places are in mm as DICOM and ITK count them: x to
the left, y to the back, z to the head.
"""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from cycle_am.data.dicom import AXIAL, GDCM, load
from cycle_am.data.headers import states_spacing
from cycle_am.data.series import Series, only
from cycle_am.errors import UserError

AXES = "LPS"  # rows front to back, columns right to left, slices feet up
SAME_PIXELS = 0.1  # pixels that the corners of two planes may be apart and still be called the same


@dataclass(frozen=True)
class Place:
    """Where a plane lies: mm of its first pixel, the unit vectors along which rows and columns count up, and mm
    per row and column.
    """

    origin: tuple[float, ...]
    down: tuple[float, ...]
    right: tuple[float, ...]
    spacing: tuple[float, float]

    def point(self, row: float, column: float) -> np.ndarray:
        """(3,) mm of a pixel."""
        steps = np.outer([row * self.spacing[0], column * self.spacing[1]], 1.0) * [self.down, self.right]
        return np.asarray(self.origin) + steps.sum(axis=0)

    def pixel(self, point: Sequence[float]) -> tuple[float, float]:
        """(row, column) of the foot of a point (3,) in mm on the plane."""
        offset = np.asarray(point) - self.origin
        return float(offset @ self.down / self.spacing[0]), float(offset @ self.right / self.spacing[1])

    def distance(self, other: Place, shape: tuple[int, int]) -> float:
        """How far apart the corners of two planes of one shape are at most, in pixels of the finer one."""
        corners = [(row, column) for row in (0, shape[0] - 1) for column in (0, shape[1] - 1)]
        apart = max(np.linalg.norm(self.point(*corner) - other.point(*corner)) for corner in corners)
        return float(apart / min(*self.spacing, *other.spacing))


class Volume(Protocol):
    """Planes of one size, read when they are asked for.

    size: slices, rows, columns. spacing: mm per row and column, None where the file does not say. turned: whether
    its rows, columns or slices are stored in another order than they count here. placed: whether the file says
    where it lies. flat: whether it has two dimensions only, so that its third one is made up.
    """

    path: Path
    size: tuple[int, int, int]
    spacing: tuple[float, float] | None
    turned: bool
    placed: bool
    flat: bool

    def pixels(self, index: int) -> np.ndarray:
        """(rows, columns) of whatever number type the file has."""

    def place(self, index: int) -> Place:
        """Where a plane lies; only of volumes that are `placed`."""

    def nearest(self, point: Sequence[float]) -> int | None:
        """The slice that holds a point (3,) in mm, None where none does; only of volumes that are `placed`."""


@dataclass(frozen=True)
class Bare:
    """An array (slices, rows, columns) or (rows, columns) whose file says nothing of how it lies."""

    path: Path
    array: np.ndarray
    spacing = None
    turned = placed = False

    def __post_init__(self) -> None:
        if self.array.ndim not in (2, 3) or 0 in self.array.shape or self.array.dtype.kind not in "biuf":
            raise UserError(
                f"{self.path} is {self.array.dtype} of shape {self.array.shape}; give one channel of numbers in "
                "2-D or 3-D"
            )

    @property
    def flat(self) -> bool:
        return self.array.ndim == 2

    @property
    def size(self) -> tuple[int, int, int]:
        return (1, *self.array.shape)[-3:]

    def pixels(self, index: int) -> np.ndarray:
        return self.array.reshape(self.size)[index]


class Imaged:
    """A volume out of one file, or several put together, with a header that says how it lies."""

    def __init__(self, path: Path, image: sitk.Image) -> None:
        channels, dimensions = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
        if channels != 1 or dimensions not in (2, 3):
            raise UserError(
                f"{path} has {channels} channels and {dimensions} dimensions; give one channel in 2-D or 3-D"
            )
        self.path, self.flat, self.placed = path, dimensions == 2, _states_place(path, image)
        image = sitk.JoinSeries(image) if self.flat else image
        self.turned = stored_axes(image) != AXES
        # two dimensions do not tell how a patient lies, so they stay as stored
        self.image = image if self.flat else sitk.DICOMOrient(image, AXES)
        self.array = sitk.GetArrayViewFromImage(self.image)
        self.size = self.array.shape
        if self.size[0] > 1 and 1 in self.size[1:]:
            raise UserError(f"{path} is a single coronal or sagittal slice; give axial ones")

    @property
    def spacing(self) -> tuple[float, float] | None:
        spacing = self.image.GetSpacing()
        return spacing[1::-1] if states_spacing(self.path, spacing) else None

    def pixels(self, index: int) -> np.ndarray:
        return self.array[index].copy()

    def place(self, index: int) -> Place:
        right, down, _ = np.reshape(self.image.GetDirection(), (3, 3)).T
        origin = self.image.TransformIndexToPhysicalPoint((0, 0, index))
        return Place(origin, tuple(down), tuple(right), self.image.GetSpacing()[1::-1])

    def nearest(self, point: Sequence[float]) -> int | None:
        height = self.image.TransformPhysicalPointToContinuousIndex([float(value) for value in point])[2]
        inside = -0.5 <= height <= self.size[0] - 0.5
        return min(max(round(height), 0), self.size[0] - 1) if inside else None


class Stacked:
    """The axial slices of a DICOM series."""

    flat = False

    def __init__(self, path: Path, series: Series) -> None:
        self.path, self.series = path, series
        across = series.orientation[0]  # the way along a stored row
        order = slice(None, None, -1) if abs(across[1]) > abs(across[0]) else slice(None)
        self.size = (len(series.slices), *series.first.size[order])
        self.spacing = series.spacing and series.spacing[order]
        self.placed = series.spacing is not None
        self.turned = not np.allclose(series.orientation, np.eye(3)[:2], atol=AXIAL)

    def pixels(self, index: int) -> np.ndarray:
        return self._slice(index).pixels(0)

    def place(self, index: int) -> Place:
        return self._slice(index).place(0)

    def nearest(self, point: Sequence[float]) -> int | None:
        return self.series.nearest(np.asarray(point))

    def _slice(self, index: int) -> Imaged:
        return Imaged(self.path, self.series.image(index))


def open_volume(path: Path) -> Volume:
    """A file that SimpleITK reads, or the folder of a DICOM series. Raises UserError, or what the readers raise
    where a file is damaged.
    """
    if not path.is_dir():
        return Imaged(path, _load(path))
    series = only(path)
    if len(series.files) == 1:  # it may be no slice of a stack: a radiograph, many frames
        return Imaged(series.files[0], load(series.files[0], GDCM))
    return Stacked(path, series) if series.axial else Imaged(path, series.volume())


def matching_slice(mask: Volume, image: Volume, index: int) -> int:
    """The slice of a mask that belongs to slice `index` of its image.

    Where both files say how they lie it is the one at the same place, whatever their order and number of slices;
    corners may be a tenth of a pixel apart. Otherwise the stored order must be the same. Raises UserError, with
    both files and how they lie, where that cannot be had or known.
    """
    if mask.size[1:] != image.size[1:]:
        raise _unlike(mask, _size(mask), _size(image))
    if mask.placed and image.placed and mask.flat == image.flat:
        return _slice_at(mask, image, index)
    for volume, other in ((image, mask), (mask, image)):
        if volume.turned:
            raise UserError(
                f"{volume.path} is stored turned, and {other.path} does not say how it lies; save both as NIfTI or "
                "MHA, the mask with the image's geometry"
            )
    if mask.size[0] not in (1, image.size[0]):
        raise _unlike(mask, _size(mask), _size(image))
    if mask.spacing and image.spacing and not np.allclose(mask.spacing, image.spacing, rtol=0.01):
        raise _unlike(mask, f"{mask.spacing} mm a pixel", f"{image.spacing} mm, {image.path}")
    return 0 if mask.size[0] == 1 else index


def nearest_plane(volume: Volume, place: Place) -> tuple[int | None, float]:
    """The plane of a volume that holds the middle of another of its size, None where none does, and how many pixels
    their corners are apart.
    """
    rows, columns = volume.size[1:]
    index = volume.nearest(place.point((rows - 1) / 2, (columns - 1) / 2))
    return index, math.inf if index is None else volume.place(index).distance(place, (rows, columns))


def stored_axes(image: sitk.Image) -> str:
    """Where columns, rows and slices point as stored: LPS is to the left, the back (posterior), the head (superior)."""
    return sitk.DICOMOrientImageFilter_GetOrientationFromDirectionCosines(image.GetDirection())


def _unlike(mask: Volume, known: object, other: object) -> UserError:
    return UserError(f"mask {mask.path} is {known}, the image {other}; make them alike")


def _slice_at(mask: Volume, image: Volume, index: int) -> int:
    place = image.place(index)
    nearest, apart = nearest_plane(mask, place)
    if nearest is None or apart > SAME_PIXELS:
        raise UserError(
            f"mask {mask.path} ({_lies(mask.place(nearest or 0))}) does not lie on slice {index} of {image.path} "
            f"({_lies(place)}); save it with the image's geometry"
        )
    return nearest


def _size(volume: Volume) -> tuple[int, ...]:
    return volume.size[1:] if volume.size[0] == 1 else volume.size


def _lies(place: Place) -> str:
    """A plane's geometry in words."""
    numbers = [
        ", ".join(f"{value:.4g}" for value in vector) for vector in (place.origin, place.right, place.down)
    ]
    rows, columns = place.spacing
    return f"{rows:.4g} x {columns:.4g} mm, from ({numbers[0]}), axes ({numbers[1]}), ({numbers[2]})"


def _states_place(path: Path, image: sitk.Image) -> bool:
    """Whether a file says where it lies: DICOM, NIfTI and NRRD may leave it open, and SimpleITK begins at 0 then."""
    keys = image.GetMetaDataKeys()
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        return "NRRD_space" in keys
    if "0008|0016" in keys:  # SOPClassUID: a DICOM file
        return {"0020|0032", "0028|0030"} <= set(keys)  # ImagePositionPatient, PixelSpacing
    codes = [image.GetMetaData(key) for key in ("qform_code", "sform_code") if key in keys]
    return not codes or set(codes) != {"0"}


def _load(path: Path) -> sitk.Image:
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti_length(path)
    return load(path)


def _check_nifti_length(path: Path) -> None:
    """Raise EOFError where a NIfTI file ends early: SimpleITK would read on, and give what lies in memory."""
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        head = file.read(348)
        count = len(head) + sum(len(piece) for piece in iter(lambda: file.read(1 << 20), b""))
    order = next((sign for sign in "<>" if head[:4] == struct.pack(f"{sign}i", 348)), None)
    if order is None:
        return  # not NIfTI-1; whether it can be read is for SimpleITK to say
    axes, *sizes = struct.unpack_from(f"{order}8h", head, 40)
    (bits,), (offset,) = struct.unpack_from(f"{order}h", head, 72), struct.unpack_from(f"{order}f", head, 108)
    if count < offset + math.prod(sizes[:axes]) * bits // 8:
        raise EOFError("the file ends early")
