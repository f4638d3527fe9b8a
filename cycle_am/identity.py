"""When two spellings of an id mean the same person, lesion or method."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cycle_am.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def visible(text: str) -> str:
    """A text without what nobody sees: outer blanks, signs of no width, how accents are composed (NFC)."""
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    return _nfc(text).strip()


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def loose_key(text: str) -> str:
    """What ids share that may mean one person or thing, as tables of two programs write it: case and the number of
    blanks do not count; `0001`, `1` and `1.0` are `1`, `P01` is `P1`, 12.10 is 12.1. An empty id stays empty.
    """
    plain = " ".join(_nfc(visible(text).casefold()).split())  # casefold can take composed characters apart
    if re.fullmatch(r"[0-9]+\.[0-9]*", plain):
        plain = plain.rstrip("0").rstrip(".")
    return re.sub(r"(?<![0-9])(?<![0-9]\.)0+(?=[0-9])", "", plain)


def is_in(ids: Iterable[str], others: Iterable[str]) -> np.ndarray:
    """(N,) bool: which of N ids may be among the others, in whatever spelling."""
    import numpy as np  # every entry imports this module before it needs any array

    known = set(map(loose_key, others))
    return np.array([loose_key(name) in known for name in ids], dtype=bool)


def check_spellings(ids: Iterable[str], what: str, places: Iterable[str] | None = None) -> None:
    """Raise UserError where two ids differ in their spelling only: nobody can know whether they mean one.

    what: the ids' name in the message, as `patient_id`. places: where each stands, as `cases.csv line 2`.
    """
    ids = [str(spelling) for spelling in ids]
    seen: dict[str, tuple[str, str]] = {}
    for spelling, place in zip(ids, places or [""] * len(ids), strict=True):
        first, where = seen.setdefault(loose_key(spelling), (spelling, place))
        if first != spelling:
            # ascii where nobody could see the difference
            spell = ascii if visible(first) == visible(spelling) else repr
            raise UserError(
                f"{what} {spell(first)}{where and f' ({where})'} and {spell(spelling)}{place and f' ({place})'} differ "
                "in spelling only; write them alike if they mean the same, else choose names that differ in more"
            )
