"""Reading one axial slice of an image file in Hounsfield units, and cutting the window out of it.

Files are NIfTI, MHA, NRRD, DICOM (a file or the folder of one series) by SimpleITK, PNG by Pillow (JPEG, TIFF
and BMP likewise), NPY by numpy without pickled objects. Volumes with an orientation are turned to rows front to
back, columns right to left, slices feet up; of a DICOM folder those slices count that are there. NPY counts slices,
rows, columns.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence
from scipy.ndimage import map_coordinates

from cycle_am.contract import HU_MAX, HU_MIN, IMAGE_SIZE
from cycle_am.data.volumes import Bare, Volume, matching_slice, open_volume
from cycle_am.errors import UserError

HU_LOWEST, HU_HIGHEST = -32768.0, 65535.0  # metal and scanners' padding included
PADDING = -1500.0  # HU: what is below is no tissue but a scanner's mark for "outside of the picture"
FLAT = 20.0  # HU: noise alone spans more, so values that all lie this near to 0 have another unit
SHARE = 0.1  # of the range of 16 bits: pictures that use less were not scaled to it
GREY = ("1", "L", "I;16", "I;16B", "I", "F")  # Pillow's modes of one channel
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Plane:
    """One slice: float32 pixels (rows, columns), mm per row and column (None where the file has none), its number,
    and the volume that it is of.
    """

    pixels: np.ndarray
    spacing: tuple[float, float] | None
    index: int
    volume: Volume

    def pixel(self, point_mm: Sequence[float]) -> tuple[float, float]:
        """(row, column) of a position in the patient; only where the volume is `placed`."""
        return self.volume.place(self.index).pixel(point_mm)


def read_image(
    path: Path,
    index: int | None = None,
    hu_range: tuple[float, float] = (HU_MIN, HU_MAX),
    point_mm: Sequence[float] | None = None,
) -> Plane:
    """A slice in Hounsfield units: slice `index` counted from 0, the one that holds a position in the patient, or
    the central one of a volume.

    hu_range: what 0 and the largest value of 8-bit data (of pictures: 8 or 16 bit) stand for. point_mm: x to the left,
    y to the back, z to the head (as DICOM, ITK and LUNA16 count). Raises UserError where the file cannot be read,
    has no such slice, holds NaN, or cannot be Hounsfield units.
    """
    raw = _read(path, lambda volume: _slice(volume, index, point_mm))
    return replace(raw, pixels=hounsfield(path, raw.pixels, hu_range))


def hounsfield(
    path: Path, pixels: np.ndarray, hu_range: tuple[float, float] = (HU_MIN, HU_MAX)
) -> np.ndarray:
    """float32 Hounsfield units of what a file holds, as `read_image` takes it. Raises UserError as that does."""
    _check_finite(path, pixels)
    if pixels.dtype == np.uint8 or (pixels.dtype.kind == "u" and path.suffix.lower() in PICTURES):
        low, high = hu_range
        share = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
        _check_range(path, pixels, high - low)
        return low + share * (high - low)
    _check_hounsfield(path, pixels)
    return pixels.astype(np.float32)


def read_mask(path: Path, index: int | None = None, image: Plane | None = None) -> Plane:
    """A slice of a mask in [0, 1]; a file may hold 0/1, 0..255 or fractions.

    image: the slice that it belongs to; the mask's slice is then the one at its place, not `index`. Raises UserError
    as `read_image`, and where mask and image do not lie alike (`matching_slice`).
    """
    raw = _read(
        path,
        lambda volume: (
            _slice(volume, index, None)
            if image is None
            else matching_slice(volume, image.volume, image.index)
        ),
    )
    pixels = raw.pixels
    _check_finite(path, pixels)
    values = pixels.astype(np.float32)
    values = values / 255.0 if pixels.dtype.kind in "iu" and values.max() == 255.0 else values
    if values.min() < 0.0 or values.max() > 1.0:
        raise UserError(
            f"mask {path} has values from {values.min():g} to {values.max():g}; save it as 0 and 1, 0 and "
            "255 or a fraction in [0, 1]"
        )
    return replace(raw, pixels=values)


def cut(
    pixels: np.ndarray, spacing: tuple[float, float], centre: tuple[float, float], pixel_mm: float, rim: int
):
    """(S, S) float32, S = 64 + 2 rim, bilinear, pixel_mm apart around `centre` (row, column).

    Beyond the edge repeated.
    """
    steps = (np.arange(IMAGE_SIZE + 2 * rim) - (IMAGE_SIZE + 2 * rim - 1) / 2) * pixel_mm
    rows, columns = (middle + steps / size for middle, size in zip(centre, spacing, strict=True))
    return map_coordinates(pixels, np.meshgrid(rows, columns, indexing="ij"), order=1, mode="nearest")


def reach_mm(shape: tuple[int, int], spacing: tuple[float, float], centre: tuple[float, float]) -> float:
    """Distance in mm from the centre to the nearest outermost pixel centre: so far `cut` needs no padding."""
    return min(
        min(middle, count - 1 - middle) * size
        for count, size, middle in zip(shape, spacing, centre, strict=True)
    )


def equivalent_diameter_mm(mask: np.ndarray, spacing: tuple[float, float]) -> float:
    """Diameter of the circle with the area where mask >= 0.5; 0 for none."""
    return float(2.0 * np.sqrt(np.sum(mask >= 0.5) * spacing[0] * spacing[1] / np.pi))


def _read(path: Path, choose: Callable[[Volume], int]) -> Plane:
    """Raw values of the slice that `choose` names."""
    try:
        volume = _open(path)
        index = choose(volume)
        if not 0 <= index < volume.size[0]:
            raise UserError(f"{path} has no slice {index}; its slices are 0 to {volume.size[0] - 1}")
        return Plane(volume.pixels(index), volume.spacing, index, volume)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, SyntaxError, struct.error, zlib.error) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} cannot be read ({reason}); give NIfTI, MHA, DICOM, PNG or NPY, or mend the file"
        ) from error


def _open(path: Path) -> Volume:
    suffix = path.suffix.lower()
    if suffix not in (*PICTURES, ".npy"):
        return open_volume(path)
    return Bare(path, _read_npy(path) if suffix == ".npy" else _read_picture(path))


def _slice(volume: Volume, index: int | None, point_mm: Sequence[float] | None) -> int:
    """The slice that is asked for."""
    if point_mm is None:
        return volume.size[0] // 2 if index is None else index
    if not volume.placed or volume.flat:
        raise UserError(
            f"{volume.path} does not say where it lies; a position in mm needs DICOM, NIfTI, MHA or NRRD that does"
        )
    nearest = volume.nearest(point_mm)
    if nearest is None:
        raise UserError(
            f"{volume.path} has no slice at {[float(mm) for mm in point_mm]} mm; mend the position"
        )
    return nearest


def _read_picture(path: Path) -> np.ndarray:
    """A picture, or all pages of a TIFF. The dots per inch that it may name are those of a print."""
    with Image.open(path) as image:
        pages = [_page(path, page) for page in ImageSequence.Iterator(image)]
    return pages[0] if len(pages) == 1 else np.stack(pages)


def _page(path: Path, page: Image.Image) -> np.ndarray:
    if page.mode not in GREY:
        raise UserError(f"{path} is a picture of kind {page.mode}; save it as 8 or 16 bit greyscale")
    return np.array(page.convert("L") if page.mode == "1" else page)


def _read_npy(path: Path) -> np.ndarray:
    array = np.load(path, allow_pickle=False)
    if array.ndim == 3 and array.shape[0] == array.shape[1] != array.shape[2]:
        slices, rows, columns = array.shape
        warnings.warn(
            f"{path} is taken for {slices} slices of {rows} x {columns} pixels; an array counted x, y, z must be "
            "saved as array.transpose(2, 1, 0)",
            stacklevel=2,
        )
    return array


def _check_finite(path: Path, pixels: np.ndarray) -> None:
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise UserError(
            f"{path} has {np.sum(~np.isfinite(pixels))} NaN or infinite pixels; replace them, as by -1000"
        )


def _check_range(path: Path, pixels: np.ndarray, width: float) -> None:
    """Raise UserError where pixels that ought to fill their range, `width` HU, use next to nothing of it."""
    low, high = int(pixels.min()), int(pixels.max())
    if high <= 1:
        raise UserError(f"{path} has no value above {high} of 255; is it a mask? Scale images to 0 to 255")
    if pixels.dtype == np.uint8:
        return
    used = (
        np.ptp(pixels[pixels > 0]) / np.iinfo(pixels.dtype).max
    )  # 0 may mark what is outside of the picture
    if used < SHARE and used * width < SHARE * (HU_MAX - HU_MIN):
        offset = 32768 if high >= 16384 else 1024
        raise UserError(
            f"{path} uses {low} to {high} of 0 to 65535 only; if these are HU + {offset}, set "
            f"data.hu_range=[{-offset}, {65535 - offset}]"
        )


def _check_hounsfield(path: Path, pixels: np.ndarray) -> None:
    low, high = float(pixels.min()), float(pixels.max())
    if low < HU_LOWEST or high > HU_HIGHEST:
        raise UserError(f"{path} has values from {low:g} to {high:g}; save Hounsfield units")
    if max(-low, high) <= FLAT:
        raise UserError(
            f"{path} has values from {low:g} to {high:g}, scaled already; save Hounsfield units, or 8 bit"
        )
    tissue = pixels[pixels > PADDING]
    if not len(tissue) or tissue.min() >= 0:
        raise UserError(
            f"{path} has no value below 0, padding aside ({low:g} to {high:g}); save Hounsfield units "
            "(air: -1000), or 8 bit"
        )
