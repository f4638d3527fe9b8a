"""Personal links. The coordinator keeps the tokens (`sealed/links.csv`); the server gets only their hashes
(`access.json`), so that nobody who reads its files can log in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from evaluation.results import write_text
from reader_study.files import LINKS
from utils.errors import UserError

ACCESS = "access.json"
COORDINATOR = "coordinator"
COLUMNS = ["reader", "url", "token"]


def hashed(token: str) -> str:
    """SHA-256 of a token: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def make_tokens(names: Iterable[str]) -> dict[str, str]:
    """A new token (256 bits, URL-safe) for each name."""
    return {name: secrets.token_urlsafe(32) for name in names}


def write_links(folder: Path, tokens: dict[str, str], url: str) -> Path:
    """Write `sealed/links.csv` and `access.json` for readers and the coordinator. Only their owner may read them."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"study.create.url={url} is no address; give e.g. https://study.example.org")
    rows = [
        {"reader": name, "url": f"{url.rstrip('/')}/s/{token}", "token": token}
        for name, token in tokens.items()
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    hashes = {name: hashed(token) for name, token in tokens.items()}
    access = {COORDINATOR: hashes.pop(COORDINATOR), "readers": hashes}
    write_text(folder / ACCESS, json.dumps(access, indent=1) + "\n").chmod(0o600)
    links = write_text(folder / LINKS, text.getvalue())
    links.chmod(0o600)
    return links


def read_tokens(folder: Path) -> dict[str, str]:
    """Tokens by reader, of `sealed/links.csv`. Raises UserError where it is absent."""
    file = folder / LINKS
    if not file.is_file():
        raise UserError(f"there is no {file}; put the coordinator's copy back")
    with file.open(newline="") as stream:
        return {row["reader"]: row["token"] for row in csv.DictReader(stream)}
