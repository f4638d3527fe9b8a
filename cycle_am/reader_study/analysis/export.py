"""`python study.py action=export`: the answers so far, as a CSV with its checksum, their history, what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from cycle_am.errors import UserError
from cycle_am.files import write_text
from cycle_am.reader_study.analysis.unsealing import close
from cycle_am.reader_study.files import ANSWER_COLUMNS, ANSWERS, Study, read_study, write_answers
from cycle_am.reader_study.web.serve import open_database
from cycle_am.reader_study.web.sheet import Sheet

HISTORY = "export/history.csv"
HISTORY_COLUMNS = [
    "reader", "item", "criterion", "rating", "revision", "at", "original", "overlay", "window", "level", "opacity",
    "zoom",
]  # fmt: skip


def export(cfg: DictConfig) -> Path:
    """Write `export/answers.csv` and `export/history.csv`, print what each reader has not answered.

    With `study.serve.closed` the answers are marked as the last export of the study, which `analyse` waits for.
    Returns the answers' file.
    """
    folder = Path(cfg.dir)
    study = read_study(folder)
    if cfg.study.serve.database is None and not (folder / "answers.db").is_file():
        raise UserError(f"there is no {folder / 'answers.db'}, so nothing was answered; run action=serve")
    store = open_database(cfg, study)
    try:
        answers, history = answer_table(study, store.all_answers()), history_table(store.history())
    finally:
        store.close()
    for line in missing_lines(study, answers):
        print(line)
    write_text(folder / HISTORY, history.to_csv(index=False))
    file = write_answers(folder / ANSWERS, answers)
    if cfg.study.serve.closed:
        close(file)
    return file


def history_table(lines: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Every accepted change (HISTORY_COLUMNS) in the order of time, with what was before the reader: the loaded
    pictures, window and level (HU), opacity of the colours and zoom (%); empty where that was not noted."""
    rows = [{**line, **json.loads(line["shown"] or "{}")} for line in lines]
    return pd.DataFrame(rows, columns=HISTORY_COLUMNS).convert_dtypes()


def answer_table(study: Study, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The database's `answers` as ANSWER_COLUMNS, by reader, position and criterion.

    `position` counts from 1 in the reader's own order; `answered_at` is the time of the last change (UTC); `revisions`
    is the number of changes after the first answer.
    """
    positions = {
        (name, item): position
        for name, reader in study.readers.items()
        for position, item in enumerate(reader.order(), 1)
    }
    table = pd.DataFrame(
        [
            {
                "study_id": study.study_id,
                "reader": row["reader"],
                "item": row["item"],
                "criterion": row["criterion"],
                "rating": row["rating"],
                "position": positions[row["reader"], row["item"]],
                "answered_at": row["last_at"],
                "revisions": row["revision"] - 1,
                "simulated": study.simulated,
            }
            for row in rows
        ],
        columns=ANSWER_COLUMNS,
    )
    rank = {criterion: number for number, criterion in enumerate(study.criteria)}
    return table.sort_values(
        ["reader", "position", "criterion"],
        key=lambda column: column.map(rank) if column.name == "criterion" else column,
        ignore_index=True,
    )


def missing_lines(study: Study, answers: pd.DataFrame) -> list[str]:
    """One line a reader: all answered, or the missing ones by position and criterion."""
    lines = []
    for name, reader in study.readers.items():
        own = answers[answers["reader"] == name]
        sheet = Sheet(reader.order(), study.criteria, set(zip(own["item"], own["criterion"], strict=True)))
        total = sheet.total * len(study.criteria)
        if len(own) == total:
            lines.append(f"{name}: all {total} answers")
        elif own.empty:
            lines.append(f"{name}: no answer of {total}")
        else:
            gaps = [f"{position} ({_names(sheet, position)})" for position in sheet.open_positions()]
            lines.append(
                f"{name}: {total - len(own)} of {total} answers missing, at positions {', '.join(gaps)}"
            )
    return lines


def _names(sheet: Sheet, position: int) -> str:
    missing = sheet.missing(position)
    return "all" if len(missing) == len(sheet.criteria) else ", ".join(missing)
