"""The readers' web page: what is served to whom. It knows the public part of a study and the database, nothing else.

What a reader can fetch: the texts, the programs and styles in `static/`, the pages of their own items up to the first
that they have not rated, and their pictures. The order to come, other readers, methods and variants are nowhere.

The cookie says who asks, and a browser has one for all its tabs; so a page says whose it is (`Site.whose`), and what it
sends is taken in nobody else's name.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from cycle_am.reader_study.design.padding import common_size, padded
from cycle_am.reader_study.files import Study
from cycle_am.reader_study.web.links import hashed, prefix
from cycle_am.reader_study.web.sheet import Sheet
from cycle_am.reader_study.web.store import Conflict, Login, Misused, Revoked, Store

HERE = Path(__file__).parent
BODY_LIMIT = 4096  # bytes
SESSION_SECONDS = 90 * 24 * 3600
SECONDS_PER_PICTURE = 30  # for the time that the introduction names
WRONG_TOKENS_PER_MINUTE = 20
#: Readings of the grey value are linear from `datamodules`' window: 0 is the lower end, 255 the upper.
HU_RANGE = (-1000, 400)
#: Window presets, (width, level) in HU.
PRESETS = {"full": (1400, -300), "lung": (1200, -600), "soft": (400, 40)}
START = "lung"  # the window in which a reader's first item is opened
OTHER_READER = "this page belongs to another session"
OPACITY = 0.6  # of the overlay when an item is opened: the same for every item, so that none profits
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of a personal link must not travel
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
log = logging.getLogger(__name__)


@dataclass
class Throttle:
    """Slows down who tries links: at most `limit` wrong ones a minute from one address. Right ones are never stopped: a
    hospital is one address."""

    limit: int = WRONG_TOKENS_PER_MINUTE
    clock: Callable[[], float] = time.monotonic
    _wrong: dict[str, deque[float]] = field(default_factory=dict)

    def blocks(self, address: str) -> bool:
        """Whether an address has to wait."""
        self._forget()
        return len(self._wrong.get(address, ())) >= self.limit

    def note(self, address: str) -> None:
        """Count a wrong link."""
        self._wrong.setdefault(address, deque()).append(self.clock())

    def _forget(self) -> None:
        since = self.clock() - 60
        for address, times in list(self._wrong.items()):
            while times and times[0] < since:
                times.popleft()
            if not times:
                del self._wrong[address]


class Site:
    """What all requests share."""

    def __init__(self, study: Study, store: Store, images: Path, closed: bool) -> None:
        self.study, self.store, self.images, self.closed = study, store, images, closed
        self.root = prefix(study.url)
        #: Bytes that every picture of a kind is served with: the size would tell which method made it.
        self.sizes = {
            name: size
            for kind in ("original", "overlay")
            for name, size in _served_sizes(images, {getattr(item, kind) for item in study.items.values()})
        }
        self.cookie = (
            f"session-{hashed(study.study_id)[:8]}"  # studies on one host, at several ports, share cookies
        )
        self.throttle = Throttle()
        self.pages = Environment(
            loader=FileSystemLoader(HERE / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.pages.filters["fill"] = fill
        self.pages.globals["root"] = self.root

    def whose(self, login: Login | None) -> str:
        """What a page carries and sends back to say whose it is; another one for each reader, and no name."""
        return hashed(f"{self.study.seal} {login.reader}")[:32] if login else ""

    def language(self, request: Request, login: Login | None) -> str:
        """The reader's language, else the browser's, else the study's first."""
        wanted = [login.language] if login and login.language else []
        accepted = request.headers.get("accept-language", "").split(",")
        wanted += [tag.split(";")[0].strip().split("-")[0] for tag in accepted]
        return next((tag for tag in wanted if tag in self.study.languages), self.study.languages[0])

    def page(
        self, request: Request, name: str, login: Login | None = None, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A page in the reader's language, kept by no cache."""
        language = self.language(request, login)
        content = self.pages.get_template(f"{name}.html.j2").render(
            study=self.study,
            language=language,
            text=self.study.texts[language],
            names={code: self.study.texts[code]["language"] for code in self.study.languages},
            login=login,
            whose=self.whose(login),
            **values,
        )
        return HTMLResponse(content, status, {"Cache-Control": "no-store"})

    def message(
        self, request: Request, status: int, text: Callable[[dict], str], title: str = ""
    ) -> Response:
        """A page that says one thing; `text` picks it from the texts."""
        texts = self.study.texts[self.language(request, None)]
        return self.page(
            request,
            "message",
            None,
            status,
            title=title or texts["errors"]["title"],
            paragraphs=[text(texts)],
        )

    def farewell(self, request: Request, login: Login, title: str, text: str) -> Response:
        """A last word to a reader; the session ends, so that nobody after them at this screen goes on in their name."""
        self.store.log_out(request.cookies[self.cookie])
        response = self.page(request, "message", login, title=title, paragraphs=[text])
        response.delete_cookie(self.cookie, path=self.root or "/")
        return response

    def sheet(self, reader: str) -> Sheet:
        """A reader's questionnaire as it stands."""
        order = self.study.readers[reader].order()
        return Sheet(order, self.study.criteria, self.store.answers(reader))


def _served_sizes(images: Path, names: Collection[str]) -> Iterator[tuple[str, int]]:
    sizes = [(images / name).stat().st_size for name in names if (images / name).is_file()]
    return ((name, common_size(sizes)) for name in names)


def fill(text: str, **values: object) -> str:
    """A text with `{name}` replaced; unlike str.format, a stray brace does no harm."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def place(questions: Sequence[Sequence[str]], position: int) -> dict[str, int]:
    """Where a position lies: question `n` of `total`, item `k` of the question's `of`; all from 1."""
    n, k = next(
        (n, k)
        for n, question in enumerate(questions, 1)
        if (k := position - sum(map(len, questions[: n - 1]))) <= len(question)
    )
    return {"n": n, "total": len(questions), "k": k, "of": len(questions[n - 1])}


def decision(p: float) -> dict[str, str]:
    """The class that the network decided for, and its probability in per cent.

    Args:
        p: of malignant.
    """
    own = max(p, 1 - p)
    return {
        "kind": "malignant" if p >= 0.5 else "benign",
        "p": "> 99 %" if own > 0.99 else f"= {100 * own:.0f} %",
    }


class Below:
    """Takes the path of `study.create.url` off the requests' paths, whether or not a proxy has done so before."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        self.app, self.root = app, root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on."""
        path = scope.get("path", "")
        if self.root and f"{path}/".startswith(f"{self.root}/"):
            scope = {**scope, "path": path.removeprefix(self.root) or "/"}
        await self.app(scope, receive, send)


def build_app(study: Study, store: Store, images: Path, closed: bool = False) -> FastAPI:
    """The web application.

    Args:
        images: folder of the pictures, `public/images`.
        closed: no more answers are taken; only the coordinator sees a page.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.site = Site(study, store, images, closed)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.middleware("http")(guard)
    app.add_middleware(Below, root=app.state.site.root)
    app.add_exception_handler(AnyHTTPException, refuse)
    app.add_exception_handler(SQLAlchemyError, unavailable)
    return app


async def guard(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what comes from another site, set the headers, log the kind of page but neither its address nor the
    reader."""
    started = time.perf_counter()
    if request.method == "POST" and not is_own(request):
        response: Response = JSONResponse({"error": "cross-site request refused"}, 403)
    else:
        response = await follow(request)
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-cache")
    route = getattr(request.scope.get("route"), "path", "-")
    spent = 1000 * (time.perf_counter() - started)
    log.info("%s %s %d %.0f ms", request.method, route, response.status_code, spent)
    return response


def is_own(request: Request) -> bool:
    """Whether a POST comes from a page of this server: no other site can set the header, nor hide where it is."""
    origin = request.headers.get("origin")
    return (
        request.headers.get("x-reader-study") == "1"
        and request.headers.get("content-type") == "application/json"
        and request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
        and (origin is None or urlsplit(origin).netloc == request.headers.get("host"))
    )


def refuse(request: Request, error: AnyHTTPException) -> Response:
    """The reply to what cannot be done: another page to go to, a page that says why, or JSON for a program."""
    if error.status_code == 303:
        return RedirectResponse(request.app.state.site.root + error.headers["Location"], 303)
    if request.method == "POST":
        return JSONResponse({"error": error.detail}, error.status_code)
    if error.detail == "closed":
        site = request.app.state.site
        title = site.study.texts[site.language(request, None)]["closed"]["title"]
        return site.message(request, 403, lambda text: text["closed"]["body"], title)
    reasons = {401: "session", 403: "forbidden", 404: "not_found", 412: "other", 429: "too_many"}
    reason = reasons.get(error.status_code, "server")
    return request.app.state.site.message(request, error.status_code, lambda text: text["errors"][reason])


def unavailable(request: Request, error: SQLAlchemyError) -> Response:
    """The database does not answer: the browser keeps the answer and tries again."""
    log.error("database: %s", type(error).__name__)
    return refuse(request, HTTPException(503, "database"))


def _site(request: Request) -> Site:
    return request.app.state.site


def _login(request: Request) -> Login | None:
    site = _site(request)
    return site.store.login(request.cookies.get(site.cookie, ""))


def _reader(request: Request) -> Login:
    login = _login(request)
    if login is None:
        raise HTTPException(401, "session")
    if request.method == "POST":
        _check_owner(_site(request), login, request.headers.get("x-reader-page"))
    if login.reader not in _site(request).study.readers:
        raise HTTPException(403, "forbidden")
    if _site(request).closed:
        raise HTTPException(403, "closed")
    return login


def _check_owner(site: Site, login: Login, page: str | None) -> None:
    """Another personal link may have been opened in this browser since the page was: it acts for nobody then."""
    if page != site.whose(login):
        raise HTTPException(412, OTHER_READER)


def _consented(login: Annotated[Login, Depends(_reader)], request: Request) -> Login:
    if login.consented_at is None:
        is_page = request.method == "GET" and not request.url.path.startswith("/image/")
        raise _elsewhere("/introduction") if is_page else HTTPException(403, "consent")
    return login


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, "too long")
    return body


def _elsewhere(path: str) -> HTTPException:
    return HTTPException(303, headers={"Location": path})


def _parsed(model: type[BaseModel], body: bytes) -> Any:
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise HTTPException(422, "input") from error


SiteOf = Annotated[Site, Depends(_site)]
AnyLogin = Annotated[Login | None, Depends(_login)]
ReaderLogin = Annotated[Login, Depends(_reader)]
ConsentedLogin = Annotated[Login, Depends(_consented)]
Body = Annotated[bytes, Depends(_body)]
router = APIRouter()


class Shown(BaseModel):
    """What was before the reader: the pictures that were loaded, window and level in HU, opacity of the colours (0
    where they were hidden) and zoom in per cent."""

    model_config = ConfigDict(extra="forbid")
    original: str = Field(max_length=64)
    overlay: str = Field(max_length=64)
    window: int = Field(ge=0, le=10_000)
    level: int = Field(ge=-10_000, le=10_000)
    opacity: int = Field(ge=0, le=100)
    zoom: int = Field(ge=0, le=10_000)


class Answer(BaseModel):
    """An answer as the browser sends it; `seen` and `request`: see :meth:`Store.save`."""

    model_config = ConfigDict(extra="forbid")
    item: str = Field(pattern=r"^[0-9a-f]{32}$")
    criterion: str = Field(max_length=64)
    rating: int
    seen: int = Field(ge=0, lt=2**31)
    request: str = Field(pattern=r"^[0-9a-f]{32}$")
    shown: Shown


class Choice(BaseModel):
    """A language."""

    model_config = ConfigDict(extra="forbid")
    language: str = Field(max_length=16)


@router.get("/s/{token}")
@router.get("/c/{token}")
def open_link(token: str, request: Request, site: SiteOf) -> Response:
    """A personal link, a reader's or the coordinator's: log in, then leave the address bar and the history.

    The page moves on by itself and is no redirect: a browser that comes from a mail would not send the new
    SameSite=Strict cookie along a redirect.
    """
    try:
        opened = site.store.log_in(token)
    except Revoked:
        return site.message(request, 403, lambda text: text["login"]["revoked"])
    if opened is None:
        address = request.client.host if request.client else ""
        if site.throttle.blocks(address):
            raise HTTPException(429, "too many")
        site.throttle.note(address)
        return site.message(request, 404, lambda text: text["login"]["unknown"])
    session, login = opened
    target = site.root + ("/progress" if login.is_coordinator else "/")
    response = site.page(request, "login", login, target=target)
    response.set_cookie(
        site.cookie,
        session,
        max_age=SESSION_SECONDS,
        path=site.root or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.get("/")
def start(request: Request, site: SiteOf, login: AnyLogin) -> Response:
    """To where the reader stopped."""
    if login is None:
        texts = site.study.texts[site.language(request, None)]["login"]
        return site.message(request, 200, lambda _: texts["body"], texts["title"])
    if login.is_coordinator:
        raise _elsewhere("/progress")
    open_positions = site.sheet(_consented(_reader(request), request).reader).open_positions()
    raise _elsewhere(f"/rate/{open_positions[0]}" if open_positions else "/finish")


@router.get("/introduction")
def introduction(request: Request, site: SiteOf, login: ReaderLogin) -> Response:
    """What the study is about, and the choice of the language."""
    reader = site.study.readers[login.reader]
    pictures = len(reader.order())
    return site.page(
        request,
        "introduction",
        login,
        lesions=len(reader.questions),
        pictures=pictures,
        minutes=-(-pictures * SECONDS_PER_PICTURE // 60),
    )


@router.get("/consent")
def ask_consent(request: Request, site: SiteOf, login: ReaderLogin) -> Response:
    """What a reader consents to."""
    return site.page(request, "consent", login)


@router.get("/declined")
def declined(request: Request, site: SiteOf, login: ReaderLogin, page: str | None = None) -> Response:
    """After a refusal: nothing was saved, and the session ends. `page`: whose page led here."""
    if page is not None:
        _check_owner(site, login, page)
    text = site.study.texts[site.language(request, login)]["consent"]
    return site.farewell(request, login, text["title"], text["declined"])


@router.post("/consent")
def consent(body: Body, site: SiteOf, login: ReaderLogin) -> Response:
    """The reader agrees."""
    site.store.consent(login.reader)
    return JSONResponse({})


@router.post("/language")
def choose_language(body: Body, site: SiteOf, login: ReaderLogin) -> Response:
    """The reader's language."""
    language = _parsed(Choice, body).language
    if language not in site.study.languages:
        raise HTTPException(422, "input")
    site.store.choose_language(login.reader, language)
    return JSONResponse({})


@router.get("/rate/{position}")
def rate(position: int, request: Request, site: SiteOf, login: ConsentedLogin) -> Response:
    """One item: original beside overlay, and its three scales."""
    sheet = site.sheet(login.reader)
    if not 1 <= position <= sheet.total:
        raise HTTPException(404, "not found")
    if position > sheet.reach():
        raise _elsewhere("/")
    item = sheet.item(position)
    saved = {criterion: sheet.answered.get((item, criterion)) for criterion in sheet.criteria}
    return site.page(
        request,
        "rate",
        login,
        position=position,
        place=place(site.study.readers[login.reader].questions, position),
        sheet=sheet,
        item=item,
        pictures=site.study.items[item],
        saved=saved,
        decision=None if site.study.items[item].p is None else decision(site.study.items[item].p),
        hu=HU_RANGE,
        presets=PRESETS,
        start=PRESETS[START],
        opacity=OPACITY,
    )


@router.post("/answer")
def answer(body: Body, site: SiteOf, login: ConsentedLogin) -> Response:
    """Save one answer to an item that the reader has reached. 409 with what holds, where another window was faster."""
    given: Answer = _parsed(Answer, body)
    _check_answer(site, login, given)
    try:
        saved = site.store.save(
            login.reader,
            given.item,
            given.criterion,
            given.rating,
            given.seen,
            given.request,
            json.dumps(given.shown.model_dump()),
        )
    except Conflict as conflict:
        current = conflict.current
        held = (current.rating, current.revision) if current else (None, 0)
        return JSONResponse({"rating": held[0], "revision": held[1]}, 409)
    except Misused as error:
        raise HTTPException(422, "input") from error
    return JSONResponse({"rating": saved.rating, "revision": saved.revision})


def _check_answer(site: Site, login: Login, given: Answer) -> None:
    """Refuse an answer to what the reader cannot have before them, or off the scale."""
    study, sheet = site.study, site.sheet(login.reader)
    reached = given.item in sheet.order[: sheet.reach()] and given.criterion in study.criteria
    if not reached or not study.low <= given.rating <= study.high:
        raise HTTPException(422, "input")
    pictures = study.items[given.item]
    if (given.shown.original, given.shown.overlay) != (pictures.original, pictures.overlay):
        raise HTTPException(422, "pictures")


@router.get("/image/{name}")
def image(name: str, site: SiteOf, login: ConsentedLogin) -> Response:
    """A picture of one of the reader's own items. No date and no name of a file goes with it: it could tell the order
    in which the pictures were made. All of a kind are equally long, and no proxy is to shorten them."""
    own = (site.study.items[item] for item in site.study.readers[login.reader].order())
    if not any(name in (item.original, item.overlay) for item in own):
        raise HTTPException(404, "not found")
    content = padded((site.images / name).read_bytes(), site.sizes[name])
    headers = {"Cache-Control": "private, max-age=3600, no-transform"}
    return Response(content, media_type="image/png", headers=headers)


@router.get("/finish")
def finish(request: Request, site: SiteOf, login: ConsentedLogin) -> Response:
    """What is missing, or that all is answered."""
    sheet = site.sheet(login.reader)
    return site.page(request, "finish", login, sheet=sheet, missing=sheet.open_positions())


@router.get("/thanks")
def thanks(request: Request, site: SiteOf, login: ConsentedLogin, page: str | None = None) -> Response:
    """The end, of the session too; not before everything is answered. `page`: whose page led here."""
    if page is not None:
        _check_owner(site, login, page)
    if site.sheet(login.reader).open_positions():
        raise _elsewhere("/finish")
    text = site.study.texts[site.language(request, login)]["thanks"]
    return site.farewell(request, login, text["title"], text["body"])


@router.get("/progress")
def progress(request: Request, site: SiteOf, login: AnyLogin) -> Response:
    """The coordinator's page: how far the readers are, without a rating."""
    if login is None or not login.is_coordinator:
        raise HTTPException(403, "forbidden")
    criteria = len(site.study.criteria)
    rows = [
        (name, state, criteria * len(site.study.readers[name].order()))
        for name, state in site.store.progress().items()
        if name in site.study.readers
    ]
    return site.page(request, "progress", login, rows=rows)


@router.get("/health")
def health(site: SiteOf) -> Response:
    """For a reverse proxy: whether the server and its database answer."""
    site.store.ping()
    return JSONResponse({"status": "ok"})
