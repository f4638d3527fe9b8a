"""The page of all runs: nothing of its data is ever code, and it does in a browser what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from cycle_am.app.tasks.evaluate import evaluate as evaluate_entry
from cycle_am.errors import UserError
from cycle_am.reports.dashboard import POINTS, content, differing, embedded, packed, swept, write_dashboard
from cycle_am.runs.index import collect
from tests.browser import started
from tests.cycle_am.runs.runs import SCORE, evaluate, make_run
from tests.helpers import composed

EVIL = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1><!--"


@pytest.fixture
def runs_dir(tmp_path) -> Path:
    """Three runs of two experiments, one of them evaluated, one with settings meant to break out of the page."""
    first = make_run(tmp_path / "cycle_am_small/blobs/a b#1", seed=1, level=0.3, epochs=5)
    evaluate(first / "evaluation", 0.9)
    make_run(tmp_path / "cycle_am_small/blobs/two", seed=2, level=0.8, note=EVIL)
    make_run(tmp_path / "classifier/blobs/three", seed=3, level=0.5, finished=False, name="classifier")
    return tmp_path


def test_embedded_json_cannot_end_its_element():
    text = embedded({"key": EVIL + "&amp;\u2028"})
    assert not re.search("[<>&]", text)
    assert json.loads(text) == {"key": EVIL + "&amp;\u2028"}


def test_the_page_holds_one_script_that_its_policy_allows(runs_dir):
    page = write_dashboard(runs_dir / "dashboard.html", collect(runs_dir)).read_text()
    assert EVIL not in page
    assert page.count("<script") == page.count("</script>") == 2  # the data and what shows it
    assert re.search(r"default-src 'none'.*script-src 'sha256-[\w+/=]{44}'", page)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)


def test_only_settings_that_differ_are_kept(runs_dir):
    runs = collect(runs_dir)
    assert differing(runs) == ["model.note", "seed"]
    columns = content(runs, runs_dir)["columns"]
    assert {"group": "settings", "key": "seed", "shown": True} in columns
    assert {"group": "figures", "key": "classifier/auc", "shown": True} in columns


def test_what_a_sweep_varied_is_shown_at_first(tmp_path):
    for job, note in enumerate(("a", "b")):
        make_run(tmp_path / f"cycle_am_small/blobs/multirun/now/{job}", seed=1, note=note)
    make_run(tmp_path / "cycle_am_small/blobs/single", seed=1, note="c")
    make_run(tmp_path / "classifier/blobs/single", seed=1, name="classifier", note=None)
    runs = collect(tmp_path)
    assert swept(runs) == {"model.note"}
    assert {"group": "settings", "key": "model.note", "shown": True} in content(runs, tmp_path)["columns"]
    assert swept(run for run in runs if not run.group) == set()


def test_long_curves_are_thinned_and_share_their_axes():
    steps = np.arange(10_000.0)
    curve = np.column_stack([steps, steps / 100, np.sin(steps)])
    curve[-1, 2] = np.nan
    found = packed({"a": curve, "b": curve})
    assert len(found["x"]) == 1
    assert found["y"]["b"][0] == 0
    assert len(found["y"]["a"][1]) == POINTS == len(found["x"][0][0])
    assert (found["x"][0][0][0], found["x"][0][0][-1]) == (0, 9999)
    assert found["y"]["a"][1][-1] is None


def test_the_entry_needs_no_run_of_the_experiment(runs_dir, tmp_path):
    overrides = ["evaluation=runs", f"paths.runs={runs_dir}"]
    page = evaluate_entry(composed(overrides, tmp_path, config="evaluate"))
    assert page == runs_dir / "dashboard.html"
    out = evaluate_entry(composed([*overrides, f"out_dir={tmp_path}/out"], tmp_path, config="evaluate"))
    assert out == tmp_path / "out/dashboard.html"
    nowhere = composed(["evaluation=runs", f"paths.runs={tmp_path}/nowhere"], tmp_path, config="evaluate")
    with pytest.raises(UserError, match=r"paths\.runs=.*nowhere: there is no such folder"):
        evaluate_entry(nowhere)


@pytest.fixture(scope="module")
def browser():
    """A real browser; starting one takes longer than everything that is done in it."""
    yield from started()


@pytest.fixture
def page(browser, runs_dir, tmp_path):
    """The page of `runs_dir`, opened; fails on errors, messages and addresses that are no files."""
    file = write_dashboard(tmp_path / "out dir" / "dashboard.html", collect(runs_dir))
    said, asked = [], []
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    yield page
    assert page.evaluate("window.broken") is None
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def names(page) -> list[str]:
    """The runs of the table, from top to bottom."""
    return page.locator("#runs tbody th .name").all_text_contents()


def choose(page, *runs: str) -> None:
    """Select runs to compare."""
    for run in runs:
        page.locator("#runs tbody tr", has_text=run).locator("input").check()


ONE, TWO, THREE = "cycle_am_small/blobs/a b#1", "cycle_am_small/blobs/two", "classifier/blobs/three"


def test_filter_and_sort(page):
    assert names(page) == [THREE, TWO, ONE]  # the newest first
    header = page.locator("#runs thead button", has_text="best score")
    header.click()
    assert names(page) == [ONE, THREE, TWO]
    page.keyboard.press("Enter")  # the header keeps the focus
    assert names(page) == [TWO, THREE, ONE]
    assert page.locator("th[aria-sort=descending]").inner_text() == "best score"
    page.fill("#text", "blobs seed=1")
    assert names(page) == [ONE]
    page.fill("#text", "")
    page.select_option("#status", "unfinished")
    assert names(page) == [THREE]
    page.select_option("#experiment", "cycle_am_small")
    assert names(page) == []
    assert page.locator("#empty").inner_text() == "No run matches."


def test_columns_are_chosen(page):
    assert page.locator("#runs thead button", has_text="commit").count() == 0
    page.locator("#columns summary").click()
    page.fill("#column-text", "comm")
    page.locator("#column-list input").check()
    assert page.locator("#runs thead button", has_text="commit").count() == 1
    page.keyboard.press("Escape")
    assert not page.locator("#column-list").is_visible()


def test_two_runs_side_by_side(page):
    assert not page.locator("#compare").is_visible()
    choose(page, "a b#1", "two")
    chart = page.locator(f"figure[data-metric='{SCORE}']")
    curves = chart.locator("path.curve")
    assert [path.get_attribute("d").count("L") for path in curves.all()] == [4, 2]  # five and three epochs
    assert len({path.get_attribute("class") for path in curves.all()}) == 2
    assert page.locator("#legend .chip").all_inner_texts() == [f"{ONE}\n×", f"{TWO}\n×"]
    pictures = page.locator("#pictures img")
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
    page.wait_for_function(
        "[...document.querySelectorAll('#pictures img')].every((i) => i.naturalWidth === 30)"
    )
    assert page.locator("#pictures figcaption").all_inner_texts() == [f"{ONE}, epoch 5", f"{TWO}, epoch 3"]
    page.locator("#epoch").fill("2")
    assert page.locator("#pictures figcaption").all_inner_texts() == [f"{ONE}, epoch 2", f"{TWO}, epoch 2"]
    rows = page.locator("#diff tbody tr").all_inner_texts()
    assert rows == [f"model.note\tnull\t{EVIL}", "seed\t1\t2"]
    assert page.locator("#figures tbody tr").all_inner_texts() == ["classifier/auc\t0.9\t–"]
    assert page.locator("#repeat code").first.inner_text().endswith("--config-name repeat")
    page.locator("#legend button").first.click()
    assert page.locator("#legend .chip").count() == 1
    assert page.locator("#runs tbody input:checked").count() == 1


def test_curves_are_read_smoothed_and_on_a_log_scale(page):
    choose(page, "a b#1", "two")
    chart = page.locator(f"figure[data-metric='{SCORE}']")
    chart.locator("svg.plot").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    readout = chart.locator(".readout")
    assert readout.inner_text().split() == ["epoch", "2", "0.12", *ONE.split(), "0.5333", TWO]
    page.keyboard.press("End")  # beyond the shorter run
    assert readout.inner_text().split()[:3] == ["epoch", "5", "0.3"]
    page.keyboard.press("Escape")
    assert not readout.is_visible()
    chart.locator("svg.plot").hover()
    assert readout.is_visible()
    before = chart.locator("path.curve").first.get_attribute("d")
    page.locator("#log").check()
    logarithmic = chart.locator("path.curve").first.get_attribute("d")
    assert logarithmic != before
    page.locator("#smooth").fill("0.8")
    assert chart.locator("path.faint").first.get_attribute("d") != chart.locator(
        "path.curve"
    ).first.get_attribute("d")
    page.select_option("#axis", "0")
    chart.locator("svg.plot").focus()
    page.keyboard.press("Home")
    assert readout.inner_text().startswith("step 9")


def test_one_column_against_another(page):
    choose(page, "a b#1", "two", "three")
    page.select_option("#across", label="seed")
    page.select_option("#up", label="best score")
    dots = page.locator("#scatter circle")
    labels = [dot.get_attribute("aria-label") for dot in dots.all()]
    assert labels == [f"{ONE}: 1, 0.3", f"{TWO}: 2, 0.8", f"{THREE}: 3, 0.5"]
    places = [(float(dot.get_attribute("cx")), float(dot.get_attribute("cy"))) for dot in dots.all()]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert x2 - x1 == pytest.approx(x3 - x2)
    assert y1 > y3 > y2  # upwards is more
    assert (y1 - y3) / (y1 - y2) == pytest.approx(0.4)
    page.locator("#across-log").check()
    x1, x2, x3 = (float(dot.get_attribute("cx")) for dot in dots.all())
    assert (x2 - x1) / (x3 - x1) == pytest.approx(np.log(2) / np.log(3))
    dots.last.focus()
    assert page.locator("#scatter .readout").inner_text().split("\n")[-2:] == ["3, 0.5", THREE]
    page.locator("#legend button").last.click()
    assert dots.count() == 2
    assert page.locator("#across").input_value() == "settings seed"


def test_on_a_phone_nothing_is_wider_than_the_screen(page):
    page.set_viewport_size({"width": 360, "height": 740})
    choose(page, "a b#1", "two", "three")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
