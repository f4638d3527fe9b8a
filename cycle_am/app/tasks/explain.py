"""Many images to a folder of explanations: one bad case stops no other, and a batch that was stopped goes on.

Each lesion has a folder `<input>-<lesion>[_<name>]` that appears in one step when everything in it is written. Paths
may hold names of persons: what is written speaks of the input's number on the command line.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cycle_am.errors import UserError
from cycle_am.files import claimed, write_atomically, write_folder
from cycle_am.model.explanation import Explanation
from cycle_am.model.file import state_digest
from cycle_am.model.model import BATCH, Model
from cycle_am.progress import steps

if TYPE_CHECKING:
    from cycle_am.sources import DicomFiles

MADE, RECORD, SUMMARY, PAGE = ".cycle-am.json", "explanation.json", "summary.csv", "index.html"
FORMAT = 1  # raise it when the files of a lesion change: older ones are then made again
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet takes a cell for a formula
HALF_MADE = re.compile(
    r"\.+[0-9]{4,}-[0-9]{2,}.*\.(tmp|old)"
)  # as `write_folder` names them, one within another too
NUMBERED = re.compile(r"(lesion|image|file) [0-9]+")
FIGURES = ("p", "p_neg", "p_pos", "judge", "judge_neg", "judge_pos", "distance")
COLUMNS = ("input", "lesion", "name", "status", "verdict", "reasons", *FIGURES, "folder", "error")
ONE_PLACE = ("at", "voxel", "mask")  # ways to say where that belong to one scan
FILES = ("mask", "lesions")
HOW = "give --at X Y Z in mm, --voxel COLUMN ROW SLICE, --mask, --lesions or --lidc"


@dataclass(frozen=True)
class Settings:
    """where: the arguments of `sources.read` that say where; dicom: DICOM objects too; trust: verdicts too."""

    where: Mapping[str, Any] = field(default_factory=dict)
    dicom: bool = False
    trust: bool = True


@dataclass(frozen=True)
class Row:
    """What became of a lesion. record: its explanation.json."""

    input: int
    lesion: int
    name: str = ""
    folder: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def label(self) -> str:
        """For people: which input, and the lesion's name."""
        return f"input {self.input}" + (f": {self.name}" if self.name else "")

    @property
    def figures(self) -> dict[str, Any]:
        """`FIGURES`, and verdict and reasons; none of what was not explained."""
        return _figures(self.record) if self.record else {}

    def facts(self) -> dict[str, Any]:
        """A row of the summary, as JSON."""
        own = {name: getattr(self, name) for name in ("input", "lesion", "name", "folder", "error")}
        return {**own, "status": "failed" if self.error else "explained", **self.figures}

    def shown(self) -> dict[str, Any]:
        """As the page takes it."""
        known = {"reason": self.error} if self.error else {**self.record, "folder": self.folder}
        return {**known, "name": self.label}

    def line(self) -> str:
        """For a terminal: the verdict first."""
        if self.error:
            return f"{self.label}: not explained"
        f = self.figures
        told = [f["verdict"] or "not judged", *f["reasons"]]
        distance = "never flips" if f["distance"] is None else f"flips at {f['distance']:.2f}"
        return f"{self.label}: {'; '.join(told)}; p {f['p']:.2f}, G- {f['p_neg']:.2f}, G+ {f['p_pos']:.2f}, {distance}"


@dataclass(frozen=True)
class Report:
    """What became of a batch, in the order of the inputs."""

    model: Model
    rows: Sequence[Row]

    @property
    def failed(self) -> int:
        """How many could not be explained."""
        return sum(bool(row.error) for row in self.rows)

    @property
    def explained(self) -> int:
        """How many were."""
        return len(self.rows) - self.failed

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model": self.model.name,
            "digest": digest(self.model),
            "explained": self.explained,
            "failed": self.failed,
            "cases": [row.facts() for row in self.rows],
        }


def check(inputs: Sequence[str], settings: Settings) -> None:
    """Raise UserError, before any work, for a place that cannot be of all inputs, and for a file that is not there."""
    for name in FILES:
        if (file := settings.where.get(name)) and not Path(file).exists():
            raise UserError(f"--{name} {file} does not exist; check the path")
    for name in ONE_PLACE:
        if settings.where.get(name) and len(inputs) > 1:
            raise UserError(f"--{name} says where in one scan; give one INPUT, or a manifest with a row each")


def explain(model: Model, inputs: Sequence[str], out: Path, settings: Settings) -> Report:
    """Explain the inputs into `out`, with summary.csv and index.html; what is there already is not made again.

    Raises UserError where another batch is being written there.
    """
    from cycle_am.outputs import page

    with claimed(out):
        _clear(out)
        report = Report(model, list(_progress(_rows(model, inputs, out, settings), len(inputs))))
        write_summary(out / SUMMARY, report.rows)
        page.write(out, [row.shown() for row in report.rows])
    return report


def _clear(out: Path) -> None:
    """Remove what an earlier batch says of the whole, which comes last, and what one that was killed left half-made."""
    for name in (SUMMARY, PAGE):
        (out / name).unlink(missing_ok=True)
    for folder in out.iterdir():
        if HALF_MADE.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _progress(rows: Iterable[Row], inputs: int) -> Iterator[Row]:
    """Shows how far it is, by inputs where there are several, else by lesions."""
    last = 0
    with steps(iter(()), "explaining", inputs if inputs > 1 else None, unit="inputs") as shown:
        for row in rows:
            shown.update(row.input - last if inputs > 1 else 1)
            last = row.input
            yield row


def _rows(model: Model, inputs: Sequence[str], out: Path, settings: Settings) -> Iterator[Row]:
    """Explained in chunks, so that memory does not grow with their number."""
    key, read = _key(model, settings), _read(inputs, model, settings.where)
    while chunk := list(islice(read, BATCH)):
        rows = [row if row.error else _found(row, window, out, key) for row, window in chunk]
        todo = [i for i, row in enumerate(rows) if not row.error and not row.record]
        explanations = _explained(model, [chunk[i][1] for i in todo], settings.trust)
        for i, row in enumerate(rows):
            yield _save(row, chunk[i][1], next(explanations), out, key, settings) if i in todo else row


def _read(inputs: Sequence[str], model: Model, where: Mapping[str, Any]) -> Iterator[tuple[Row, Any]]:
    """A row for each lesion, with its window, or with an error in its place."""
    from cycle_am import sources

    for number, source in enumerate(inputs, 1):
        lesion = 0
        try:
            for lesion, window in enumerate(sources.read(source, model.task, **where), 1):
                if isinstance(window, sources.Failure):
                    yield _failed(Row(number, lesion, window.name), window.reason, source), None
                else:
                    row = Row(number, lesion, window.place.name)
                    yield replace(row, folder=_folder(row)), window
            if not lesion:
                raise UserError("there is no lesion in it")
        except Exception as error:  # whatever it is, the other inputs are read
            yield _failed(Row(number, lesion + 1), _reason(error), source), None


def _failed(row: Row, reason: str, source: str) -> Row:
    """In the words of this command, and without what the input is called: its path may hold a person's name."""
    from cycle_am.sources.where import HOW as IN_PYTHON

    name = "" if row.name == Path(source).name else _private(row.name, source, row.input)
    return replace(row, name=name, error=_private(reason.replace(IN_PYTHON, HOW), source, row.input))


def _folder(row: Row) -> str:
    """Its name: numbers, and the lesion's name where that says more."""
    name = "" if NUMBERED.fullmatch(row.name) else re.sub(r"[^A-Za-z0-9-]+", "-", row.name).strip("-")[:40]
    return f"{row.input:04d}-{row.lesion:02d}" + (f"_{name}" if name else "")


def _found(row: Row, window: Any, out: Path, key: str) -> Row:
    """The row with what is there of it already, made by the same model of the same image with the same settings."""
    try:
        made = json.loads((out / row.folder / MADE).read_text(encoding="utf-8"))
        if made["key"] != [key, _state(window)]:
            return row
        record = json.loads((out / row.folder / RECORD).read_text(encoding="utf-8"))
        _figures(record)  # all that is told of it is there
        return replace(row, record=record)
    except (OSError, ValueError, KeyError, TypeError):
        return row


def _explained(model: Model, windows: list[Any], trust: bool) -> Iterator[Explanation | Exception]:
    """One for each window; where all together fail, each by itself."""
    try:
        if windows:
            yield from model.explain_windows(windows, trust)
    except Exception as error:
        if len(windows) == 1:
            yield error
        else:
            for window in windows:
                yield from _explained(model, [window], trust)


def _save(
    row: Row, window: Any, explanation: Explanation | Exception, out: Path, key: str, settings: Settings
) -> Row:
    try:
        if isinstance(explanation, Exception):
            raise explanation
        _write(out / row.folder, explanation, window, {"key": [key, _state(window)]}, settings.dicom)
        return _found(row, window, out, key)
    except Exception as error:  # the other lesions are explained
        return replace(row, folder="", error=_reason(error))


def _write(
    folder: Path, explanation: Explanation, window: Any, state: Mapping[str, Any], dicom: bool
) -> None:
    """Everything of a lesion; the folder appears when it is whole."""
    if folder.exists() and not (folder / MADE).is_file():
        raise UserError(
            f"{folder.name} in the output folder was not made by this command; give another --out"
        )

    def fill(part: Path) -> None:
        explanation.save(part)
        if dicom:
            _write_dicom(part, explanation, window.series)
        (part / MADE).write_text(json.dumps(state), encoding="utf-8")

    write_folder(folder, fill)


def _write_dicom(folder: Path, explanation: Explanation, files: DicomFiles | None) -> None:
    if files is None:
        raise UserError("its source is no DICOM, to which DICOM objects could refer; leave --dicom out")
    from cycle_am.outputs import dicom

    dicom.write(folder, explanation, [files.slice, *files.series])


def _figures(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a row tells of a record."""
    p = record["probability"]
    values = [p[by][image] for by in ("explained", "judge") for image in ("x", "neg", "pos")]
    return {
        "verdict": "" if record["trust"] is None else record["verdict"],
        "reasons": record["reasons"],
        **dict(zip(FIGURES, (*values, record["distance"]), strict=True)),
    }


def write_summary(path: Path, rows: Iterable[Row]) -> None:
    """summary.csv: a row for each lesion, with what was found or why it failed."""

    def fill(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, restval="")
            table.writeheader()
            table.writerows({name: cell(value) for name, value in row.facts().items()} for row in rows)

    write_atomically(path, fill)


def cell(value: Any) -> Any:
    """A value as a table's cell: no text that a spreadsheet would calculate."""
    if isinstance(value, list):
        value = "; ".join(value)
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _key(model: Model, settings: Settings) -> str:
    """Changes with all that a lesion's files depend on, its window apart."""
    return _hash(json.dumps([FORMAT, digest(model), settings.dicom, settings.trust]).encode())


def _state(window: Any) -> str:
    """Changes with the window and where it lies; not with the path by which it was reached."""
    place = repr(replace(window.place, source=""))
    mask = b"" if window.mask is None else np.ascontiguousarray(window.mask).tobytes()
    return _hash(place.encode(), np.ascontiguousarray(window.image).tobytes(), mask)


def digest(model: Model) -> str:
    """Which model it is: of its file, or of its weights where it has none."""
    if model.digest:
        return model.digest
    return _hash(*(state_digest(network).encode() for network in model.networks.values()))


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def _reason(error: Exception) -> str:
    """One line. What went wrong unexpectedly is told without its text, which may hold anything."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"it could not be read or written ({error.strerror})"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} in {Path(where.filename).name}, line {where.lineno}; please report it"


def _private(reason: str, source: str, number: int) -> str:
    """Without the path, which may hold a person's name."""
    path = Path(source)
    texts = sorted(
        {str(source), str(path), str(path.absolute()), path.name} - {"", "."}, key=len, reverse=True
    )
    named = "|".join(rf"(?<!\w){re.escape(text)}(?!\w)" for text in texts)
    return re.sub(named, f"input {number}", reason) if named else reason
