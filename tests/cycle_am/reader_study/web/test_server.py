"""What the pages give to whom, and what they refuse."""

import json
import logging
import re
from dataclasses import replace
from io import BytesIO

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cycle_am.reader_study.design.blind import find_leaks
from cycle_am.reader_study.files import IMAGES, KEY, Item, read_key, read_study
from cycle_am.reader_study.web import server
from cycle_am.reader_study.web.links import hashed
from cycle_am.reader_study.web.server import Throttle, build_app, fill, place
from cycle_am.reader_study.web.sheet import Sheet
from cycle_am.reader_study.web.store import COORDINATOR, open_store
from tests.cycle_am.reader_study.serving import (
    COORDINATOR_TOKEN,
    CRITERIA,
    HEADERS,
    METHODS,
    own,
    shown,
    token,
)


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
        log_in(client, reader)
        if consent:
            assert client.post("/consent", json={}).status_code == 200
    return client


def log_in(client, reader):
    """Open a reader's link; what the client sends from now on comes from his pages."""
    reply = client.get(f"/s/{token(reader)}")
    assert reply.status_code == 200
    client.headers.update(own(reply.text))


def answered(app, item, criterion=CRITERIA[0], rating=2, seen=0, request="0" * 32):
    pictures = app.state.site.study.items.get(item, Item("", ""))
    content = {"item": item, "criterion": criterion, "rating": rating, "seen": seen, "request": request}
    return content | {"shown": shown(pictures)}


def send(client, item, *arguments, **options):
    changes = {name: options.pop(name) for name in ("more", "shown") if name in options}
    content = answered(client.app, item, *arguments, **options)
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


def test_wrong_links_lock_out_no_right_one_from_the_same_address(site):
    client = browser(site)
    for _ in range(server.WRONG_TOKENS_PER_MINUTE + 5):
        client.get("/s/guess")
    reply = client.get(f"/s/{token('r01')}")
    assert (reply.status_code, "set-cookie" in reply.headers) == (200, True)
    assert client.get("/s/guess").status_code == 429


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
    log_in(client, "r01")
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
    assert send(client, items[1], request="1" * 32).status_code == 200


def test_no_answer_is_taken_to_what_is_to_come(site):
    client, items = browser(site, "r01"), order(site, "r01")
    assert send(client, items[1]).status_code == 422
    assert site.state.site.store.all_answers() == []
    send(client, items[0])
    assert send(client, items[2], request="1" * 32).status_code == 422
    assert set(site.state.site.store.answers("r01")) == {(items[0], CRITERIA[0])}


def test_a_page_of_one_reader_saves_nothing_for_another_in_the_same_browser(site):
    fill_in(browser(site, "r02"), site, "r02", 5)  # r01's first item is the last of r02, and can be rated now
    tablet, store = browser(site, "r01"), site.state.site.store
    first, page = order(site, "r01")[0], own(tablet.get("/rate/1").text)
    before = store.all_answers(), store.progress()
    log_in(tablet, "r02")  # in another tab
    assert own(tablet.get("/rate/6").text) != page
    for headers in (page, {"X-Reader-Page": ""}):
        for path, body in [
            ("/answer", answered(site, first, rating=-4)), ("/consent", {}), ("/language", {"language": "de"}),
        ]:  # fmt: skip
            reply = tablet.post(path, json=body, headers=headers)
            assert (reply.status_code, reply.json()["error"]) == (412, "this page belongs to another session")
    assert (store.all_answers(), store.progress()) == before
    log_in(tablet, "r01")
    assert tablet.post("/answer", json=answered(site, first, rating=-4), headers=page).status_code == 200
    assert store.answers("r01")[first, CRITERIA[0]].rating == -4
    assert (first, CRITERIA[0]) not in store.answers("r02")


@pytest.mark.parametrize("path", ["/declined", "/thanks"])
def test_a_page_of_one_reader_ends_no_session_of_another(site, path):
    tablet = browser(site, "r01")
    fill_in(tablet, site, "r01")
    page = "/consent" if path == "/declined" else "/finish"
    leave = re.search(rf'href="({path}\?page=\w+)"', tablet.get(page).text)[1]
    log_in(tablet, "r02")
    tablet.post("/consent", json={})
    reply = tablet.get(leave)
    assert (reply.status_code, "belongs to another session" in reply.text) == (412, True)
    assert tablet.get("/rate/1").status_code == 200
    log_in(tablet, "r01")
    assert tablet.get(leave).status_code == 200
    assert tablet.get("/rate/1").status_code == 401


def test_an_answer_says_what_was_shown_and_it_is_kept(site):
    client, item = browser(site, "r01"), order(site, "r01")[0]
    seen = shown(site.state.site.study.items[item])
    for wrong in [
        {},
        {**seen, "overlay": seen["original"]},
        {**seen, "opacity": 101},
        {**seen, "more": 1},
        None,
    ]:
        assert send(client, item, shown=wrong).status_code == 422
    assert send(client, item, shown=seen | {"opacity": 0, "level": -300}).status_code == 200
    line = site.state.site.store.history()[0]
    assert (line["item"], line["rating"]) == (item, 2)
    assert json.loads(line["shown"]) == seen | {"opacity": 0, "level": -300}


def test_the_decision_of_the_network_is_shown_and_alike_for_all_explanations_of_a_lesion(site):
    client, study = browser(site, "r01"), site.state.site.study
    fill_in(client, site, "r01")
    for number, question in enumerate(study.readers["r01"].questions):
        pages = [client.get(f"/rate/{2 * number + k}").text for k in (1, 2)]
        lines = {re.search(r'class="decision">([^<]*)<', page)[1] for page in pages}
        wanted = "malignant (p = 93 %)" if study.items[question[0]].p > 0.5 else "benign (p = 87 %)"
        assert lines == {f"Decision of the network: {wanted}"}
    client.post("/language", json={"language": "de"})
    assert "Entscheidung des Netzes: gutartig (p = 87 %)" in client.get("/rate/1").text


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.5, ("malignant", "= 50 %")), (0.499, ("benign", "= 50 %")), (0.128, ("benign", "= 87 %")),
        (0.99, ("malignant", "= 99 %")), (0.9999, ("malignant", "> 99 %")), (0.0, ("benign", "> 99 %")),
    ],
)  # fmt: skip
def test_decision_by_hand(p, expected):
    assert tuple(server.decision(p).values()) == expected


def test_the_legend_is_true_of_evidence_and_of_brightness(site):
    """Red is evidence for malignant in most methods, and brighter where malignant in one; no page tells which."""
    page = browser(site, "r01").get("/rate/1").text
    red, blue = (re.search(rf'class="{one}">([^<]*)<', page)[1] for one in ("red", "blue"))
    assert red == "Red: speaks for malignant, or brighter if malignant"
    assert blue == "Blue: speaks for benign, or darker if malignant"


def test_no_size_and_no_header_tells_the_pictures_of_a_kind_apart(site, study_dir):
    client, study = browser(site, "r01"), site.state.site.study
    kinds = [{getattr(item, kind) for item in study.items.values()} for kind in ("original", "overlay")]
    assert all(len({(study_dir / IMAGES / name).stat().st_size for name in names}) > 1 for names in kinds)
    for names in kinds:
        served = {name: client.get(f"/image/{name}") for name in names}
        assert len({len(reply.content) for reply in served.values()}) == 1
        assert len({str(sorted(reply.headers.items())) for reply in served.values()}) == 1
        assert "no-transform" in next(iter(served.values())).headers["cache-control"]
        for name, reply in served.items():
            again, stored = Image.open(BytesIO(reply.content)), Image.open(study_dir / IMAGES / name)
            assert again.tobytes() == stored.tobytes()


@pytest.fixture
def below(site):
    """The same study at https://host/a/study."""
    study = replace(site.state.site.study, url="https://host/a/study/")
    return build_app(study, site.state.site.store, site.state.site.images)


@pytest.mark.parametrize("cut", ["", "/a/study"])
def test_a_study_below_a_path(below, cut):
    """Whether the proxy hands the path on (cut "") or takes it off, all addresses and the cookie have it."""
    client = TestClient(below, base_url="https://host", headers=HEADERS, follow_redirects=False)

    def get(path):
        assert path.startswith("/a/study")
        return client.get(path.removeprefix(cut) or "/", headers={"Cookie": "; ".join(cookies)})

    cookies = []
    reply = get(f"/a/study/s/{token('r01')}")
    assert "Path=/a/study" in reply.headers["set-cookie"].split("; ")
    cookies.append(reply.headers["set-cookie"].split(";")[0])
    assert 'data-target="/a/study/"' in reply.text
    headers = own(reply.text) | {"Cookie": cookies[0]}
    assert (
        get("/a/study").headers["location"] == get("/a/study/").headers["location"] == "/a/study/introduction"
    )
    assert client.post("/a/study/consent".removeprefix(cut), json={}, headers=headers).status_code == 200
    assert get("/a/study/").headers["location"] == "/a/study/rate/1"
    for path in ["introduction", "consent", "rate/1", "finish"]:
        page = get(f"/a/study/{path}").text
        found = re.findall(r'(?:src|href|data-\w+)="(/[^"]*)"', page)
        assert found
        assert all(one.startswith("/a/study/") for one in found)
        for one in found:
            if "/static/" in one or "/image/" in one:
                assert get(one).status_code == 200


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
    content = answered(site, item)
    for path, body in [("/answer", content), ("/language", {"language": "de"}), ("/consent", {})]:
        assert client.post(path, content=json.dumps(body), headers=headers).status_code == 403
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/answer", json=content, headers=own).status_code == 200


def test_readers_and_coordinator_are_kept_apart(site):
    first, coordinator = browser(site, "r01"), browser(site)
    fill_in(first, site, "r01", 1)
    coordinator.headers.update(own(coordinator.get(f"/c/{COORDINATOR_TOKEN}").text))
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
    caplog.set_level(logging.INFO, logger="cycle_am.reader_study")
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


def failing(*_, **__):
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
        paths = set(re.findall(r'(?:src|href)="(/[^"]+)"', text))
        paths |= {f"/image/{name}" for name in re.findall(r'data-original="([^"]+)"', text)}
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
