"""What the pages give to whom, and what they refuse."""

import json
import logging
import re

import pytest
from fastapi.testclient import TestClient

from reader_study import server
from reader_study.blind import find_leaks
from reader_study.files import IMAGES, KEY, read_key, read_study
from reader_study.links import hashed
from reader_study.server import Throttle, build_app, fill, place
from reader_study.sheet import Sheet
from reader_study.store import COORDINATOR, open_store
from tests.reader_study.serving import COORDINATOR_TOKEN, CRITERIA, HEADERS, METHODS, token


@pytest.fixture
def site(study_dir, tmp_path):
    """The application of a small study; readers r01 and r02 and the coordinator have links."""
    study = read_study(study_dir)
    store = open_store(f"sqlite:///{tmp_path}/answers.db", study.study_id, study.seal, study.readers)
    store.admit(
        {name: hashed(token(name)) for name in study.readers} | {COORDINATOR: hashed(COORDINATOR_TOKEN)}
    )
    app = build_app(study, store, study_dir / IMAGES)
    yield app
    store.close()


def browser(app, reader=None, consent=True, **options):
    client = TestClient(app, headers=HEADERS, follow_redirects=False, **options)
    if reader:
        assert client.get(f"/s/{token(reader)}").status_code == 200
        if consent:
            assert client.post("/consent", json={}).status_code == 200
    return client


def send(client, item, criterion=CRITERIA[0], rating=2, seen=0, request="0" * 32, **changes):
    content = {"item": item, "criterion": criterion, "rating": rating, "seen": seen, "request": request}
    return client.post("/answer", json=content | changes)


def order(app, reader):
    return app.state.site.study.readers[reader].order()


def fill_in(client, app, reader, positions=None):
    for number, item in enumerate(order(app, reader)[:positions]):
        for c, criterion in enumerate(CRITERIA):
            assert send(client, item, criterion, request=f"{number:016x}{c:016x}").status_code == 200


def test_a_link_opens_a_session_and_leaves_the_address(site):
    client = browser(site)
    assert client.get("/introduction").status_code == 401
    reply = client.get(f"/s/{token('r01')}")
    assert 'data-target="/"' in reply.text
    assert token("r01") not in reply.text
    cookie = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert client.get("/").headers["location"] == "/introduction"


def test_the_cookie_is_secure_where_the_page_is(site):
    reply = browser(site, base_url="https://study.example").get(f"/s/{token('r01')}")
    assert "Secure" in reply.headers["set-cookie"]


def test_wrong_links_are_refused_and_slowed_down(site):
    client = browser(site)
    for _ in range(server.WRONG_TOKENS_PER_MINUTE):
        assert client.get("/s/guess").status_code == 404
    assert client.get("/s/guess").status_code == 429
    assert "set-cookie" not in client.get("/s/guess").headers


def test_the_throttle_forgets_after_a_minute():
    now = [0.0]
    throttle = Throttle(limit=2, clock=lambda: now[0])
    throttle.note("a")
    now[0] = 30
    throttle.note("a")
    assert throttle.blocks("a")
    assert not throttle.blocks("b")
    now[0] = 61
    assert not throttle.blocks("a")


def test_nothing_is_taken_before_consent(site):
    client = browser(site, "r01", consent=False)
    first = order(site, "r01")[0]
    assert client.get("/rate/1").headers["location"] == "/introduction"
    assert send(client, first).status_code == 403
    assert client.get(f"/image/{site.state.site.study.items[first].original}").status_code == 403
    assert site.state.site.store.all_answers() == []
    assert client.post("/consent", json={}).status_code == 200
    assert client.get("/").headers["location"] == "/rate/1"
    assert send(client, first).status_code == 200


def test_a_reader_resumes_goes_back_and_finishes(site):
    client, total = browser(site, "r01"), len(order(site, "r01"))
    fill_in(client, site, "r01", 2)
    other_device = browser(site, "r01")
    assert other_device.get("/").headers["location"] == "/rate/3"
    page = other_device.get("/rate/1").text
    assert len(re.findall(r'value="2" checked', page)) == len(CRITERIA)
    assert 'data-revision="1"' in page
    assert other_device.get("/thanks").headers["location"] == "/finish"
    assert f"{total - 2} pictures still lack an answer" in other_device.get("/finish").text
    fill_in(client, site, "r01")
    assert client.get("/").headers["location"] == "/finish"
    assert client.get("/thanks").status_code == 200
    assert client.get("/rate/1").status_code == 401  # at a shared screen nobody goes on in the reader's name
    client.get(f"/s/{token('r01')}")
    assert client.get("/rate/1").status_code == 200


def test_who_declines_leaves_no_trace(site):
    client = browser(site, "r01", consent=False)
    assert "You have not agreed" in client.get("/declined").text
    assert client.get("/consent").status_code == 401
    assert site.state.site.store.progress()["r01"].consented_at is None


def test_a_closed_study_takes_no_answers(site):
    client, coordinator = browser(site, "r01"), browser(site)
    coordinator.get(f"/c/{COORDINATOR_TOKEN}")
    site.state.site.closed = True
    assert send(client, order(site, "r01")[0]).status_code == 403
    for path in ["/", "/rate/1", "/introduction"]:
        assert "The study is closed" in client.get(path).text
    assert coordinator.get("/progress").status_code == 200


def test_a_revoked_link_is_told_so(site):
    client = browser(site, "r01")
    site.state.site.store.revoke("r01")
    reply = client.get(f"/s/{token('r01')}")
    assert (reply.status_code, "withdrawn" in reply.text) == (403, True)
    assert client.get("/rate/1").status_code == 401


def test_the_future_is_closed(site):
    client = browser(site, "r01")
    items = order(site, "r01")
    assert client.get("/rate/2").headers["location"] == "/"
    assert client.get("/rate/0").status_code == client.get(f"/rate/{len(items) + 1}").status_code == 404
    send(client, items[0])
    assert client.get("/rate/2").status_code == 200  # one answer is missing before: no harm
    assert client.get("/rate/3").headers["location"] == "/"


@pytest.mark.parametrize(
    "changes",
    [
        {"rating": 5}, {"rating": -5}, {"rating": 1.0}, {"rating": True}, {"rating": "1"}, {"rating": None},
        {"criterion": "taste"}, {"item": "f" * 32}, {"item": "../../access.json"}, {"seen": -1}, {"seen": 2**31},
        {"request": "short"}, {"more": 1},
    ],
)  # fmt: skip
def test_only_answers_that_can_be_are_taken(site, changes):
    answer = {"item": order(site, "r01")[0]} | changes
    assert send(browser(site, "r01"), **answer).status_code == 422
    assert site.state.site.store.all_answers() == []


def test_bodies_are_checked(site):
    client = browser(site, "r01")
    assert client.post("/answer", content="{").status_code == 422
    assert client.post("/answer", content="[" * 4000).status_code == 422
    assert client.post("/answer", content=" " * (server.BODY_LIMIT + 1)).status_code == 413
    assert client.post("/language", json={"language": "xx"}).status_code == 422
    assert client.post("/language", json={"language": "de"}).status_code == 200
    assert '<html lang="de">' in client.get("/rate/1").text


def test_a_stale_window_gets_the_newer_answer(site):
    client, item = browser(site, "r01"), order(site, "r01")[0]
    assert send(client, item, rating=1).json() == {"rating": 1, "revision": 1}
    assert send(client, item, rating=1).json() == {"rating": 1, "revision": 1}  # a double click
    stale = send(client, item, rating=-1, request="1" * 32)
    assert (stale.status_code, stale.json()) == (409, {"rating": 1, "revision": 1})
    assert (
        send(client, item, rating=-1, request="0" * 32, seen=1).status_code == 422
    )  # another answer's request id


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Reader-Study": "0"},
        {"Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_requests_of_other_sites_are_refused(site, headers):
    client, item = browser(site, "r01"), order(site, "r01")[0]
    content = {"item": item, "criterion": CRITERIA[0], "rating": 1, "seen": 0, "request": "0" * 32}
    for path, body in [("/answer", content), ("/language", {"language": "de"}), ("/consent", {})]:
        assert client.post(path, content=json.dumps(body), headers=headers).status_code == 403
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/answer", json=content, headers=own).status_code == 200


def test_readers_and_coordinator_are_kept_apart(site):
    first, coordinator = browser(site, "r01"), browser(site)
    fill_in(first, site, "r01", 1)
    coordinator.get(f"/c/{COORDINATOR_TOKEN}")
    assert coordinator.get("/").headers["location"] == "/progress"
    page = coordinator.get("/progress").text
    assert "3 of 18" in page
    assert "0 of 18" in page
    assert not any(name in page for name in [*METHODS, *METHODS.values(), *CRITERIA, *order(site, "r01")])
    assert first.get("/progress").status_code == 403
    for path in ["/rate/1", "/finish", "/consent"]:
        assert coordinator.get(path).status_code == 403
    assert send(coordinator, order(site, "r01")[0]).status_code == 403
    assert 'value="2" checked' not in browser(site, "r02").get("/rate/1").text


def test_headers(site):
    client = browser(site, "r01")
    for path in ["/", "/rate/1", "/introduction", "/nothing", "/static/rate.js", "/health"]:
        headers = client.get(path).headers
        assert "unsafe" not in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "camera=()" in headers["permissions-policy"]
    assert client.get("/rate/1").headers["cache-control"] == "no-store"
    picture = client.get(f"/image/{site.state.site.study.items[order(site, 'r01')[0]].overlay}")
    assert picture.headers["cache-control"].startswith("private")
    assert not {"last-modified", "etag", "content-disposition"} & set(picture.headers)
    for path in ["/docs", "/redoc", "/openapi.json", "/image/..%2f..%2faccess.json", "/static/../server.py"]:
        assert client.get(path).status_code == 404


def test_pages_hold_no_program_no_style_and_no_foreign_address(site):
    client = browser(site, "r01")
    for path in ["/introduction", "/consent", "/rate/1", "/finish"]:
        page = client.get(path).text
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*src=\"/static/)|\son\w+=|https?://", page), path


def test_the_log_names_neither_links_nor_readers(site, caplog):
    caplog.set_level(logging.INFO, logger="reader_study")
    client = browser(site, "r01")
    client.get("/rate/1")
    client.get("/s/guess")
    assert "GET /s/{token} 200" in caplog.text
    assert "GET /rate/{position} 200" in caplog.text
    ours = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("reader_study")
    )
    assert not re.search(r"r01|token-of|guess|testclient", ours)


def test_a_database_that_fails_is_no_lost_answer(site, monkeypatch):
    client = browser(site, "r01")
    site.state.site.store.engine.dispose()
    monkeypatch.setattr(site.state.site.store, "save", failing)
    assert send(client, order(site, "r01")[0]).status_code == 503  # upon which the browser tries again


def failing(*_):
    raise server.SQLAlchemyError("gone")


def test_the_blind_holds_in_every_byte_that_a_reader_can_fetch(site, study_dir):
    """All pages and files of a reader, while he goes through the study: no method, case, label, variant, no item to
    come and no other reader."""
    study, client = read_study(study_dir), browser(site, "r01")
    key = read_key(study_dir / KEY, study)
    secrets = [*METHODS, *METHODS.values(), *(item.case_id for item in key.items.values()), "r02"]
    secrets += [study.study_id, study.seal, key.nonce]
    seen = set()
    for position, item in enumerate(order(site, "r01"), 1):
        pages = [
            client.get(path) for path in ["/", "/introduction", "/consent", "/finish", f"/rate/{position}"]
        ]
        pages += [
            client.get(f"/rate/{position - 1}"),
            client.get(f"/rate/{position + 1}"),
            client.get("/nothing"),
        ]
        text = "".join(str(page.headers) + page.text for page in pages)
        paths = set(re.findall(r'(?:src|href|data-source)="(/[^"]+)"', text))
        served = [client.get(path) for path in paths if path.startswith(("/static/", "/image/"))]
        assert sum(reply.headers["content-type"] == "image/png" for reply in served) >= 2
        assert not [leak for reply in (*pages, *served) for leak in find_leaks(reply.content, key)]
        text += "".join(str(reply.headers) + reply.content.decode("latin-1") for reply in served)
        found = [one for one in secrets if re.search(rf"(?<![a-z0-9]){one}(?![a-z0-9])", text, re.IGNORECASE)]
        assert not found
        seen |= {item}
        future = set(study.items) - seen
        pictures = {name for one in future for name in (study.items[one].original, study.items[one].overlay)}
        assert not [name for name in future | pictures if name in text]
        assert not re.search(r"""variant\W+[AB]\b""", text)
        assert not re.search(r"""label["']?\s*[:=]\s*["']?[01]\b""", text)
        for criterion in CRITERIA:
            send(client, item, criterion, request=f"{position:016x}{CRITERIA.index(criterion):016x}")


def test_pictures_of_another_reader_are_closed(site, study_dir):
    study = site.state.site.study
    stranger = next(iter(study.items))
    keep = [[item for item in question if item != stranger] for question in study.readers["r01"].questions]
    study.readers["r01"] = type(study.readers["r01"])("A", keep)
    client = browser(site, "r01")
    assert client.get(f"/image/{study.items[stranger].overlay}").status_code == 404
    assert send(client, stranger).status_code == 422


def test_sheet_by_hand():
    sheet = Sheet(["a", "b", "c"], ["x", "y"], {("a", "x"), ("a", "y"), ("b", "y")})
    assert (sheet.total, sheet.rated(), sheet.reach(), sheet.open_positions()) == (3, 1, 3, [2, 3])
    assert sheet.missing(2) == ["x"]
    assert Sheet(["a", "b"], ["x"], set()).reach() == 1
    assert Sheet(["a"], ["x"], {("a", "x")}).reach() == 1


def test_place_and_fill_by_hand():
    questions = [["a", "b"], ["c"], ["d", "e"]]
    places = [place(questions, position) for position in range(1, 6)]
    assert [(one["n"], one["k"], one["of"]) for one in places] == [
        (1, 1, 2),
        (1, 2, 2),
        (2, 1, 1),
        (3, 1, 2),
        (3, 2, 2),
    ]
    assert places[0]["total"] == 3
    assert fill("{n} of {of} {", n=1, of="2") == "1 of 2 {"
