"""When two spellings of an id mean the same person, lesion or method."""

from __future__ import annotations

import re
import unicodedata

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
