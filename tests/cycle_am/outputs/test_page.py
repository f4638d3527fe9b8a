"""The page of a batch in a browser, from a file, with names that would break out of it."""

from __future__ import annotations

import json
import re

import pytest

from cycle_am.outputs import page
from cycle_am.place import Place
from tests.browser import started
from tests.cycle_am.outputs.fakes import EVIL, explanation


@pytest.fixture(scope="module")
def browser():
    yield from started()


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Four cases of which one has a hostile name, and two failures."""
    folder = tmp_path_factory.mktemp("page") / "a b#1"
    verdicts = ("usable", "refused", "doubtful", "usable")
    places = (Place("apex"), Place(EVIL), Place("lesion 10"), Place("lesion 9"))
    explanation(0.45, 0.6, 0.35, 0.65, verdicts=verdicts, places=places, name=EVIL).save(folder)
    records = json.loads((folder / "explanations.json").read_text())["cases"]
    failures = [{"name": EVIL, "reason": f"cannot be read {EVIL}"}, {"name": "", "reason": "no such lesion"}]
    page.write(folder, [failures[0], *records, failures[1]])
    return folder


@pytest.fixture
def opened(browser, batch):
    """The page, with everything that it asks for and complains of in `seen`."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.seen = []
    tab.on("request", lambda request: tab.seen.append(request.url))
    tab.on("console", lambda message: tab.seen.append(f"console {message.text}"))
    tab.on("pageerror", lambda error: tab.seen.append(f"error {error}"))
    tab.goto((batch / page.NAME).as_uri())
    yield tab
    tab.close()


def shown(tab) -> list[str]:
    return tab.eval_on_selector_all(
        "article:not([hidden])", "cards => cards.map(card => card.dataset.verdict)"
    )


def test_the_page_is_one_file_beside_its_pictures(batch):
    text = (batch / page.NAME).read_text()
    assert text.count("<script") == text.count("</script>") == 1
    assert not re.search(r"https?://", text)
    assert re.search(r"default-src 'none'.*script-src 'sha256-[\w+/=]{44}'", text)


def test_names_stay_text_and_nothing_is_loaded_from_elsewhere(opened):
    opened.wait_for_timeout(300)
    assert opened.evaluate("window.broken") is None
    assert all(one.startswith("file://") for one in opened.seen), opened.seen
    assert "<img src=x onerror" in opened.inner_text("article[data-verdict=refused] h2")
    assert "<script>" in opened.inner_text(".failures")


def test_the_verdict_stands_first_in_every_card(opened):
    for card in opened.query_selector_all("article"):
        assert card.get_attribute("data-verdict") in card.inner_text().strip().splitlines()[0]


def test_pictures_are_found(opened):
    image = opened.query_selector("article img")
    image.scroll_into_view_if_needed()
    opened.wait_for_function("image => image.complete && image.naturalWidth > 1000", arg=image)


def test_cards_are_filtered_by_verdict(opened):
    assert shown(opened) == ["usable", "refused", "doubtful", "usable"]
    opened.uncheck("input[value=usable]")
    assert shown(opened) == ["refused", "doubtful"]
    assert "2 of 4" in opened.inner_text("output")


def test_cards_are_sorted(opened):
    opened.select_option("select", "verdict")
    assert shown(opened) == ["refused", "doubtful", "usable", "usable"]
    opened.select_option("select", "p")
    order = lambda: opened.eval_on_selector_all("article", "cards => cards.map(card => card.dataset.index)")  # noqa: E731
    assert order() == ["4", "2", "1", "3"]
    opened.select_option("select", "distance")
    assert order() == ["1", "2", "3", "4"]
    opened.select_option("select", "name")
    assert [i for i in order() if i != "2"] == ["1", "4", "3"]


def test_failures_are_listed_with_their_reasons(opened):
    assert "2 failed" in opened.inner_text("h1")
    assert "no such lesion" in opened.inner_text(".failures")


@pytest.mark.parametrize("width", [390, 820])
def test_the_page_fits_the_screen(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_a_batch_of_failures_alone_is_a_page(tmp_path):
    text = page.write(tmp_path, [{"name": "a", "reason": "b"}]).read_text()
    assert "0 explanations, 1 failed" in text
