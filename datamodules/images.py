"""Reading one axial slice of an image file in Hounsfield units, and cutting the window out of it.

Files are NIfTI, MHA, NRRD, DICOM (a file or the folder of one series) by SimpleITK, PNG by Pillow (JPEG, TIFF
and BMP likewise), NPY by numpy without pickled objects. Volumes with an orientation are turned to rows front to
back, columns right to left, slices feet up.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image, ImageSequence
from scipy.ndimage import map_coordinates

from datamodules.contract import HU_MAX, HU_MIN, IMAGE_SIZE
from datamodules.headers import states_spacing
from utils.errors import UserError

HU_LOWEST, HU_HIGHEST = -32768.0, 65535.0  # metal and scanners' padding included
PADDING = -1500.0  # HU: what is below is no tissue but a scanner's mark for "outside of the picture"
FLAT = 20.0  # HU: noise alone spans more, so values that all lie this near to 0 have another unit
SHARE = 0.1  # of the range of 16 bits: pictures that use less were not scaled to it
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Plane:
    """One slice: float32 pixels (rows, columns), and mm per row and column, None where the file has none."""

    pixels: np.ndarray
    spacing: tuple[float, float] | None


def read_image(
    path: Path, index: int | None = None, hu_range: tuple[float, float] = (HU_MIN, HU_MAX)
) -> Plane:
    """A slice in Hounsfield units: slice `index` counted from 0, or the central one of a volume.

    hu_range: what 0 and the largest value of 8-bit data (of pictures such as PNG: 8 or 16 bit) stand for. Raises
    UserError where the file cannot be read, has no such slice, holds NaN, or cannot be Hounsfield units.
    """
    pixels, spacing = _read(path, index)
    _check_finite(path, pixels)
    if pixels.dtype == np.uint8 or (pixels.dtype.kind == "u" and path.suffix.lower() in PICTURES):
        low, high = hu_range
        share = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
        _check_range(path, pixels, high - low)
        return Plane(low + share * (high - low), spacing)
    _check_hounsfield(path, pixels)
    return Plane(pixels.astype(np.float32), spacing)


def read_mask(path: Path, index: int | None = None) -> Plane:
    """A slice of a mask in [0, 1]; a file may hold 0/1, 0..255 or fractions. UserError as `read_image`."""
    pixels, spacing = _read(path, index)
    _check_finite(path, pixels)
    values = pixels.astype(np.float32)
    values = values / 255.0 if pixels.dtype.kind in "iu" and values.max() == 255.0 else values
    if values.min() < 0.0 or values.max() > 1.0:
        raise UserError(
            f"mask {path} has values from {values.min():g} to {values.max():g}; save it as 0 and 1, 0 and "
            "255 or a fraction in [0, 1]"
        )
    return Plane(values, spacing)


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


def _read(path: Path, index: int | None) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Raw values of the slice, and its spacing."""
    suffix = path.suffix.lower()
    reader = _read_picture if suffix in PICTURES else _read_npy if suffix == ".npy" else _read_itk
    try:
        array, spacing = reader(path)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, RuntimeError, SyntaxError, struct.error, zlib.error) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{path} cannot be read ({reason}); give NIfTI, MHA, DICOM, PNG or NPY, or mend the file"
        ) from error
    return _slice(path, array, index), spacing


def _slice(path: Path, array: np.ndarray, index: int | None) -> np.ndarray:
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise UserError(
            f"{path} is {array.dtype} of shape {array.shape}; give one channel of numbers in 2-D or 3-D"
        )
    index = len(array) // 2 if index is None else index
    if not 0 <= index < len(array):
        raise UserError(f"{path} has no slice {index}; its slices are 0 to {len(array) - 1}")
    return array[index]


def _read_picture(path: Path) -> tuple[np.ndarray, None]:
    """A picture, or all pages of a TIFF. The dots per inch that it may name are those of a print."""
    with Image.open(path) as image:
        pages = [_page(path, page) for page in ImageSequence.Iterator(image)]
    return pages[0] if len(pages) == 1 else np.stack(pages), None


def _page(path: Path, page: Image.Image) -> np.ndarray:
    if page.mode not in ("1", "L", "I;16", "I;16B", "I", "F"):
        raise UserError(f"{path} is a picture of kind {page.mode}; save it as 8 or 16 bit greyscale")
    return np.array(page.convert("L") if page.mode == "1" else page)


def _read_npy(path: Path) -> tuple[np.ndarray, None]:
    return np.load(path, allow_pickle=False), None


def _read_itk(path: Path) -> tuple[np.ndarray, tuple[float, float] | None]:
    if path.name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti_length(path)
    image = _read_series(path) if path.is_dir() else sitk.ReadImage(str(path))
    channels, dimensions = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
    if channels != 1 or dimensions not in (2, 3):
        raise UserError(
            f"{path} has {channels} channels and {dimensions} dimensions; give one channel in 2-D or 3-D"
        )
    if dimensions == 3:
        image = sitk.DICOMOrient(image, "LPS")
    spacing = image.GetSpacing()
    return sitk.GetArrayFromImage(image), spacing[1::-1] if states_spacing(path, spacing) else None


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


def _read_series(folder: Path) -> sitk.Image:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise UserError(
            f"{folder} holds {len(series)} DICOM series; give a folder with exactly one, or a file"
        )
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))


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
