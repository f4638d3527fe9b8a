"""When two spellings of an id mean the same person, lesion or method."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

WHOLE = re.compile(r"0*([0-9]+)(\.0*)?")


def key(text: str) -> str:
    """What all spellings of one id have in common: NFC, without outer blanks and case; `0001`, `1` and `1.0` are `1`.

    Only zeros go: `1.10` stays another id than `1.1`, and an empty id stays empty.
    """
    text = _nfc(_nfc(text).strip().casefold())  # casefold can take composed characters apart
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def loose_key(text: str) -> str:
    """What ids share that may mean the same patient, as tables of two programs write it: beyond `key`, `P01` is `P1`,
    12.10 is 12.1, and the number of blanks within does not count.
    """
    plain = " ".join(key(text).split())
    if re.fullmatch(r"[0-9]+\.[0-9]*", plain):
        plain = plain.rstrip("0").rstrip(".")
    return re.sub(r"(?<![0-9])(?<![0-9]\.)0+(?=[0-9])", "", plain)


def is_in(ids: Iterable[str], others: Iterable[str]) -> np.ndarray:
    """(N,) bool: which of N ids may be among the others, in whatever spelling."""
    known = set(map(loose_key, others))
    import numpy as np

    return np.array([loose_key(one) in known for one in ids], dtype=bool)


def check_spellings(ids: Iterable[str], what: str, places: Iterable[str] | None = None) -> None:
    """Raise UserError where two ids differ in their spelling only: nobody can know whether they mean one.

    what: the ids' name in the message, as `patient_id`. places: where each stands, as `cases.csv line 2`.
    """
    ids = [str(one) for one in ids]
    seen: dict[str, tuple[str, str]] = {}
    for one, place in zip(ids, places or [""] * len(ids), strict=True):
        first, where = seen.setdefault(loose_key(one), (one, place))
        if first != one:
            spell = ascii if _nfc(first) == _nfc(one) else repr  # else nobody could see the difference
            raise UserError(
                f"{what} {spell(first)}{where and f' ({where})'} and {spell(one)}{place and f' ({place})'} differ in "
                "spelling only; write them alike if they mean the same, else choose names that differ in more"
            )
