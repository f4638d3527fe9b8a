"""A table of images as a source: one window a row, by the columns of `datamodules.manifest`; labels are not needed."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from cycle_am.data.dicom import files_in
from cycle_am.data.images import Plane, read_mask
from cycle_am.data.table import Row, parse, read_lines
from cycle_am.errors import UserError
from cycle_am.sources.scan import DAMAGED, Scan, Spot, open_files, open_scan, ready
from cycle_am.sources.windows import Failure, Window
from cycle_am.sources.words import plain, quiet, retold
from cycle_am.tables import Line
from cycle_am.task import Task

OTHERS = ("label", "patient_id", "split")  # columns that do not matter here


def windows(path: Path, task: Task, spacing: tuple[float, float] | None = None) -> Iterator[Window | Failure]:
    """The window of every row, in the table's order; `spacing` where neither row nor file says it.

    Slice and centre are counted as `datamodules.manifest` does; without them the middle is taken. Windows are called
    by case_id, or by their line. Raises UserError where the file is no such table.
    """
    try:
        lines = retold(read_lines, path)(path, ("image",))
    except UserError as error:
        raise UserError(plain(error, path)) from error
    opened = lru_cache(maxsize=1)(lambda file: _open(Path(file), task, spacing))
    for line in lines:
        name = line.cells.get("case_id") or f"line {line.number}"
        try:
            row = parse(_needed(line), path)
            yield quiet(_window)(row, opened, name)
        except UserError as error:
            yield Failure(name, _reason(error, path, line))


def _needed(line: Line) -> Line:
    return line._replace(cells={key: cell for key, cell in line.cells.items() if key not in OTHERS})


def _reason(error: UserError, path: Path, line: Line) -> str:
    """The error without the names of files, which the table may have from anywhere."""
    text = str(error)
    for column in ("image", "mask"):
        file = line.cells.get(column, "")
        text = text.replace(os.path.abspath(path.parent / file), f"the {column}") if file else text
        text = (
            re.sub(rf"(?<![\w.]){re.escape(file)}(?![\w.])", f"the {column}", text) if len(file) > 3 else text
        )
    return plain(text, path.parent)


def _open(path: Path, task: Task, spacing: tuple[float, float] | None) -> Scan:
    if not path.exists():
        raise UserError("the image does not exist; mend the path")
    return (
        open_files(path, files_in(path), task, spacing) if path.is_dir() else open_scan(path, task, spacing)
    )


def _window(row: Row, opened, name: str) -> Window:
    scan = opened(row.image)
    if row.spacing_mm is not None:  # the row's goes before the file's
        scan = replace(scan, spacing=(row.spacing_mm,) * 2, given_first=True)
    if row.slice is None and row.centre is None and row.point_mm is None and not row.mask:
        as_it_is = list(ready(scan) or ())
        if len(as_it_is) == 1:
            return replace(as_it_is[0], place=replace(as_it_is[0].place, name=name))
    try:
        return scan.window(_spot(row, scan, name))
    except DAMAGED as error:
        raise UserError("the image is damaged or cut short; mend the file") from error


def _spot(row: Row, scan: Scan, name: str) -> Spot:
    slices, rows, columns = scan.volume.size
    if row.point_mm is not None:
        plane, *centre = scan.at(row.point_mm)
    else:
        plane = slices // 2 if row.slice is None else row.slice
        centre = row.centre or ((rows - 1) / 2, (columns - 1) / 2)
    if not 0 <= plane < slices:
        raise UserError(f"the image has no slice {plane}; its slices are 0 to {slices - 1}")
    return Spot(name, plane, *map(float, centre), mask=_mask(row, scan, plane))


def _mask(row: Row, scan: Scan, plane: int):
    if not row.mask:
        return None
    image = Plane(scan.plane(plane), scan.volume.spacing, plane, scan.volume)
    mask = read_mask(Path(row.mask), image=image).pixels
    if math.isclose(float(mask.max()), 0.0):
        raise UserError("the mask is empty in this slice; name another in column slice, or no mask")
    return mask
