"""Maps of a window as NIfTI, one slice in the source's coordinates, so that viewers lay them over the source."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cycle_am.place import Place

NOWHERE = Place()
CODES = slice(
    252, 256
)  # bytes of qform_code and sform_code in the header; 0: it is not known where the image lies


def write(path: Path, values: np.ndarray, place: Place, pixel_mm: float, what: str) -> Path:
    """Write a map (H, W) float32 of a window.

    place: of the window; where it has none, rows and columns are pixel_mm apart and the file says that it does not know
    where they lie. what: the values' meaning, in at most 80 characters of ASCII.
    """
    image = sitk.GetImageFromArray(np.asarray(values, np.float32)[None])
    image.SetMetaData("ITK_FileNotes", what)
    if placed(place):
        _place(image, place, pixel_mm)
    else:
        image.SetSpacing((pixel_mm,) * 3)
    sitk.WriteImage(image, str(path), useCompression=True)
    if not placed(place):
        _forget_place(path)
    return path


def placed(place: Place) -> bool:
    """Whether the source says where the window lies."""
    return None not in (place.centre_mm, place.row_mm, place.column_mm)


def _forget_place(path: Path) -> None:
    """Clear the codes, which SimpleITK always sets."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[CODES] = bytes(4)
    path.write_bytes(gzip.compress(content, mtime=0))


def _place(image: sitk.Image, place: Place, pixel_mm: float) -> None:
    """Origin, spacing and axes: the window's middle lies at `centre_mm`."""
    down, right = np.asarray(place.row_mm, float), np.asarray(place.column_mm, float)
    columns, rows, _ = image.GetSize()
    origin = np.asarray(place.centre_mm, float) - (rows - 1) / 2 * down - (columns - 1) / 2 * right
    spacing = np.linalg.norm(right), np.linalg.norm(down)
    axes = np.stack([right / spacing[0], down / spacing[1]])
    image.SetOrigin(origin.tolist())
    image.SetSpacing((*map(float, spacing), place.thickness_mm or pixel_mm))
    image.SetDirection(np.column_stack([*axes, np.cross(*axes)]).ravel().tolist())
