"""DICOM series: the files of a folder as stacks of parallel slices, ordered by where they lie in the patient.

Headers are read with pydicom, a few tags each; pixels slice by slice, only of those that are asked for.
Positions are DICOM's: mm, x to the left, y to the back, z to the head.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cycle_am.data.dicom import AXIAL, GDCM, UNREADABLE, files_in, load, pixels, read_tags
from cycle_am.errors import UserError

TAGS = ["SeriesInstanceUID", "ImageType", "Rows", "Columns", "PixelSpacing", "NumberOfFrames"]
TAGS += ["SliceThickness", "ImagePositionPatient", "ImageOrientationPatient", "Modality"]
SAME_MM = 0.05  # slices so close lie at one place: headers repeat positions to a micrometre
SAME_AXIS = 1e-3  # by so much components of the axes may differ within a stack
UNEVEN = 1.5  # a step so much longer than the usual one is a gap


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says of its slice: size (rows, columns), spacing (mm per row, per column) or None, and where it
    lies: position of the first pixel and axes (2, 3), along which columns and rows count up; None if unsaid.
    thickness: mm, 0 if unsaid. scout: whether it calls itself a localizer. modality: as CT, "" if unsaid. frames: how
    many the file holds.
    """

    path: Path
    uid: str
    size: tuple[int, int]
    spacing: tuple[float, float] | None
    position: np.ndarray | None
    axes: np.ndarray | None
    thickness: float
    scout: bool
    modality: str = ""
    frames: int = 1

    def is_parallel(self, other: Header) -> bool:
        """Whether both may belong to one stack: series, size, pixel spacing and axes are the same."""
        return (
            (self.uid, self.size, self.scout) == (other.uid, other.size, other.scout)
            and (self.axes is None) == (other.axes is None)
            and np.allclose(self.spacing or 0.0, other.spacing or 0.0, rtol=1e-3, atol=0)
            and (self.axes is None or np.allclose(self.axes, other.axes, rtol=0, atol=SAME_AXIS))
        )


@dataclass(frozen=True, eq=False)
class Series:
    """A stack of parallel slices of one series.

    slices: the files of each place, from the feet to the head (from back to front of a coronal stack's normal);
    more than one where the series holds several slices at that place.
    """

    uid: str
    slices: tuple[tuple[Header, ...], ...]

    @property
    def first(self) -> Header:
        """The lowest slice."""
        return self.slices[0][0]

    @property
    def files(self) -> list[Path]:
        """All files, from the lowest slice on."""
        return [header.path for place in self.slices for header in place]

    @property
    def spacing(self) -> tuple[float, float] | None:
        """mm per row and per column."""
        return self.first.spacing

    @property
    def orientation(self) -> np.ndarray | None:
        """(2, 3) unit vectors along which columns and rows count up, as stored."""
        return self.first.axes

    @property
    def normal(self) -> np.ndarray:
        """(3,) the unit vector along which slices count up."""
        return _normal(self.first)

    @property
    def axial(self) -> bool:
        """Whether the slices lie across the patient, tilted by less than 45 degrees, and are no scout."""
        return self.orientation is not None and abs(self.normal[2]) >= AXIAL and not self.first.scout

    @cached_property
    def heights(self) -> np.ndarray:
        """(N,) mm of each slice along the normal, ascending."""
        return np.array([place[0].position @ self.normal for place in self.slices])

    @property
    def step(self) -> float:
        """The usual distance between slices in mm; of a single one its thickness."""
        return float(np.median(np.diff(self.heights))) if len(self.slices) > 1 else self.first.thickness

    @property
    def gaps(self) -> list[int]:
        """Slices after which one seems to be missing."""
        return np.flatnonzero(np.diff(self.heights) > UNEVEN * self.step).tolist()

    def position(self, k: int) -> np.ndarray:
        """(3,) mm of the first stored pixel of slice k."""
        return self.slices[k][0].position

    def nearest(self, point: np.ndarray) -> int | None:
        """The slice that holds a point (3,) in mm: the nearest, None where it is further than half a step away."""
        distances = np.abs(self.heights - np.asarray(point) @ self.normal)
        k = int(distances.argmin())
        return k if distances[k] <= max(self.step / 2, SAME_MM) * 1.001 else None

    def read(self, k: int) -> np.ndarray:
        """Slice k in Hounsfield units, float32 (rows, columns) as stored. Raises as `image`."""
        return pixels(self.image(k))

    def image(self, k: int) -> sitk.Image:
        """Slice k as an image of one plane. Raises UserError where files at its place hold other pixels or lie
        elsewhere in the plane, RuntimeError where the file is damaged.
        """
        first, *others = self.slices[k]
        image = load(first.path, GDCM)
        for other in others:
            if not _is_copy(image, load(other.path, GDCM)):
                raise UserError(
                    f"{first.path.parent} has two different slices at one place ({first.path.name}, "
                    f"{other.path.name}); "
                    "leave one of the two sets out"
                )
        return image

    def volume(self) -> sitk.Image:
        """All slices as one image. Raises UserError where they lie at uneven distances or are shifted in the plane."""
        places = np.array([self.position(k) for k in range(len(self.slices))])
        even = self.position(0) + np.arange(len(places))[:, None] * self.step * self.normal
        if not np.allclose(places, even, atol=0.1 * (self.step or 1.0)):
            raise UserError(
                f"the slices in {self.first.path.parent} lie at uneven distances; give axial ones"
            )
        images = [self.image(k) for k in range(len(places))]
        volume = sitk.GetImageFromArray(np.stack([pixels(image) for image in images]))
        volume.SetSpacing((*images[0].GetSpacing()[:2], self.step or images[0].GetSpacing()[2]))
        volume.SetOrigin(images[0].GetOrigin())
        volume.SetDirection(np.stack([*self.orientation, self.normal], axis=1).ravel())
        return volume


def find(files: Iterable[Path]) -> tuple[list[Series], list[Path]]:
    """The stacks among the files, in their order, and the files that cannot be read.

    A series whose slices differ in size, pixel spacing or orientation (its scout) makes several stacks. Files
    without an image, as reports, are passed over.
    """
    groups: dict[str, list[list[Header]]] = defaultdict(list)
    unreadable = []
    for path in files:
        try:
            header = read_header(path)
        except UNREADABLE:
            unreadable.append(path)
            continue
        if header is not None:
            _add(groups[header.uid], header)
    return [_stack(group) for stacks in groups.values() for group in stacks], unreadable


def _add(stacks: list[list[Header]], header: Header) -> None:
    for stack in stacks:
        if stack[0].is_parallel(header):
            stack.append(header)
            return
    stacks.append([header])


def read_header(path: Path) -> Header | None:
    """The header of an image file; None for a file without an image. Raises one of UNREADABLE."""
    tags = read_tags(path, TAGS)
    uid = tags.SeriesInstanceUID.strip()
    if tags.get("Rows") is None:
        return None
    position, cosines = tags.get("ImagePositionPatient"), tags.get("ImageOrientationPatient")
    placed = (
        position and cosines and int(tags.get("NumberOfFrames") or 1) == 1
    )  # frames have places of their own
    return Header(
        path=path,
        uid=uid,
        size=(int(tags.Rows), int(tags.Columns)),
        spacing=tuple(map(float, tags.PixelSpacing)) if tags.get("PixelSpacing") else None,
        position=np.array(position, dtype=float).reshape(3) if placed else None,
        axes=np.array(cosines, dtype=float).reshape(2, 3) if placed else None,
        thickness=float(tags.get("SliceThickness") or 0.0),
        scout="LOCALIZER" in (tags.get("ImageType") or ()),
        modality=str(tags.get("Modality") or "").strip().upper(),
        frames=int(tags.get("NumberOfFrames") or 1),
    )


def _stack(headers: list[Header]) -> Series:
    """The headers of a stack by their places."""
    if headers[0].axes is None:
        return Series(headers[0].uid, tuple((header,) for header in headers))
    normal = _normal(headers[0])
    places: list[list[Header]] = []
    for header in sorted(headers, key=lambda h: h.position @ normal):
        if places and (header.position - places[-1][0].position) @ normal <= SAME_MM:
            places[-1].append(header)
        else:
            places.append([header])
    return Series(headers[0].uid, tuple(map(tuple, places)))


def _normal(header: Header) -> np.ndarray:
    normal = np.cross(*header.axes)
    return -normal if normal[2] < -AXIAL else normal


def _is_copy(image: sitk.Image, other: sitk.Image) -> bool:
    return np.allclose(image.GetOrigin(), other.GetOrigin(), atol=SAME_MM) and np.array_equal(
        pixels(image), pixels(other)
    )


def only(folder: Path) -> Series:
    """The one series of a folder: its axial slices, or, where there are none, its one other stack.

    Scouts and other slices across the stack are left out. What is left out, a gap and files that cannot be read
    are said in a line each (warnings). Raises UserError where there is no series, several, slices of several kinds
    or without positions.
    """
    stacks, unreadable = find(files_in(folder))
    chosen = [stack for stack in stacks if stack.axial] or [
        stack for stack in stacks if stack.orientation is not None
    ]
    _check_one(folder, chosen or stacks)
    (series,) = chosen or stacks
    _warn_of_others(
        folder, [path for stack in stacks if stack is not series for path in stack.files], unreadable
    )
    _warn_of_gaps(folder, series)
    return series


def _check_one(folder: Path, stacks: list[Series]) -> None:
    count = len({stack.uid for stack in stacks})
    if count != 1:
        raise UserError(f"{folder} holds {count} DICOM series; give a folder with exactly one, or a file")
    if len(stacks) > 1:
        kinds = ", ".join(f"{len(s.files)} as {s.first.path.name}" for s in stacks[:3])
        raise UserError(
            f"{folder} holds slices that differ in size, pixel spacing or orientation ({kinds}); leave out what does "
            "not belong to the stack"
        )
    if stacks[0].orientation is None and len(stacks[0].slices) > 1:
        raise UserError(
            f"the files in {folder} do not say where they lie (ImagePositionPatient), so their order is unknown; "
            "name one file"
        )


def _warn_of_others(folder: Path, others: list[Path], unreadable: list[Path]) -> None:
    if others:
        warnings.warn(f"{folder}: {_names(others)} left out: no slices of the axial stack", stacklevel=2)
    if unreadable:
        warnings.warn(f"{folder}: {_names(unreadable)} cannot be read and left out", stacklevel=2)


def _warn_of_gaps(folder: Path, series: Series) -> None:
    if series.orientation is None or not series.gaps:
        return
    k, more = series.gaps[0], f" and {len(series.gaps) - 1} more gaps" if len(series.gaps) > 1 else ""
    warnings.warn(
        f"{folder}: slices are missing: {series.step:.3g} mm apart, but {np.diff(series.heights)[k]:.3g} mm between "
        f"slices {k} and {k + 1}{more}; slice counts those that are there",
        stacklevel=2,
    )


def _names(paths: list[Path], limit: int = 3) -> str:
    more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
    return ", ".join(path.name for path in paths[:limit]) + more
