"""Images for a model out of files: every kind of source, and every way to say where in it.

`read` gives windows one after the other, and failures in between: one bad case never stops the others. What it says
names nobody: files are called by the last part of the path that was given, or by number.

Sources: a DICOM file, a folder or ZIP of them (slices of one CT series, in folders of any depth; an enhanced file of
many frames); NIfTI, MHA, NRRD; PNG, JPEG, TIFF, BMP, NPY; a folder or ZIP of those; a table of images (CSV with the
columns of `datamodules.manifest`).

Where: at, (x, y, z) in mm in the patient's coordinates as DICOM has them (left, back, head); voxel, (column, row,
slice) from 0, as the file counts: NIfTI, MHA and NRRD as stored, which is nibabel's (i, j, k); of NPY and TIFF the
array's [slice, row, column]; of DICOM the stored column and row, and the slice from the feet up, whatever the files
are called. mask: NIfTI or a DICOM segmentation on the source's pixels (`masks.spots`). lesions: a table
(`where.read_lesions`). lidc: the lesions that LIDC-IDRI's readers marked in the series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cycle_am.errors import UserError
from cycle_am.sources.windows import DicomFiles, Failure, Window
from cycle_am.task import Task

__all__ = ["DicomFiles", "Failure", "Window", "read"]


def read(
    source: str | Path,
    task: Task,
    *,
    at: Any = None,
    voxel: Any = None,
    mask: str | Path | None = None,
    lesions: str | Path | None = None,
    lidc: bool = False,
    series: int | None = None,
    spacing: float | Sequence[float] | None = None,
) -> Iterator[Window | Failure]:
    """The windows of a source (see above), and what gave none.

    at, voxel: one place, or a list of several. series: number of the stack, from 1, where a folder holds several.
    spacing: mm per pixel, or per row and per column, of files that do not say theirs. An image of the window's size,
    of 8 bit or in [0, 1], needs no place and is taken as it is; so are all those of an array or TIFF of several. Of a
    larger picture with `spacing` and no place the middle is taken, with a word.

    Raises UserError, before anything is read, where the arguments cannot be understood.
    """
    from cycle_am.sources.reading import Reader
    from cycle_am.sources.where import Where

    where = Where.of(at, voxel, mask, lesions, lidc)
    return Reader(Path(source), task, where, series, _sizes(spacing)).windows()


def _sizes(spacing: Any) -> tuple[float, float] | None:
    if spacing is None:
        return None
    try:
        rows, columns = np.broadcast_to(np.asarray(spacing, dtype=float), 2).tolist()
    except (TypeError, ValueError):
        rows = columns = 0.0
    if not (0 < rows < np.inf and 0 < columns < np.inf):
        raise UserError(f"spacing is {spacing}; give millimetres above 0, of rows and columns")
    return rows, columns
