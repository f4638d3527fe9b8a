"""When the key may be opened, and a line for each time that it was.

A study is over when every answer that was asked for is there, or when its coordinator has closed it: then its last
export is marked (`export/closed.json`), and any later export is open again. Before that, whoever looks at results can
still change how the study goes on, or when it ends; so it is refused, or asked for by name, marked as an interim look
in everything that comes of it, and noted like every other opening in `unsealed.csv` beside the key.
"""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from cycle_am.errors import UserError
from cycle_am.files import write_text
from cycle_am.reader_study.files import Key, Study, read_key

CLOSED, LOG = "closed.json", "unsealed.csv"
COLUMNS = ["at", "study_id", "state", "answers", "asked", "answers_sha256"]
INTERIM = "interim"


@dataclass(frozen=True)
class Opened:
    """The key; `log`: every opening so far as rows of COLUMNS, this one last."""

    key: Key
    log: list[dict[str, str]]

    @property
    def interim(self) -> bool:
        """Whether this is a look at an open study."""
        return self.log[-1]["state"] == INTERIM

    @property
    def earlier_looks(self) -> list[str]:
        """Times of the interim looks before this one."""
        return [row["at"] for row in self.log[:-1] if row["state"] == INTERIM]


def close(answers: Path) -> Path:
    """Mark an export as the last of its study."""
    note = {"closed_at": _now(), "answers_sha256": _checksum(answers)}
    return write_text(answers.with_name(CLOSED), json.dumps(note, indent=1) + "\n")


def is_closed(answers: Path) -> bool:
    """Whether this very export is marked as the last one."""
    note = answers.with_name(CLOSED)
    return note.is_file() and _checksum(answers) in note.read_text(encoding="utf-8")


def open_key(file: Path, study: Study, answers: pd.DataFrame, source: Path, interim: bool = False) -> Opened:
    """Read the key, after the opening was noted beside it.

    Args:
        answers, source: the exported answers and their file.
        interim: open the key of a study that is not over.

    Raises:
        UserError: for a study that is not over, a key that cannot be read, or an opening that cannot be noted.
    """
    asked = _asked(study)
    given = len(answers[["reader", "item", "criterion"]].drop_duplicates())
    state = "closed" if is_closed(source) else "complete" if given >= asked else INTERIM
    if state == INTERIM and not interim:
        raise UserError(
            f"study {study.study_id} is open: {asked - given:,} of {asked:,} answers are not there. To end it: "
            "action=serve study.serve.closed=true for the readers, action=export study.serve.closed=true for the last "
            "answers. To look before the end: study.analyse.interim=true, which is noted and marked"
        )
    key = read_key(file, study)
    return Opened(key, _note(file.with_name(LOG), study.study_id, state, given, asked, _checksum(source)))


def open_for_rehearsal(file: Path, study: Study) -> Key:
    """Read the key for synthetic readers, whose ratings betray the methods: noted too, unless the whole study is made
    for a rehearsal."""
    key = read_key(file, study)
    if not study.simulated:
        _note(file.with_name(LOG), study.study_id, "rehearsal", 0, _asked(study), "")
    return key


def _asked(study: Study) -> int:
    return sum(len(reader.order()) for reader in study.readers.values()) * len(study.criteria)


def _note(log: Path, *cells: str | int) -> list[dict[str, str]]:
    """Add a line to the log, the time first; returns all of them."""
    try:
        with log.open("a+", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            if not stream.tell():
                writer.writeheader()
            writer.writerow(dict(zip(COLUMNS, (_now(), *cells), strict=True)))
            stream.flush()
            os.fsync(stream.fileno())
            stream.seek(0)
            return list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(
            f"the key stays sealed: its opening cannot be noted in {log} ({error.strerror})"
        ) from error


def _checksum(answers: Path) -> str:
    """As `files.write_answers` left it beside the file."""
    return (answers.with_name(answers.name + ".sha256").read_text(encoding="utf-8").split() or [""])[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
