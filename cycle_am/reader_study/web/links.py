"""Personal links. The coordinator keeps the tokens (`sealed/links.csv`); the server gets only their hashes
(`access.json`), so that nobody who reads its files can log in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from cycle_am.errors import UserError
from cycle_am.files import write_text
from cycle_am.reader_study.files import LINKS

ACCESS = "access.json"
COORDINATOR = "coordinator"
COLUMNS = ["reader", "url", "token"]
ADDRESS = re.compile(r"https?://[^/?#\s@]+(/[A-Za-z0-9._~-]+)*/?")


def hashed(token: str) -> str:
    """SHA-256 of a token: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def make_tokens(names: Iterable[str]) -> dict[str, str]:
    """A new token (256 bits, URL-safe) for each name."""
    return {name: secrets.token_urlsafe(32) for name in names}


def prefix(url: str) -> str:
    """Path of the address below which the pages lie, "" or e.g. "/study" (no slash at the end); "" for "".

    Raises UserError where `url` is no address, or one that no page can lie below.
    """
    if url and not ADDRESS.fullmatch(url):
        raise UserError(
            f"study.create.url={url} is no address; give e.g. https://study.example.org or https://example.org/study"
        )
    return urlsplit(url).path.rstrip("/")


def write_links(folder: Path, tokens: dict[str, str], url: str) -> Path:
    """Add links of readers and the coordinator to `sealed/links.csv` and their hashes to `access.json`.

    Only their owner may read the files. What they hold already stays; links may have been renewed or revoked.
    Raises UserError where `url` is no address.
    """
    prefix(url)
    rows = [(name, f"{url.rstrip('/')}/s/{token}", token) for name, token in tokens.items()]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    links = folder / LINKS
    _write_private(links, (_text(links) or ",".join(COLUMNS) + "\n") + text.getvalue())

    access = json.loads(_text(folder / ACCESS) or '{"readers": {}}')
    hashes = {name: hashed(token) for name, token in tokens.items()}
    if COORDINATOR in hashes:
        access[COORDINATOR] = hashes.pop(COORDINATOR)
    access["readers"] |= hashes
    _write_private(folder / ACCESS, json.dumps(access, indent=1) + "\n")
    return links


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _write_private(file: Path, text: str) -> None:
    write_text(file, text).chmod(0o600)
