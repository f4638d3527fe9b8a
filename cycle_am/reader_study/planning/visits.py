"""Answers sent to a running server as a reader's browser sends them: personal link, consent, rating after rating."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import pandas as pd

from cycle_am.errors import UserError
from cycle_am.progress import steps
from cycle_am.reader_study.files import LINKS, Item, Study, opaque

HEADERS = {"X-Reader-Study": "1", "Content-Type": "application/json"}
OWNER = re.compile(r'data-reader="([0-9a-f]{32})"')  # of a page: whose it is
TIMEOUT = 30  # seconds
VIEW = ("window", "level", "opacity", "zoom")


def send(study: Study, answers: pd.DataFrame, folder: Path, url: str) -> None:
    """Send every reader's answers, with the links in `sealed/links.csv`.

    Raises UserError for a study that is not marked as simulated, where the links are absent, the server refuses, or a
    reader leaves a whole picture out: the next one is shown to those only who have begun it.
    """
    if not study.simulated:
        raise UserError(
            "on a server nobody could tell these answers from real ones; create a study for the rehearsal: "
            "action=create study.create.simulated=true name=NAME"
        )
    tokens = _tokens(folder / LINKS)
    for reader, rows in answers.groupby("reader"):
        if rows["position"].nunique() < rows["position"].max():
            raise UserError(
                f"{reader} leaves a whole picture out, and a server shows the next one to those only who have begun "
                "it; lower study.simulate.missing and the readers' own"
            )
    try:
        for reader, rows in steps(answers.groupby("reader", sort=False), "visits", unit="readers"):
            visit(study, url.rstrip("/"), tokens[reader], rows)
    except URLError as error:  # HTTPError is one of them
        raise UserError(
            f"the server at {url} refused or did not answer ({error}); see action=serve"
        ) from error


def visit(study: Study, url: str, token: str, rows: pd.DataFrame) -> None:
    """One reader logs in, consents and gives the answers in `rows`, in their order. Raises URLError."""
    browser = build_opener(HTTPCookieProcessor(CookieJar()))
    with browser.open(f"{url}/s/{token}", timeout=TIMEOUT) as page:
        own = OWNER.search(page.read().decode())
    headers = HEADERS | {"X-Reader-Page": own[1] if own else ""}
    _post(browser, f"{url}/consent", {}, headers)
    for item, criterion, rating in zip(rows["item"], rows["criterion"], rows["rating"], strict=True):
        body = {"item": item, "criterion": criterion, "rating": int(rating), "seen": 0, "request": opaque()}
        _post(browser, f"{url}/answer", body | {"shown": _shown(study.items[item])}, headers)


def _shown(item: Item) -> dict[str, Any]:
    """What a synthetic reader has before them: nothing on a screen."""
    return {"original": item.original, "overlay": item.overlay} | dict.fromkeys(VIEW, 0)


def _post(browser: OpenerDirector, address: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    browser.open(Request(address, json.dumps(body).encode(), dict(headers)), timeout=TIMEOUT).close()


def _tokens(file: Path) -> dict[str, str]:
    if not file.is_file():
        raise UserError(f"there is no {file}; the readers' links are needed to answer in their place")
    return pd.read_csv(file, dtype=str).set_index("reader")["token"].to_dict()
