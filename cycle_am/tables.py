"""Tables as people and spreadsheets save them: read right, or refused in one line."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from cycle_am.errors import UserError

SEPARATORS = ",;\t|"
DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+")


class Line(NamedTuple):
    """A row of a table: the number of its line in the file, and its cells by the name of their column."""

    number: int
    cells: dict[str, str]


def read_table(path: Path, columns: Sequence[str], texts: Sequence[str] = ()) -> list[Line]:
    """The rows of a table with a header, cells stripped, rows without any content left out.

    The separator is found from the header: a comma, or a semicolon, tab or bar, and then 0,7 is the number 0.7. Of
    `columns`, the names that have a meaning, capitals and blanks do not count (`Patient ID` is patient_id); `texts`
    are those that hold no numbers. Separators too many at the end of a line do no harm.

    Raises OSError, and UserError where the file is no table: not UTF-8, a column of `columns` twice, or a line with
    other than the header's number of cells.
    """
    text = _decode(path)
    separator = _separator(text)
    filled = [(number, cells) for number, cells in _records(path, text, separator) if any(cells)]
    if not filled:
        raise UserError(f"{_no_table(path)} (it is empty); mend it")
    header = _names(path, filled[0][1], columns)
    if len(filled) == 1:
        raise UserError(f"the table {path} has no rows; fill it in")
    lines = [Line(number, _cells(path, number, cells, header)) for number, cells in filled[1:]]
    return lines if separator == "," else [_decimal_points(line, texts) for line in lines]


def _no_table(path: Path) -> str:
    return f"the table {path} is no CSV table"


def _decode(path: Path) -> str:
    """The text, of UTF-8 or of UTF-16 with its mark. Other encodings cannot be told apart: they are refused."""
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{_no_table(path)} in UTF-8 (line {line}); save it as 'CSV UTF-8', as spreadsheets call it"
        ) from error


def _separator(text: str) -> str:
    """The one that a first line `sep=;` names, else the one that divides the header into most cells."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    named = re.fullmatch(rf"sep=([{SEPARATORS}])", first.strip(" \"'"))
    return named[1] if named else max(SEPARATORS, key=first.count)


def _records(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """(number of its last line, cells) of each record, the line `sep=` left out."""
    text = re.sub(rf'" +(?=[{separator}\r\n]|$)', '"', text)  # blanks behind a quoted cell
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    try:
        records = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise UserError(f"{_no_table(path)} (line {reader.line_num}: {error}); mend it") from error
    names_separator = records and records[0][1] in (["sep=", ""], [f"sep={separator}"])
    return records[1:] if names_separator else records


def _names(path: Path, header: list[str], columns: Sequence[str]) -> list[str]:
    """The columns' names, as the program spells them where it knows them."""
    while header[-1] == "":
        header = header[:-1]
    known = {name.casefold(): name for name in columns}
    names = [known.get(re.sub(r"[\s-]+", "_", name.casefold()), name) for name in header]
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise UserError(f"the table {path} has two columns {twice[0]}; drop or rename one")
    _warn_of_slips(path, names, columns)
    return names


def _warn_of_slips(path: Path, names: list[str], columns: Sequence[str]) -> None:
    """Warn of columns that nothing reads, but whose names come close to an absent one that has a meaning."""
    absent = [name for name in columns if name not in names]
    for name in set(names) - set(columns):
        for meant in get_close_matches(name.casefold(), absent, 1, cutoff=0.8):
            warnings.warn(f"{path} has a column {name}, which is ignored; is {meant} meant?", stacklevel=2)


def _cells(path: Path, number: int, cells: list[str], header: list[str]) -> dict[str, str]:
    if len(cells) < len(header) or any(cells[len(header) :]):
        raise UserError(
            f"{_no_table(path)} (line {number} has {len(cells)} cells, the header {len(header)}); give each line as "
            "many, also for empty ones"
        )
    return dict(zip(header, cells, strict=False))


def _decimal_points(line: Line, texts: Sequence[str]) -> Line:
    """0,7 -> 0.7, but in columns of text."""
    numbers = {
        name: cell for name, cell in line.cells.items() if name not in texts and DECIMAL_COMMA.fullmatch(cell)
    }
    return line._replace(cells=line.cells | {name: cell.replace(",", ".") for name, cell in numbers.items()})
