"""Where in a patient an image lies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a window comes from. Ids of persons are no part of it.

    name: of the lesion, for people and files. centre_mm: (x, y, z) in the patient's coordinates as DICOM has them
    (left, posterior, superior positive), where the source has any. row_mm, column_mm: unit steps (x, y, z) in mm from
    one pixel of the window to the next, down a column and along a row: the middle of pixel (i, j) of S x S lies at
    centre_mm + (i - (S - 1) / 2) row_mm + (j - (S - 1) / 2) column_mm. source: what the file or folder is called.
    slice: number of its slice from 0, of DICOM from the feet up, whatever its files are called. spacing_mm: of the
    source's pixels, per row and column as the window counts them. thickness_mm: of the slice.
    """

    name: str = ""
    source: str = ""
    centre_mm: tuple[float, float, float] | None = None
    row_mm: tuple[float, float, float] | None = None
    column_mm: tuple[float, float, float] | None = None
    slice: int | None = None
    spacing_mm: tuple[float, float] | None = None
    thickness_mm: float | None = None
