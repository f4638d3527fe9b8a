"""`python study.py action=serve`: the readers' web page, until Ctrl-C. Opens the public part of a study only."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from omegaconf import DictConfig

from cycle_am import settings as conf
from cycle_am.errors import UserError
from cycle_am.files import write_text
from cycle_am.reader_study.files import IMAGES, STUDY, Study, read_study
from cycle_am.reader_study.web.links import ACCESS, hashed, prefix
from cycle_am.reader_study.web.server import build_app
from cycle_am.reader_study.web.store import COORDINATOR, Store, open_store, sqlite_url

TEXTS = conf.folder("study", "texts", "en.yaml")  # has every text
HASH = re.compile(r"[0-9a-f]{64}")


def serve(cfg: DictConfig) -> Path:
    """Serve the study in `cfg.dir`, or change a reader's link and stop. Returns the study's folder."""
    folder, settings = Path(cfg.dir), cfg.study.serve
    study = read_study(folder)
    study = replace(study, url=study.url or cfg.study.create.url)
    check_texts(study)
    access = read_access(folder / ACCESS, study)
    store = open_database(cfg, study)
    try:
        store.admit(access)
        if settings.revoke is not None:
            revoke(folder / ACCESS, study, store, settings.revoke)
        elif settings.renew is not None:
            print(
                f"new link of {settings.renew}: ADDRESS/s/{renew(folder / ACCESS, study, store, settings.renew)}"
            )
        else:
            run(study, store, folder / IMAGES, settings)
    finally:
        store.close()
    return folder


def open_database(cfg: DictConfig, study: Study) -> Store:
    """The database that `study.serve.database` names, SQLite in the study's folder by default."""
    url = cfg.study.serve.database or sqlite_url(Path(cfg.dir) / "answers.db")
    return open_store(url, study.study_id, study.seal, study.readers)


def check_texts(study: Study) -> None:
    """Raise UserError where a language of the study lacks a text that the pages show; better now than to a reader."""
    pattern = yaml.safe_load(TEXTS.read_text(encoding="utf-8"))
    for language in study.languages:
        absent = _absent(pattern, study.texts.get(language), language)
        if absent:
            raise UserError(f"the study has no text {', '.join(absent)}; add it to {STUDY}, as in {TEXTS}")


def _absent(pattern: Any, texts: Any, path: str) -> list[str]:
    """Dotted keys of the pattern without a counterpart."""
    if not isinstance(pattern, dict):
        return [] if texts else [path]
    given = texts if isinstance(texts, dict) else {}
    return [key for name, part in pattern.items() for key in _absent(part, given.get(name), f"{path}.{name}")]


def read_access(file: Path, study: Study) -> dict[str, str]:
    """Reader id or `COORDINATOR` -> SHA-256 of the link's token, from access.json.

    Raises:
        UserError: if the file is absent or broken, or names a reader whom the study does not have.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        access = {**content["readers"], COORDINATOR: content["coordinator"]}
        if not all(HASH.fullmatch(token) for token in access.values()):
            raise ValueError("a token is no SHA-256")
    except FileNotFoundError as error:
        raise UserError(f"there is no {file}; needed: python study.py action=create") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); it is written by action=create") from error
    strangers = access.keys() - study.readers.keys() - {COORDINATOR}
    if strangers:
        raise UserError(f"{file} names reader {min(strangers)}, who is not in the study; remove the line")
    return access


def revoke(file: Path, study: Study, store: Store, reader: str) -> None:
    """Take a reader's link away: from the database, which a running server asks, and from access.json."""
    _write_access(file, study, reader, None)
    store.revoke(reader)


def renew(file: Path, study: Study, store: Store, reader: str) -> str:
    """Take a reader's link away and give them another; returns the new token, which is stored nowhere."""
    token = secrets.token_urlsafe(32)
    _write_access(file, study, reader, hashed(token))
    store.admit(read_access(file, study))
    return token


def run(study: Study, store: Store, images: Path, settings: DictConfig) -> None:
    """Serve until Ctrl-C."""
    logging.getLogger("cycle_am.reader_study").setLevel(logging.INFO)
    config = uvicorn.Config(
        build_app(study, store, images, settings.closed),
        # Uvicorn's own log of requests would hold the links; the application writes one without.
        access_log=False,
        server_header=False,
        log_level="info",
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )
    with _listen(settings.host, settings.port) as listening, contextlib.suppress(KeyboardInterrupt):
        scheme = "https" if settings.certificate else "http"
        address = f"{scheme}://{settings.host}:{settings.port}{prefix(study.url)}"
        print(f"{address} serves study {study.study_id}; stop: Ctrl-C", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port} ({error.strerror}); set study.serve.host and study.serve.port"
        ) from error
    # Inherited by every connection: otherwise the second part of a page waits 40 ms for the first one's receipt.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _write_access(file: Path, study: Study, reader: str, token: str | None) -> None:
    if reader not in study.readers:
        raise UserError(f"there is no reader {reader}; there are {', '.join(study.readers)}")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["readers"].pop(reader, None)
    if token is not None:
        content["readers"][reader] = token
    write_text(file, json.dumps(content, indent=1) + "\n").chmod(0o600)
