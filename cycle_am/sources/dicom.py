"""DICOM: which series of the files is meant, its slices or frames as planes, and segmentations."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk

from cycle_am.data.dicom import AXIAL, GDCM, UNREADABLE, load, read_tags
from cycle_am.data.series import SAME_AXIS, SAME_MM, Header, Series, find
from cycle_am.data.volumes import Imaged, Volume
from cycle_am.errors import UserError
from cycle_am.sources.planes import Planes
from cycle_am.sources.words import say

SKEW = 0.01  # by which rows and columns may miss the right angle, and their unit vectors the length of 1
CT = ("CT", "")  # modalities; old files may not say theirs


def open_series(
    path: Path, files: Sequence[Path], number: int | None = None, uids: Collection[str] = ()
) -> tuple[Volume, Series]:
    """The CT series among the files: the only axial one, the one of `uids`, or the one that `number` names, from 1.

    What is left out is said in a line. Raises UserError where there is none, or several.
    """
    stacks, unreadable = find(files)
    choices = _choices(stacks)
    if not choices:
        raise UserError(_nothing(stacks, len(unreadable)))
    series = _choose(choices, number, uids)
    _say_left_out(len(files) - len(unreadable) - len(series.files), len(unreadable))
    _say_gaps(series)
    return _planes(path, series), series


def _choices(stacks: list[Series]) -> list[Series]:
    """Axial stacks and files of many frames; where there are none other stacks; else single images."""
    ct = [series for stack in stacks if stack.first.modality in CT for series in _parts(stack)]
    ct = [stack for stack in ct if not stack.first.scout]
    axial = [stack for stack in ct if stack.axial or stack.first.frames > 1]
    stacks_there = axial or [stack for stack in ct if stack.orientation is not None] or ct
    return sorted(stacks_there, key=lambda stack: -_count(stack))


def _parts(stack: Series) -> list[Series]:
    """Files of many frames are series of their own each."""
    return [Series(stack.uid, (frame,)) for frame in stack.slices] if stack.first.frames > 1 else [stack]


def _count(stack: Series) -> int:
    return stack.first.frames if stack.first.frames > 1 else len(stack.slices)


def _choose(choices: list[Series], number: int | None, uids: Collection[str]) -> Series:
    named = [stack for stack in choices if stack.uid in uids]
    if number is not None and not 1 <= number <= len(choices):
        raise UserError(f"there is no series {number}; {_listed(choices)}")
    if number is not None:
        return choices[number - 1]
    if len(named or choices) > 1:
        raise UserError(f"{_listed(choices)}; name one: series=1 (--series 1)")
    return (named or choices)[0]


def _listed(choices: list[Series], limit: int = 8) -> str:
    lines = [f"{i}: {_described(stack)}" for i, stack in enumerate(choices[:limit], 1)]
    more = f", and {len(choices) - limit} more" if len(choices) > limit else ""
    return f"it holds {len(choices)} CT stacks ({'; '.join(lines)}{more})"


def _described(stack: Series) -> str:
    apart = stack.step if stack.orientation is not None else stack.first.thickness
    rows, columns = stack.first.size
    return f"{_count(stack)} slices of {rows} x {columns}" + (f", {apart:.3g} mm" if apart else "")


def _nothing(stacks: list[Series], unreadable: int) -> str:
    others = sorted({stack.first.modality for stack in stacks} - set(CT))
    if others:
        kinds = (
            ", ".join(modality for modality in others if re.fullmatch("[A-Z]{2,16}", modality))
            or "other images"
        )
        return f"it holds {kinds} and no CT; give the CT series"
    if stacks:
        return "it holds a localizer and no slices; give the CT series"
    if unreadable:
        return f"no DICOM image of it can be read ({unreadable} damaged, or no DICOM); give the CT series"
    return "it holds no DICOM image; give the CT series"


def _say_left_out(others: int, unreadable: int) -> None:
    if others > 0:
        say(f"{others} files are no slices of the CT stack and left out")
    if unreadable:
        say(f"{unreadable} files cannot be read and are left out")


def _say_gaps(series: Series) -> None:
    if series.orientation is not None and series.gaps:
        say(
            f"slices seem to be missing in {len(series.gaps)} places, first after slice {series.gaps[0]} (from the "
            "feet, from 0)"
        )


def _planes(path: Path, series: Series) -> Volume:
    first = series.first
    if first.frames > 1:
        return frames(path, first)
    if series.orientation is None and len(series.files) > 1:
        raise UserError(
            "its files do not say where they lie (ImagePositionPatient), so their order is unknown; give one of them"
        )
    if series.orientation is None:
        return _unplaced(path, series)
    if not series.axial:
        return _resliced(path, series)
    return _checked(
        Planes(
            path=path,
            origins=np.array([series.position(k) for k in range(len(series.slices))]),
            axes=series.orientation,
            stored=first.size,
            pixel=series.spacing,
            thickness=np.array([place[0].thickness for place in series.slices]),
            decode=_reader(series),
            placed=series.spacing is not None,
        )
    )


def _resliced(path: Path, series: Series) -> Imaged:
    """Coronal or sagittal slices as a volume, which is cut across."""
    try:
        return Imaged(path, series.volume())
    except UserError as error:
        raise UserError(
            "its slices are not axial, and too few, at uneven distances or different at one place; give axial ones"
        ) from error


def _reader(series: Series) -> Callable[[int], np.ndarray]:
    def read(k: int) -> np.ndarray:
        try:
            return series.read(k)
        except UserError as error:  # its text names the files
            raise UserError(
                f"it holds two different slices at one place (slice {k} from the feet, from 0); leave one of the two "
                "sets out"
            ) from error

    return read


def _checked(planes: Planes) -> Planes:
    """Raise UserError for geometry that is none."""
    if planes.pixel is not None and not all(0 < size < np.inf for size in planes.pixel):
        raise UserError(f"its pixel size is {planes.pixel[0]:g} x {planes.pixel[1]:g} mm; mend the files")
    if (
        not np.allclose(planes.axes @ planes.axes.T, np.eye(2), atol=SKEW)
        or not np.isfinite(planes.origins).all()
    ):
        raise UserError("its rows and columns are at no right angle, or lie nowhere; mend the files")
    if abs(np.cross(*planes.axes)[2]) < AXIAL:
        raise UserError("its slices are not axial; give axial ones")
    return planes


def _unplaced(path: Path, series: Series) -> Planes:
    """A single image that does not say where it lies."""
    first = series.first
    return _checked(
        Planes(
            path,
            np.zeros((1, 3)),
            np.eye(3)[:2],
            first.size,
            first.spacing,
            np.array([first.thickness]),
            _reader(series),
            placed=False,
        )
    )


def frames(path: Path, header: Header) -> Planes:
    """The frames of an enhanced multi-frame file by their places. Raises UserError where they make no stack."""
    try:
        groups = _groups(pydicom.dcmread(header.path, stop_before_pixels=True, force=True))
        origins, axes, pixel, thickness = _geometry(groups)
        scales = {str(_item(group, "PixelValueTransformationSequence", {})) for group in groups}
    except UNREADABLE as error:
        raise UserError(
            "its frames do not say where they lie (plane position, orientation, pixel size); give single slices"
        ) from error
    if len(scales) > 1:
        raise UserError("its frames are scaled to Hounsfield units in different ways; give single slices")
    order = np.argsort(origins @ np.cross(*axes) * (-1 if np.cross(*axes)[2] < 0 else 1), kind="stable")
    planes = Planes(
        path,
        origins[order],
        axes,
        header.size,
        pixel,
        thickness[order],
        _decoder(header, order),
        numbers=order.tolist(),
    )
    if len(order) > 1 and np.diff(planes.origins @ planes.normal).min() <= SAME_MM:
        raise UserError("it holds several frames at one place; give a single series of slices")
    return _checked(planes)


def _decoder(header: Header, order: np.ndarray) -> Any:
    @lru_cache(maxsize=1)
    def stored() -> np.ndarray:
        return sitk.GetArrayFromImage(load(header.path, GDCM))

    return lambda k: stored().reshape(-1, *header.size)[order[k]].astype(np.float32)


Group = tuple[pydicom.Dataset, pydicom.Dataset]  # functional groups of a frame, and those that all share


def _groups(header: pydicom.Dataset) -> list[Group]:
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    return [(frame, shared) for frame in header.PerFrameFunctionalGroupsSequence]


def _item(group: Group, name: str, default: Any = None) -> Any:
    """The one item of a functional group, of the frame's own or else of all frames."""
    for functional in group:
        if functional.get(name):
            return functional.get(name)[0]
    if default is None:
        raise KeyError(name)
    return default


def _geometry(groups: list[Group]) -> tuple[np.ndarray, np.ndarray, tuple[float, float], np.ndarray]:
    """Origins (K, 3), axes (2, 3), mm per row and column, thickness (K,). Raises UserError where frames differ."""
    origins = [_item(item, "PlanePositionSequence").ImagePositionPatient for item in groups]
    axes = np.array(
        [_item(item, "PlaneOrientationSequence").ImageOrientationPatient for item in groups], dtype=float
    )
    measures = [_item(item, "PixelMeasuresSequence") for item in groups]
    sizes = np.array([item.PixelSpacing for item in measures], dtype=float)
    if not np.allclose(axes, axes[0], atol=SAME_AXIS) or not np.allclose(sizes, sizes[0], rtol=1e-3):
        raise UserError("its frames differ in orientation or pixel size; give a single series of slices")
    thickness = np.array([float(item.get("SliceThickness") or 0) for item in measures])
    return (
        np.array(origins, dtype=float),
        axes[0].reshape(2, 3),
        (float(sizes[0][0]), float(sizes[0][1])),
        thickness,
    )


def modality(path: Path) -> str | None:
    """Modality of a DICOM file, None where it cannot be read as one."""
    try:
        return str(read_tags(path, ["Modality"]).get("Modality") or "")
    except UNREADABLE:
        return None


def segments(path: Path) -> list[Planes]:
    """The segments of a DICOM segmentation, 0 to 1 each, or labels. Raises UserError where it cannot be read."""
    try:
        data = pydicom.dcmread(path)
        groups = _groups(data)
        origins, axes, pixel, thickness = _geometry(groups)
        stored = data.pixel_array.reshape(-1, data.Rows, data.Columns)
        labelmap = data.get("SegmentationType") == "LABELMAP"
        full = float(data.get("MaximumFractionalValue") or 1) if data.SegmentationType == "FRACTIONAL" else 1
        numbers = np.array(
            [
                0 if labelmap else _item(group, "SegmentIdentificationSequence").ReferencedSegmentNumber
                for group in groups
            ]
        )
    except (*UNREADABLE, RuntimeError) as error:
        raise UserError("the segmentation cannot be read; save it as NIfTI, or mend the file") from error
    return [
        Planes(
            path,
            origins[of],
            axes,
            stored.shape[1:],
            pixel,
            thickness[of],
            lambda k, own=stored[of]: own[k] if full == 1 else own[k] / np.float32(full),
        )
        for of in (np.flatnonzero(numbers == number) for number in np.unique(numbers))
    ]
