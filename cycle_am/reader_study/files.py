"""The files of a study: what readers may see (`public/`), what only the coordinator may see (`sealed/`), the answers.

    <study>/public/study.json        items, readers' orders and texts, without methods, labels or cases
    <study>/public/images/<id>.png   pictures under opaque names
    <study>/sealed/key.json          what each item shows
    <study>/sealed/links.csv         each reader's personal link
    <study>/answers.db               what the server writes (SQLite, by default)
    <study>/export/answers.csv       the answers, with answers.csv.sha256 beside them
    <study>/export/history.csv       every change of an answer, and what was on the screen

A file from elsewhere is read as data and checked: opaque ids only, so that no path leaves the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from cycle_am.errors import UserError
from cycle_am.files import write_text

FORMAT = 1
STUDY, KEY, LINKS, IMAGES = "public/study.json", "sealed/key.json", "sealed/links.csv", "public/images"
ANSWERS = "export/answers.csv"
OPAQUE = re.compile(r"[0-9a-f]{32}")
ANSWER_COLUMNS = [
    "study_id", "reader", "item", "criterion", "rating", "position", "answered_at", "revisions", "simulated",
]  # fmt: skip
RATING_COLUMNS = ["reader", "variant", "case", "label", "method", "criterion", "rating", "position", "repeat"]


def opaque() -> str:
    """A new random id of 128 bits, 32 hexadecimal digits, which tells nothing."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Item:
    """One explanation to be rated: names of PNG files in `public/images/`, of equal size.

    `original` is the grey image (8 bit), `overlay` the explanation alone (RGBA), to be laid over it. `p`: the explained
    classifier's p(malignant), the same for all explanations of a lesion; None in studies that do not show it.
    """

    original: str
    overlay: str
    p: float | None = None


@dataclass(frozen=True)
class Reader:
    """One reader: the variant of the questionnaire, and item ids in their order, question (lesion) after question."""

    variant: str
    questions: list[list[str]]

    def order(self) -> list[str]:
        """All item ids as they are shown."""
        return [item for question in self.questions for item in question]


@dataclass(frozen=True)
class Study:
    """What the server needs. `texts[language]`: conf/study/texts; `seal`: see :func:`seal`; `url`: where the readers
    find the server, its path included; "" where that was not noted."""

    study_id: str
    created: str
    seal: str
    criteria: list[str]
    low: int
    high: int
    fov_mm: float
    languages: list[str]
    texts: dict[str, Any]
    items: dict[str, Item]
    readers: dict[str, Reader]
    simulated: bool = False
    url: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class KeyItem:
    """What an item shows: `label` 0 benign, 1 malignant; `repeat_of`: the item that it repeats, or None."""

    case_id: str
    label: int
    method: str
    repeat_of: str | None = None


@dataclass(frozen=True)
class Key:
    """The sealed key; `nonce` keeps the seal from being guessed. `methods`: id -> name for tables and figures."""

    study_id: str
    methods: dict[str, str]
    items: dict[str, KeyItem]
    nonce: str = field(default_factory=lambda: secrets.token_hex(32))
    source: str = ""
    format: int = FORMAT


def seal(key: Key) -> str:
    """SHA-256 of the whole key with its nonce: it binds a study to its key and tells nothing of it."""
    return hashlib.sha256(json.dumps(asdict(key), sort_keys=True).encode()).hexdigest()


def write_study(folder: Path, study: Study) -> Path:
    """Write `public/study.json`."""
    return write_text(folder / STUDY, json.dumps(asdict(study), indent=1, ensure_ascii=False) + "\n")


def read_study(folder: Path) -> Study:
    """Read and check `public/study.json`. Raises UserError where it is absent, broken or of another format."""
    content = _read(folder / STUDY, "python study.py action=create")
    try:
        content["items"] = {name: Item(**item) for name, item in content["items"].items()}
        content["readers"] = {name: Reader(**reader) for name, reader in content["readers"].items()}
        study = Study(**content)
        _check(study)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / STUDY} is no study of this version ({error})") from error
    return study


def write_key(folder: Path, key: Key) -> Path:
    """Write `sealed/key.json`; nobody else on the machine may read the folder."""
    home = (folder / KEY).parent
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    return write_text(folder / KEY, json.dumps(asdict(key), indent=1) + "\n")


def read_key(file: Path, study: Study) -> Key:
    """Read the key of `study`. Raises UserError where it is absent, broken or the key of another study."""
    content = _read(file, "the coordinator's key file: study.analyse.key=PATH")
    try:
        content["items"] = {name: KeyItem(**item) for name, item in content["items"].items()}
        key = Key(**content)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is no key of this version ({error})") from error
    if key.study_id != study.study_id or not secrets.compare_digest(seal(key), study.seal):
        raise UserError(
            f"{file} is not the key of study {study.study_id}, or was changed: the seal does not match"
        )
    return key


def write_answers(file: Path, answers: pd.DataFrame) -> Path:
    """Write the answers (ANSWER_COLUMNS, a row for each reader, item and criterion) and their checksum beside them."""
    write_text(file, answers[ANSWER_COLUMNS].to_csv(index=False))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    write_text(file.with_name(file.name + ".sha256"), f"{digest}  {file.name}\n")
    return file


def read_answers(file: Path) -> pd.DataFrame:
    """Read exported answers. Raises UserError where the file is absent, was changed or lacks a column."""
    checksum = file.with_name(file.name + ".sha256")
    if not file.is_file() or not checksum.is_file():
        raise UserError(f"{file} and {checksum.name} are needed; run `python study.py action=export`")
    if checksum.read_text().split()[:1] != [hashlib.sha256(file.read_bytes()).hexdigest()]:
        raise UserError(f"{file} was changed after its export: the checksum does not match")
    answers = pd.read_csv(file, dtype={"study_id": str, "reader": str, "item": str, "criterion": str})
    absent = [name for name in ANSWER_COLUMNS if name not in answers]
    if absent:
        raise UserError(f"{file} has no column {absent[0]}")
    return answers


def unseal(answers: pd.DataFrame, study: Study, key: Key) -> pd.DataFrame:
    """Answers with what each item showed: RATING_COLUMNS, the table that the analysis takes."""
    rows = answers.assign(
        variant=[study.readers[name].variant for name in answers["reader"]],
        case=[key.items[name].case_id for name in answers["item"]],
        label=[key.items[name].label for name in answers["item"]],
        method=[key.items[name].method for name in answers["item"]],
        repeat=[key.items[name].repeat_of is not None for name in answers["item"]],
    )
    return rows[RATING_COLUMNS]


def _check(study: Study) -> None:
    names = [
        *study.items,
        *(file.removesuffix(".png") for i in study.items.values() for file in (i.original, i.overlay)),
    ]
    bad = [name for name in names if not OPAQUE.fullmatch(name)]
    if bad:
        raise ValueError(f"'{bad[0]}' is no opaque id")
    unknown = [
        item for reader in study.readers.values() for item in reader.order() if item not in study.items
    ]
    if unknown:
        raise ValueError(f"item {unknown[0]} is in an order and nowhere else")
    if study.format != FORMAT:
        raise ValueError(f"format {study.format}")


def _read(file: Path, remedy: str) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"there is no {file}; needed: {remedy}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as JSON ({error})") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{file} holds no JSON object")
    return dict(content)
