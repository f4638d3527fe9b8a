"""Whether two spellings of an id mean one patient, or one case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from utils.errors import UserError


def key(text: str) -> str:
    """What all spellings of an id share: `0001`, `1` and `1.0` give `1`, `P01` and `p1 ` give `p1`, "" stays "".

    Capitals, surrounding and repeated blanks, the form of accents and the zeros that spreadsheets drop do not count.
    """
    plain = " ".join(unicodedata.normalize("NFC", str(text).casefold()).split())
    if re.fullmatch(r"[0-9]+\.[0-9]*", plain):
        plain = plain.rstrip("0").rstrip(".")
    return re.sub(r"(?<![0-9])(?<![0-9]\.)0+(?=[0-9])", "", plain)


def is_in(ids: Iterable[str], others: Iterable[str]) -> np.ndarray:
    """(N,) bool: which of N ids are among the others, in whatever spelling."""
    known = set(map(key, others))
    return np.array([key(one) in known for one in ids], dtype=bool)


def check_spellings(ids: Iterable[str], what: str, places: Iterable[str] | None = None) -> None:
    """Raise UserError where two ids differ in their spelling only: nobody can know whether they mean one.

    what: the ids' name in the message, as `patient_id`. places: where each stands, as `cases.csv line 2`.
    """
    ids = [str(one) for one in ids]
    seen: dict[str, tuple[str, str]] = {}
    for one, place in zip(ids, places or [""] * len(ids), strict=True):
        first, where = seen.setdefault(key(one), (one, place))
        if first != one:
            alike = unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", one)
            spell = ascii if alike else repr  # else nobody could see the difference
            raise UserError(
                f"{what} {spell(first)}{where and f' ({where})'} and {spell(one)}{place and f' ({place})'} differ in "
                "spelling only; write them alike if they mean the same, else choose names that differ in more"
            )
