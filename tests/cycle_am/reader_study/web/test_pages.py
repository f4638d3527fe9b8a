"""The pages in a real browser: a whole study by keyboard and by touch, interrupted and resumed; the viewer."""

import json
import re
import sqlite3

import numpy as np
import pytest
from PIL import Image

from cycle_am.reader_study.files import IMAGES, read_study
from tests.browser import started
from tests.cycle_am.reader_study.serving import CRITERIA, serving, token

TARGETS = "button, .button, select, .values label, .tick, summary, input[type=range]"
PHONE = {
    "viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2,
}  # fmt: skip
READER = "r01"


@pytest.fixture(scope="module")
def chromium():
    yield from started()


@pytest.fixture
def url(request, study_dir):
    """Address of the server: in a process of its own where the test kills it, else in a thread, which starts faster."""
    if "server" in request.fixturenames:
        yield request.getfixturevalue("server").url
    else:
        with serving(study_dir) as address:
            yield address


@pytest.fixture
def new_page(chromium, url):
    """Opens a device with the reader's link; no page may report an error or load from elsewhere."""
    troubles, devices = [], []

    def open_page(**device):
        context = chromium.new_context(**device)
        devices.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: "Security Policy" in line.text and troubles.append(line.text))
        page.on("request", lambda request: request.url.startswith(url) or troubles.append(request.url))
        page.goto(f"{url}/s/{token(READER)}")
        page.wait_for_url(re.compile(r"/(introduction|rate/\d+|finish)$"))
        return page

    yield open_page
    [device.close() for device in devices]
    assert not troubles


def answers(study_dir):
    """(position, criterion) -> (rating, revision), from the database itself."""
    place = {item: position for position, item in enumerate(read_study(study_dir).readers[READER].order(), 1)}
    rows = sqlite3.connect(study_dir / "answers.db").execute(
        "select item, criterion, rating, revision from answers"
    )
    return {(place[item], criterion): (rating, revision) for item, criterion, rating, revision in rows}


def at(page, position):
    page.wait_for_url(f"**/rate/{position}")
    page.wait_for_load_state("load")
    page.wait_for_selector("fieldset:not(:disabled)")


def saved(page):
    page.wait_for_selector("#status[data-state=saved]")


def consent_by_keyboard(page):
    page.locator("main a.button").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/consent")
    page.locator("input[type=checkbox]").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    at(page, 1)


def rate_by_keyboard(page, ratings):
    """As it is written; each rating leads to the next scale, and after the last Enter turns the page."""
    for rating in ratings:
        page.keyboard.type(str(rating))
    page.keyboard.press("Enter")


def test_a_whole_study_by_keyboard_interrupted_and_resumed(server, study_dir, new_page):
    wanted = {position: ((position % 9) - 4, 4 - position, 0) for position in range(1, 7)}
    page = new_page()
    consent_by_keyboard(page)
    for position in (1, 2):
        at(page, position)
        rate_by_keyboard(page, wanted[position])
    at(page, 3)
    page.keyboard.type(str(wanted[3][0]))
    saved(page)
    page.context.close()  # the browser is closed in the middle of an item, and the server dies
    server.kill()
    server.start()
    page = new_page()
    at(page, 3)
    assert page.locator("fieldset").first.locator("input:checked").get_attribute("value") == str(wanted[3][0])
    for rating in wanted[3][1:]:  # the keyboard begins at the first open scale
        page.keyboard.type(str(rating))
    page.keyboard.press("n")
    for position in (4, 5, 6):
        at(page, position)
        rate_by_keyboard(page, wanted[position])
    page.wait_for_url("**/finish")
    page.locator("text=Finish now").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/thanks?page=*")
    expected = {
        (p, c): (rating, 1) for p, row in wanted.items() for c, rating in zip(CRITERIA, row, strict=True)
    }
    assert answers(study_dir) == expected


def test_a_whole_study_by_touch_with_the_server_killed(server, study_dir, new_page):
    page = new_page(**PHONE)
    page.locator("main a.button").tap()
    page.locator("input[type=checkbox]").tap()
    page.locator("button.button").tap()
    wanted = {position: (4 - position, -4, position - 3) for position in range(1, 7)}

    def rate(position):
        for criterion, rating in zip(CRITERIA, wanted[position], strict=True):
            page.locator(f"fieldset[data-criterion={criterion}] label:has(input[value='{rating}'])").tap()

    for position in (1, 2):
        at(page, position)
        rate(position)
        page.locator("#next").tap()
    at(page, 3)
    server.kill()
    rate(3)
    page.wait_for_selector("#status[data-state=offline]")
    assert "No connection" in page.locator("#status").inner_text()
    server.start()
    saved(page)  # what was kept in the page is sent by itself
    page.context.close()
    page = new_page(**PHONE)
    for position in (4, 5, 6):
        at(page, position)
        rate(position)
        page.locator("#next").tap()
    page.wait_for_url("**/finish")
    expected = {
        (p, c): (rating, 1) for p, row in wanted.items() for c, rating in zip(CRITERIA, row, strict=True)
    }
    assert answers(study_dir) == expected


def test_open_scales_are_shown_and_an_answer_is_changed_later(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert page.url.endswith("/rate/1")  # nothing is rated
    assert page.locator("fieldset.wanted").count() == 3
    page.keyboard.press("4")
    page.keyboard.press("n")
    at(page, 2)  # told once already: single answers may be left out
    page.keyboard.press("b")
    at(page, 1)
    page.locator("input[value='4']").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")  # does not run over the end of the scale
    assert page.locator("fieldset").first.locator("input:checked").get_attribute("value") == "4"
    page.keyboard.press("ArrowLeft")
    saved(page)
    assert answers(study_dir) == {(1, CRITERIA[0]): (3, 2)}
    assert page.locator("fieldset").first.locator(".ends output").inner_text() == "to a great extent"


def test_two_windows(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    other = page.context.new_page()
    other.goto(page.url)
    at(other, 1)
    other.keyboard.press("4")
    saved(other)
    page.keyboard.type("-4")
    page.wait_for_selector("#status[data-state=conflict]")
    assert page.locator("fieldset").first.locator("input:checked").get_attribute("value") == "4"
    page.locator("fieldset").first.locator("label").nth(0).click()
    saved(page)  # having seen the other answer, the reader decides
    other.keyboard.press("n")
    other.keyboard.press("n")
    at(other, 2)
    assert answers(study_dir) == {(1, CRITERIA[0]): (-4, 2)}


def test_a_reply_that_is_lost_saves_once(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    lost = []

    def lose(route):
        if lost:
            return route.continue_()
        lost.append(route.fetch())  # the server saves, the browser hears nothing
        return route.abort()

    page.route("**/answer", lose)
    with page.expect_request("**/answer"):
        page.keyboard.press("4")
    page.locator("fieldset").first.locator("label").nth(0).click()  # and they change their mind meanwhile
    saved(page)
    assert lost[0].json() == {"rating": 4, "revision": 1}
    assert answers(study_dir) == {(1, CRITERIA[0]): (-4, 2)}


def test_languages(new_page):
    page = new_page(locale="de-DE")
    assert page.locator("h1").inner_text() == "Worum es geht"
    page.select_option("#language", "en")
    page.wait_for_selector("text=What this is about")
    page.close()
    assert new_page(locale="de-DE").locator("h1").inner_text() == "What this is about"


@pytest.mark.parametrize(
    "device", [PHONE, {"viewport": {"width": 820, "height": 1180}, "has_touch": True}, {}]
)
def test_targets_fit_fingers_and_pages_fit_screens(new_page, device):
    page = new_page(**device)
    for path in ["introduction", "consent", "rate/1"]:
        if path == "rate/1":
            page.locator("input[type=checkbox]").check()
            page.locator("button.button").click()
            at(page, 1)
            page.locator("#controls").evaluate("one => one.open = true")
        else:
            page.goto(page.url.rsplit("/", 1)[0] + "/" + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        boxes = page.evaluate(
            """names => [...document.querySelectorAll(names)]
               .filter(one => one.checkVisibility() && !one.closest("dialog"))
               .map(one => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
               .map(([name, box]) => [name, box.width, box.height])""",
            TARGETS,
        )
        assert len(boxes) >= 2
        cells = [box for box in boxes if "radio" in box[0]]  # nine of them lie beside each other
        assert all(width >= 34 and height >= 44 for _, width, height in cells)
        assert not [box for box in boxes if box not in cells and min(box[1:]) < 44]


def test_colours_are_readable(new_page):
    """WCAG 2.2 AA: at least 4.5 to 1 for text on each ground that it stands on."""
    page = new_page()
    names = ["ink", "quiet", "accent", "on-accent", "room", "panel", "raised"]
    style = "getComputedStyle(document.documentElement)"
    colours = {name: page.evaluate(f"{style}.getPropertyValue('--{name}')").strip() for name in names}

    def luminance(name):
        digits = colours[name].lstrip("#")
        digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        channels = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    pairs = [(text, ground) for text in ("ink", "quiet", "accent") for ground in ("room", "panel", "raised")]
    for text, ground in [*pairs, ("on-accent", "accent")]:
        low, high = sorted([luminance(text), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def test_screen_readers_hear_names(new_page):
    page = new_page()
    consent_by_keyboard(page)
    tree = page.locator("body").aria_snapshot()
    assert 'img "CT image of a lung lesion, without explanation"' in tree
    assert len(re.findall(r'group "(?:Intuitive validity|Semantic meaningfulness|Image quality)', tree)) == 3
    assert tree.count('radio "-4, not at all"') == 3
    assert 'slider "Window (contrast)' in tree
    for role in re.findall(
        r"- (button|radio|slider|combobox|checkbox|progressbar)(?=:|$| \[)", tree, re.MULTILINE
    ):
        pytest.fail(f"a {role} has no name")


def test_window_level_opacity_and_reset(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    study = read_study(study_dir)
    item = study.items[study.readers[READER].order()[0]]
    hu = np.asarray(Image.open(study_dir / IMAGES / item.original), float) / 255 * 1400 - 1000

    def shown(number):
        canvas = page.locator("canvas").nth(number)
        code = "one => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"
        return np.array(canvas.evaluate(code)).reshape(*hu.shape, 4)

    for preset, (width, level) in {
        "Full range": (1400, -300),
        "Soft tissue": (400, 40),
        "Lung": (1200, -600),
    }.items():
        page.get_by_role("button", name=preset).click()
        expected = ((hu - (level - width / 2)) / width * 255).clip(0, 255)
        for number in (0, 1):
            assert np.abs(shown(number)[..., :3] - expected[..., None]).max() <= 0.51
            assert (shown(number)[..., 3] == 255).all()
    assert page.locator("output[for=level]").inner_text() == "−600 HU"
    overlay = page.locator("#overlay")
    page.locator("#opacity").fill("25")
    assert overlay.evaluate("one => getComputedStyle(one).opacity") == "0.25"
    page.locator("h1").click()
    page.keyboard.press("o")
    assert not overlay.is_visible()
    page.keyboard.press("r")
    assert overlay.is_visible()
    assert page.locator("#opacity").input_value() == "60"
    assert page.locator("output[for=window]").inner_text() == "1200 HU"


def transforms(page):
    """(scale, x, y) of both pictures, in pixels."""
    return page.evaluate(
        """[...document.querySelectorAll(".stage")]
           .map(one => new DOMMatrix(getComputedStyle(one).transform)).map(one => [one.a, one.e, one.f])"""
    )


def test_both_pictures_are_zoomed_and_moved_together(new_page):
    page = new_page()
    consent_by_keyboard(page)
    box = page.locator(".pane").first.bounding_box()
    point = (box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.move(*point)
    page.mouse.wheel(0, -300)
    page.wait_for_function("document.getElementById('zoom').value !== '100 %'")
    first, second = transforms(page)
    assert first == pytest.approx(second, abs=0.5)
    scale = 1.25**3
    assert first == pytest.approx(
        [scale, box["width"] / 4 * (1 - scale), box["height"] / 2 * (1 - scale)], rel=0.01
    )
    page.mouse.down()
    page.mouse.move(point[0] + 20, point[1] - 10)
    page.mouse.up()
    moved = transforms(page)[1]
    assert moved == pytest.approx([scale, first[1] + 20, first[2] - 10], abs=1)
    page.locator("h1").click()
    page.keyboard.press("r")
    assert transforms(page)[0] == [1, 0, 0]
    page.keyboard.press("z")
    page.keyboard.press("z")
    page.keyboard.press("x")
    assert transforms(page)[0][0] == pytest.approx(1.25)


def test_pinch(new_page):
    page = new_page(**PHONE)
    consent_by_keyboard(page)
    box = page.locator(".pane").nth(1).bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    devtools = page.context.new_cdp_session(page)

    def touch(kind, apart):
        points = [{"x": middle[0] + side * apart, "y": middle[1], "id": i} for i, side in enumerate((-1, 1))]
        arguments = {"type": kind, "touchPoints": [] if kind == "touchEnd" else points}
        devtools.send("Input.dispatchTouchEvent", arguments)

    touch("touchStart", 20)
    for apart in (25, 30, 35, 40):
        touch("touchMove", apart)
    touch("touchEnd", 40)
    first, second = transforms(page)
    assert first == pytest.approx(second, abs=0.5)
    assert first[0] == pytest.approx(2, rel=0.1)
    assert first[1] == pytest.approx(-box["width"] / 2, rel=0.15)  # the middle stayed where it was


def test_what_is_typed_is_what_is_saved(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    first = page.locator("fieldset").first

    def typed(*keys):
        """Keys upon the first scale; what is chosen there then."""
        page.evaluate("document.querySelector('fieldset').focus()")
        [page.keyboard.press(key) for key in keys]
        chosen = first.locator("input:checked")
        return chosen.get_attribute("value") if chosen.count() else None

    for nothing in [("-",), ("+",), ("5",), ("9",), ("-", "7"), ("-", "o", "o")]:
        assert typed(*nothing) is None
    assert "from -4 to 4" in page.locator("#status").inner_text() or typed("8") is None
    assert typed("-") is None
    assert "−" in first.locator(".ends output").inner_text()  # one sees that a sign waits for its digit
    for keys, rating in [
        (("-", "3"), "-3"), (("+", "2"), "2"), (("4",), "4"), (("0",), "0"), (("-", "-", "1"), "-1"),
        (("NumpadSubtract", "Numpad4"), "-4"), (("NumpadAdd", "Shift+Numpad1"), "1"), (("Numpad0",), "0"),
        (("-", "Shift", "2"), "-2"), (("-", "o", "o", "3"), "3"),
    ]:  # fmt: skip
        assert typed(*keys) == rating, keys
    saved(page)
    assert transforms(page)[0] == [1, 0, 0]
    assert answers(study_dir)[1, CRITERIA[0]][0] == 3
    assert {key[1] for key in answers(study_dir)} == {CRITERIA[0]}  # a sign alone reaches no other scale
    assert "as it is written" in page.locator(".typing").inner_text()
    page.evaluate("document.querySelectorAll('fieldset')[1].focus()")
    page.keyboard.type("1-22")  # two scales; the last digit belongs to none
    page.keyboard.press("ArrowLeft")
    assert [one.get_attribute("value") for one in page.locator("input:checked[type=radio]").all()] == [
        "3",
        "1",
        "-2",
    ]


@pytest.mark.parametrize("part", ["overlay", "original"])
def test_nothing_is_rated_before_both_pictures_are_there(study_dir, new_page, part):
    page = new_page()
    consent_by_keyboard(page)
    item = read_study(study_dir).items[read_study(study_dir).readers[READER].order()[0]]
    page.route(f"**/image/{getattr(item, part)}", lambda route: route.abort())
    page.reload()
    page.wait_for_selector("#trouble:visible")
    assert "could not be loaded" in page.locator("#trouble").inner_text()
    page.locator("fieldset").first.locator("label").nth(0).click(force=True)
    page.keyboard.type("-4")
    page.keyboard.press("ArrowRight")
    assert page.locator("input[type=radio]:checked").count() == 0
    page.unroute("**/*")
    page.unroute(f"**/image/{getattr(item, part)}")
    page.locator("#retry").click()
    page.wait_for_selector("fieldset:not(:disabled)")
    assert not page.locator("#trouble").is_visible()
    page.keyboard.press("o")
    page.keyboard.type("-4")
    saved(page)
    row = sqlite3.connect(study_dir / "answers.db").execute("select shown from shown").fetchone()
    assert json.loads(row[0]) == {
        "original": item.original, "overlay": item.overlay, "window": 1200, "level": -600, "opacity": 0, "zoom": 100,
    }  # fmt: skip


def test_a_picture_that_is_on_its_way_cannot_be_rated(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    item = read_study(study_dir).items[read_study(study_dir).readers[READER].order()[0]]
    held = []
    page.route(f"**/image/{item.overlay}", lambda route: held.append(route))
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector("#status[data-state=loading]")
    page.keyboard.type("4")
    assert page.locator("fieldset:disabled").count() == 3
    assert page.locator("input[type=radio]:checked").count() == 0
    held[0].continue_()
    page.wait_for_selector("fieldset:not(:disabled)")
    assert page.locator("#status").inner_text() == ""


def test_two_readers_in_one_browser(study_dir, new_page, url):
    page = new_page()
    consent_by_keyboard(page)
    other = page.context.new_page()
    other.goto(f"{url}/s/{token('r02')}")
    other.wait_for_url("**/introduction")
    page.keyboard.type("-3")
    page.wait_for_selector("#foreign:visible")
    assert "belongs to another session" in page.locator("#foreign").inner_text()
    assert not page.locator("main").is_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{url}/introduction")  # the other reader's, in the first one's tab
    page.wait_for_selector("#foreign:visible")
    assert not page.locator("main").is_visible()
    assert sqlite3.connect(study_dir / "answers.db").execute("select * from answers").fetchall() == []
    page.goto(f"{url}/s/{token('r01')}")  # back again: what waited is sent, in his own name
    at(page, 1)
    saved(page)
    assert answers(study_dir) == {(1, CRITERIA[0]): (-3, 1)}
    assert page.locator("fieldset").first.locator("input:checked").get_attribute("value") == "-3"
    readers = sqlite3.connect(study_dir / "answers.db").execute("select distinct reader from answers")
    assert readers.fetchall() == [("r01",)]


def test_an_answer_that_waits_is_not_sent_for_the_next_reader_of_the_tab(study_dir, new_page, url):
    page = new_page()
    consent_by_keyboard(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.route("**/answer", lambda route: route.abort())
    page.keyboard.type("2")
    page.wait_for_selector("#status[data-state=offline]")
    page.goto(f"{url}/s/{token('r02')}")
    page.wait_for_url("**/introduction")
    page.unroute("**/answer")
    page.wait_for_timeout(300)
    consent_by_keyboard(page)
    page.wait_for_timeout(300)
    assert sqlite3.connect(study_dir / "answers.db").execute("select * from answers").fetchall() == []
    page.goto(f"{url}/s/{token('r01')}")
    at(page, 1)
    saved(page)
    assert answers(study_dir) == {(1, CRITERIA[0]): (2, 1)}


def test_an_answer_that_waits_survives_a_reload(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.route("**/answer", lambda route: route.abort())
    page.keyboard.type("2")
    page.locator("fieldset").first.locator("label").nth(0).click()  # and another one waits behind it
    page.wait_for_selector("#status[data-state=offline]")
    page.reload()
    page.wait_for_selector("fieldset:not(:disabled)")
    assert page.locator("fieldset").first.locator("input:checked").get_attribute("value") == "-4"
    page.unroute("**/answer")
    saved(page)
    assert answers(study_dir)[1, CRITERIA[0]] == (-4, 2)
    page.reload()
    at(page, 1)
    assert page.locator("#status").inner_text() == ""  # nothing is sent twice
    assert answers(study_dir)[1, CRITERIA[0]] == (-4, 2)


def test_window_and_level_stay_for_the_items_to_come(study_dir, new_page):
    page = new_page()
    consent_by_keyboard(page)
    assert page.locator("output[for=window]").inner_text() == "1200 HU"  # a lung window
    assert page.locator("output[for=level]").inner_text() == "−600 HU"
    page.get_by_role("button", name="Soft tissue").click()
    page.locator("#opacity").fill("20")
    page.evaluate("document.querySelector('fieldset').focus()")
    rate_by_keyboard(page, (1, 1, 1))
    at(page, 2)
    assert page.locator("output[for=window]").inner_text() == "400 HU"
    assert page.locator("output[for=level]").inner_text() == "40 HU"
    assert page.locator("#opacity").input_value() == "60"  # the same for every item


SCREENS = [
    (360, 740),
    (390, 844),
    (704, 900),
    (820, 1180),
    (768, 1024),
    (1024, 768),
    (1120, 700),
    (740, 360),
    (640, 360),
    (1280, 800),
]


def test_pictures_and_scales_are_seen_together_and_a_scale_is_one_row(new_page):
    """Each scale, brought into view, lies in the window beside both whole pictures; its cells are in one row and fit a
    finger, its ends' words are under its ends."""
    page = new_page(has_touch=True)
    consent_by_keyboard(page)
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for scale in page.locator("fieldset").all():
            scale.evaluate("one => one.querySelector('.values').scrollIntoView({block: 'center'})")
            cells = [one.bounding_box() for one in scale.locator(".values label").all()]
            assert len({round(box["y"]) for box in cells}) == 1, (width, height)
            assert min(box["width"] for box in cells) >= 34, (width, height)
            assert min(box["height"] for box in cells) >= 44, (width, height)
            low, high = (scale.locator(".ends span").nth(end).bounding_box() for end in (0, 1))
            assert low["y"] > cells[0]["y"] + 43
            assert abs(low["x"] - cells[0]["x"]) < 2
            assert abs(high["x"] + high["width"] - cells[-1]["x"] - cells[-1]["width"]) < 2
            seen = scale.evaluate(
                """one => [...document.querySelectorAll(".pane"), ...one.querySelectorAll("label")].map(part => {
                     const box = part.getBoundingClientRect();
                     const at = (x, y) => document.elementFromPoint(box.left + x * box.width, box.top + y * box.height);
                     return part.contains(at(.1, .1)) && part.contains(at(.9, .9));
                   })"""
            )
            assert all(seen), (width, height, seen)
        assert page.locator(".pane").first.bounding_box()["width"] >= min(130, width / 3)
