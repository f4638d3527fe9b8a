"""What sources give: windows as a model takes them, with their places, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cycle_am.place import Place

ALLOWANCE = 1e-3  # of a window's pixel by which it may reach over the outermost pixel centres: rounding


@dataclass(frozen=True)
class DicomFiles:
    """The DICOM files that a window is out of. They are there as long as this object is: an archive's go with it.

    slice: the file that holds the window's slice. series: all files of the stack, from the feet up. frame: number of
    the slice's frame in a file that holds many, from 0; None otherwise.
    """

    slice: Path
    series: tuple[Path, ...]
    frame: int | None = None
    keep: object = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Window:
    """One image for a model, (S, S) float32 in [0, 1] as its task scales it.

    mask: the lesion on the window, (S, S) float32 in [0, 1], where the source has one. series: where it is DICOM.
    """

    image: np.ndarray
    place: Place
    mask: np.ndarray | None = None
    series: DicomFiles | None = None


@dataclass(frozen=True)
class Failure:
    """A source or a lesion that gave no window. name: as it is called; reason: one line, and how to mend it."""

    name: str
    reason: str
