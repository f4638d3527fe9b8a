"""The page: whole, escaped, free of outside resources."""

import base64
import re

import pytest
from PIL import Image

from cycle_am.estimate import Estimate, plain, undefined
from cycle_am.reports.page import (
    Headline,
    Picture,
    Report,
    Section,
    Table,
    number,
    p_value,
    with_interval,
    write_report,
)


def test_numbers_for_people():
    assert with_interval(Estimate(value=-0.5, ci_low=-1.0, ci_high=0.25, n=1)) == "−0.500 [−1.000, 0.250]"
    assert with_interval(undefined()) == number(float("nan")) == "–"
    assert with_interval(plain(17.94, 3), 1) == "17.9"
    assert [p_value(plain(p, 3)) for p in (1e-9, 0.01234, float("nan"))] == ["< 0.00001", "0.01234", "–"]


@pytest.mark.parametrize("nothing", [-0.0, -0.0004, 0.0004, 0.0])
def test_what_rounds_to_nothing_has_no_sign(nothing):
    assert number(nothing) == "0.000"
    assert number(nothing, 0) == "0"
    assert (
        with_interval(Estimate(value=nothing, ci_low=-0.002, ci_high=nothing, n=1), 2) == "0.00 [0.00, 0.00]"
    )
    assert number(-0.0006) == "−0.001"


def test_a_page_holds_its_pictures_and_escapes_its_data(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    picture = Picture(tmp_path / "a.png", 'a "red" <square>')
    section = Section("Part", ("text",), (Table(("A", "B"), [("<x>", "1")], "note"),), (picture,))
    report = Report(
        "Title & more", "lead", [Headline("n", "1", "2")], [section], {"Run": "<script>alert(1)</script>"}
    )
    page = write_report(tmp_path / "report.html", report).read_text()
    encoded = re.search(r'src="data:image/png;base64,([^"]+)"', page).group(1)
    assert base64.b64decode(encoded) == (tmp_path / "a.png").read_bytes()
    assert "<script" not in page
    assert "&lt;x&gt;" in page
    assert "Title &amp; more" in page
    assert page.count("<section>") == page.count("</section>") == 1


@pytest.mark.parametrize("count", [3, 4])
def test_headlines_fill_their_lines(tmp_path, count):
    report = Report("t", "l", [Headline("n", "1")] * count, [])
    page = write_report(tmp_path / "report.html", report).read_text()
    assert f"repeat({count}, 1fr)" in page
