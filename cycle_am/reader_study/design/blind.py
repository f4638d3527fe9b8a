"""Whether the blind holds: nothing that a reader can fetch may tell methods or cases, nor labels but by the network's
decision, which is what is explained."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

from cycle_am.reader_study.design.texts import naming
from cycle_am.reader_study.files import IMAGES, STUDY, Key, Study

PNG = b"\x89PNG\r\n\x1a\n"
PIXELS = {b"IHDR", b"IDAT", b"IEND"}  # all that a picture needs
ENCODED = re.compile(rb"[A-Za-z0-9+/_-]{8,}={0,2}")
CASE_LENGTH = 6  # shorter case ids ("7") cannot be told from chance and are not looked for
DIGEST_DIGITS = 12  # of a hash: fewer could be chance
LABEL_FIELD = re.compile(r"""\blabel["']?\s*[:=]\s*["']?(0|1|benign|malignant)\b""", re.IGNORECASE)
LABEL_WORD = re.compile(r"benign|malignant|gutartig|bösartig", re.IGNORECASE)


def find_leaks(data: bytes, key: Key, labels: bool = False) -> list[str]:
    """What `data` (a file, a page, an answer's headers) tells of the key; empty where it tells nothing.

    Looked for: methods' ids and names, case ids, their digests (MD5, SHA-1, SHA-256, which anybody could compute),
    fields called label, and in PNG files anything but pixels; also within base64 and hexadecimal digits and within
    compressed parts of PNG files.

    Args:
        labels: the words for benign and malignant count too; leave it out where the legend of the colours is shown.
    """
    if not data.startswith(PNG):
        return _search(data, key, labels)
    leaks = []
    for name, body in _beside_pixels(data):
        leaks.append(f"the PNG has {name}")
        leaks += [leak for part in (body, *_inflated(body)) for leak in _search(part, key, labels)]
    return leaks


def study_leaks(folder: Path, study: Study, key: Key) -> list[str]:
    """What the files below `public/` tell of the key, by content, name, order, size or time."""
    files = sorted(path for path in (folder / "public").rglob("*") if path.is_file())
    leaks = [
        f"{path.relative_to(folder)}: {leak}"
        for path in files
        for leak in find_leaks(path.name.encode() + b"\n", key, labels=True)
        + find_leaks(path.read_bytes(), key)
    ]
    stored = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    without_texts = json.dumps({name: part for name, part in stored.items() if name != "texts"})
    leaks += [f"{STUDY}: {leak}" for leak in find_leaks(without_texts.encode(), key, labels=True)]
    leaks += _telling_order(folder, study, stored) + _telling_pictures(folder, study)
    return leaks + _telling_decision(study)


def _search(data: bytes, key: Key, labels: bool = False) -> list[str]:
    leaks = []
    for text in (part.decode(errors="replace") for part in [data, *_decoded(data)]):
        leaks += [f"names {name}" for name in _names(key) if naming(name).search(text)]
        leaks += [f"holds a digest of {name}" for name, digest in _digests(key) if digest in text.lower()]
        leaks += [f"holds a label: {match.group()}" for match in LABEL_FIELD.finditer(text)]
        leaks += [f"holds a label: {match.group()}" for match in LABEL_WORD.finditer(text) if labels]
    return list(dict.fromkeys(leaks))


def _names(key: Key) -> list[str]:
    cases = dict.fromkeys(item.case_id for item in key.items.values())
    return [*key.methods, *key.methods.values(), *(case for case in cases if len(case) >= CASE_LENGTH)]


def _digests(key: Key) -> Iterator[tuple[str, str]]:
    for name in _names(key):
        for kind in (hashlib.md5, hashlib.sha1, hashlib.sha256):
            yield name, kind(name.encode()).hexdigest()[:DIGEST_DIGITS]


def _decoded(data: bytes) -> Iterator[bytes]:
    """What stands in base64 or hexadecimal digits, where it is text; a random number hardly ever is."""
    for word in ENCODED.findall(data):
        for decode in (_base64, binascii.unhexlify):
            try:
                part = decode(word)
            except (binascii.Error, ValueError):
                continue
            if part.isascii() and part.decode().isprintable():
                yield part


def _base64(word: bytes) -> bytes:
    bare = word.rstrip(b"=")
    return base64.b64decode(
        bare + b"=" * (-len(bare) % 4), altchars=b"-_" if set(bare) & set(b"-_") else None
    )


def _beside_pixels(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Chunks of a PNG file that hold no pixels, and bytes after its end: what it is, and the content."""
    place = len(PNG)
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind not in PIXELS:
            yield f"a chunk {kind.decode(errors='replace')}", data[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IEND":
            break
    if data[place:]:
        yield "bytes after its end", data[place:]


def _inflated(body: bytes) -> Iterator[bytes]:
    """Compressed text of a zTXt or iTXt chunk: it begins somewhere after the keyword."""
    for start in (place for place in range(len(body) - 1) if body[place] == 0x78):
        try:
            yield zlib.decompressobj().decompress(body[start:])
        except zlib.error:
            continue


def _telling_order(folder: Path, study: Study, stored: dict) -> list[str]:
    """Items in the order in which they were made would tell their methods; so would the times of their files."""
    leaks = (
        [] if list(stored["items"]) == sorted(stored["items"]) else [f"{STUDY}: items are not sorted by id"]
    )
    files = sorted((folder / IMAGES).iterdir())
    times = [file.stat().st_ctime_ns for file in files]
    if times != sorted(times):
        leaks.append(f"{IMAGES}: files were not written in the order of their names")
    if len({file.stat().st_mtime_ns for file in files}) > 1:
        leaks.append(f"{IMAGES}: files have different times")
    wanted = {name for item in study.items.values() for name in (item.original, item.overlay)}
    extra = {file.name for file in files} ^ wanted
    return leaks + [f"{IMAGES}: {name} is not both listed and there" for name in sorted(extra)]


def _telling_pictures(folder: Path, study: Study) -> list[str]:
    """Pictures of one kind must be alike in format, size and number of bytes."""
    kinds, lengths = {}, {}
    for item in study.items.values():
        for part, name in (("original", item.original), ("overlay", item.overlay)):
            content = (folder / IMAGES / name).read_bytes()
            picture = Image.open(BytesIO(content))
            kinds.setdefault(part, set()).add((picture.format, picture.mode, picture.size))
            lengths.setdefault(part, set()).add(len(content))
    return [
        f"{IMAGES}: {part} pictures differ in {what}"
        for what, kinds_of in (("format or size", kinds), ("number of bytes", lengths))
        for part, kind in kinds_of.items()
        if len(kind) > 1
    ]


def _telling_decision(study: Study) -> list[str]:
    """The decision that a page shows must be the same for all explanations of a lesion."""
    questions = [question for reader in study.readers.values() for question in reader.questions]
    return [
        f"{STUDY}: the explanations of a lesion have different p"
        for question in questions
        if len({study.items[item].p for item in question}) > 1
    ][:1]
