"""The rows of a manifest, parsed and checked one by one; `datamodules.manifest` says what the columns mean."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cycle_am.contract import UNKNOWN
from cycle_am.errors import UserError
from cycle_am.tables import Line, read_table
from cycle_am.task import Task

CLASSES = Task.classes
SPLITS = ("", "train", "val", "test")
POINT = ("coordX", "coordY", "coordZ")
TEXTS = ("image", "mask", "patient_id", "case_id", "split")
COLUMNS = (*TEXTS, "label", "slice", "spacing_mm", "diameter_mm", "centre_row", "centre_col", *POINT)
NO_ID = ("", "nan", "na", "n/a", "#n/a", "none", "null")  # what programs write for an empty cell
ROUNDED = re.compile(
    r"[0-9]([.,][0-9]+)?E\+[0-9]+", re.IGNORECASE
)  # 1.23457E+12: a spreadsheet's long number


@dataclass(frozen=True)
class Row:
    """A row of the manifest, parsed; `place` names it in messages."""

    place: str
    image: str
    mask: str
    label: int
    case_id: str
    patient_id: str
    split: str
    slice: int | None
    spacing_mm: float | None
    diameter_mm: float | None
    centre: tuple[float, float] | None
    point_mm: tuple[float, float, float] | None


def read_rows(path: Path, classes: Sequence[str] = CLASSES) -> list[Row]:
    """The rows of one CSV. classes: what labels may be called, beside their numbers.

    Raises UserError where the file, a column or a value is missing or wrong.
    """
    table = read_lines(path, ("image", "label"))
    if "patient_id" not in table[0].cells:
        warnings.warn(
            f"{path} has no column patient_id: every case counts as a patient of its own", stacklevel=2
        )
    return [parse(line, path, classes) for line in table]


def read_lines(path: Path, needed: Sequence[str]) -> list[Line]:
    """The lines of one CSV, not parsed yet. Raises UserError where the file or a column is missing or wrong."""
    table = _read_table(path)
    names = table[0].cells
    missing = [name for name in needed if name not in names]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]}; add it (label: 0, 1, a class or empty), found: {', '.join(names)}"
        )
    return table


def parse(line: Line, path: Path, classes: Sequence[str] = CLASSES) -> Row:
    """A line of the table `path`; without a column label it is unknown. Raises UserError where a value is wrong."""
    return _parse({"label": "", **line.cells}, f"{path.name} line {line.number}", path.parent, classes)


@cache
def labels(classes: tuple[str, ...]) -> dict[str, int]:
    """What may stand in the column label -> its number: names, in small letters, and numbers; nothing is unknown."""
    numbers = range(UNKNOWN, len(classes))
    known = {text: value for value in numbers for text in (str(value), f"{value}.0")}
    names = {name.lower(): value for value, name in enumerate(classes)}
    return {"": UNKNOWN, "unknown": UNKNOWN} | known | names


def _read_table(path: Path) -> list[Line]:
    try:
        return read_table(path, COLUMNS, TEXTS)
    except FileNotFoundError as error:
        raise UserError(f"the manifest {path} does not exist; check data.csv and data.test_csv") from error
    except OSError as error:
        raise UserError(f"the manifest {path} cannot be read ({error.strerror}); mend it") from error


def _parse(record: dict[str, str], place: str, folder: Path, classes: Sequence[str]) -> Row:
    label, part = labels(tuple(classes)).get(record["label"].lower()), record.get("split", "").lower()
    if label is None:
        raise UserError(
            f"{place}: label '{record['label']}' is unknown; use 0, 1, {', '.join(classes)} or nothing"
        )
    if part not in SPLITS:
        raise UserError(f"{place}: split '{record['split']}' is unknown; use train, val or test")
    if not record["image"] or record.get("patient_id", "-").lower() in NO_ID:
        raise UserError(f"{place}: {'patient_id' if record['image'] else 'image'} is empty; fill it in")
    _check_rounded(record, place)
    index = _number(record, "slice", place, least=0)
    centre = tuple(_number(record, name, place, least=0) for name in ("centre_row", "centre_col"))
    if (centre[0] is None) != (centre[1] is None) or (index or 0) % 1:
        raise UserError(f"{place}: give centre_row and centre_col together, and slice as a whole number")
    point = _point(record, place)
    if point and (index is not None or centre[0] is not None):
        raise UserError(f"{place}: give {', '.join(POINT)}, or slice, centre_row and centre_col, not both")
    within = [f":{number:g}" for number in (point or (index,)) if number is not None]
    case_id = record.get("case_id", "")
    if case_id.lower() in NO_ID:
        case_id = record["image"] + "".join(within)
    return Row(
        place=place,
        image=_resolve(record["image"], folder, place),
        mask=_resolve(record["mask"], folder, place) if record.get("mask") else "",
        label=label,
        case_id=case_id,
        patient_id=record.get("patient_id", case_id),
        split=part,
        slice=None if index is None else int(index),
        spacing_mm=_number(record, "spacing_mm", place, least=1e-3),
        diameter_mm=_number(record, "diameter_mm", place, least=0),
        centre=None if centre[0] is None else centre,
        point_mm=point,
    )


def _check_rounded(record: dict[str, str], place: str) -> None:
    """Raise UserError for an id that a spreadsheet has made a rounded number: patients may have become one."""
    for name in ("patient_id", "case_id"):
        if ROUNDED.fullmatch(record.get(name, "")):
            raise UserError(
                f"{place}: {name} {record[name]} has lost digits in a spreadsheet; format the column as text there, "
                "fill in the ids and save the table again"
            )


def _point(record: dict[str, str], place: str) -> tuple[float, float, float] | None:
    """The position in the patient, None where its columns are absent or empty."""
    numbers = [_number(record, name, place, least=-np.inf) for name in POINT]
    if None in numbers and numbers != [None] * 3:
        raise UserError(f"{place}: give {', '.join(POINT)} together")
    return None if None in numbers else tuple(numbers)


def _number(record: dict[str, str], name: str, place: str, least: float) -> float | None:
    """The number in a column, None where the column is absent or empty."""
    text = record.get(name, "")
    if text == "":
        return None
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not least <= value < np.inf or value == -np.inf:
        at_least = f" of at least {least:g}" if least > -np.inf else ""
        raise UserError(f"{place}: {name} '{text}' is no number{at_least}; mend it or leave it empty")
    return value


def _resolve(name: str, folder: Path, place: str) -> str:
    """Absolute path of a file that the table names."""
    if not os.path.isabs(name) and os.path.normpath(name).split(os.sep)[0] == os.pardir:
        raise UserError(
            f"{place}: {name} leaves the manifest's folder; move the file into it or give its absolute path"
        )
    return os.path.abspath(folder / name)
