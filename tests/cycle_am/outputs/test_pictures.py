"""Panel and dial show the numbers that they are given."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageColor

from cycle_am.outputs import dial, drawing, panel
from cycle_am.place import Place
from cycle_am.reports.colours import FIRST, SECOND, diverging
from cycle_am.task import Task
from tests.cycle_am.outputs.fakes import EVIL, explanation


def tiles(made) -> list[np.ndarray]:
    """(SIDE, SIDE, 3) the five pictures of a panel, found by the top edge of its colour bars."""
    drawn = np.asarray(panel.draw(made))
    bar = np.asarray(drawing.colour_bar(panel.SIDE, 1))[0]
    left = panel.MARGIN + 3 * panel.STEP
    top = (
        next(y for y in range(len(drawn)) if (drawn[y, left : left + panel.SIDE] == bar).all())
        - 24
        - panel.SIDE
    )
    lefts = [panel.MARGIN + i * panel.STEP for i in range(5)]
    return [drawn[top : top + panel.SIDE, x : x + panel.SIDE] for x in lefts]


def test_the_panel_holds_the_images_and_both_maps():
    made = explanation(0.4, verdicts=("usable",))
    attribution = made.attribution()[0]
    expected = [
        *(np.repeat((image[0, ..., None] * 255).round(), 3, 2) for image in (made.x, made.x_neg, made.x_pos)),
        diverging(made.relevance[0] / 0.3),
        diverging(attribution / np.quantile(np.abs(attribution), 0.995)),
    ]
    for tile, values in zip(tiles(made), expected, strict=True):
        np.testing.assert_array_equal(tile[2::5, 2::5], values)  # the middles of the pixels


@pytest.mark.parametrize("verdict", ["usable", "doubtful", "refused"])
def test_the_verdict_comes_first(verdict):
    first = np.asarray(panel.draw(explanation(0.4, verdicts=(verdict,))))[
        : panel.MARGIN + 30, : panel.MARGIN + 60
    ]
    assert (first == ImageColor.getrgb(drawing.VERDICTS[verdict][1])).all(2).mean() > 0.2


def test_the_answer_has_its_colour():
    drawn = panel.draw(explanation(0.4, gain=100.0)).crop((0, 500, panel.WIDTH, 720))
    column = lambda i: drawn.crop((i * panel.STEP + panel.MARGIN, 0, (i + 1) * panel.STEP, 220))  # noqa: E731
    colours = [{colour for _, colour in column(i).getcolors(1 << 16)} for i in range(3)]
    red, blue = map(ImageColor.getrgb, (SECOND, FIRST))
    assert [red in found for found in colours] == [False, False, True]
    assert [blue in found for found in colours] == [True, True, False]


def test_the_distance_is_said_in_words():
    assert panel.distance_words(explanation(0.6)) == (
        "Distance to the decision: the answer becomes benign at 0.33 of the way from x to G⁻(x)."
    )
    assert "at less than 0.01 of the way" in panel.distance_words(explanation(0.5001))
    assert panel.distance_words(explanation(0.4, still=True)).endswith(
        "not become malignant on the way from x to G⁺(x)."
    )


def test_the_scale_is_in_the_units_of_the_task():
    wide = explanation(0.4, task=Task(low=-1000, high=1000))
    assert "−0.3 to 0.3 (600 HU)" in panel._foot(wide)[1][0]


def test_hostile_and_long_names_are_drawn():
    long = explanation(0.4, places=(Place(EVIL + "\x1b[2J" + "long " * 400),), name="x" * 500)
    size = panel.draw(long).size
    assert size[0] == panel.WIDTH
    assert size[1] < 1000


def test_an_image_that_nothing_changes_is_drawn():
    panel.draw(explanation(0.4, still=True))


def test_the_dial_turns_there_and_back(tmp_path):
    made = explanation(0.4, verdicts=("usable",))
    gif = Image.open(dial.write_gif(tmp_path / "dial.gif", dial.frames(made)))
    assert gif.n_frames == 2 * len(dial.POSITIONS) - 2
    assert gif.info["loop"] == 0
    shown = {0: made.x_neg, 6: made.x, 12: made.x_pos, 18: made.x}
    middle = slice(2, None, dial.SIDE // 64)
    for index, image in shown.items():
        gif.seek(index)
        assert gif.info["duration"] == dial.PAUSE_MS
        pixels = np.asarray(gif.convert("L"), float)[dial.TOP :, dial.MARGIN :][: dial.SIDE, : dial.SIDE]
        np.testing.assert_allclose(pixels[middle, middle] / 255, image[0], atol=0.011)  # 64 greys


def test_the_dial_is_small(tmp_path):
    noise = explanation(0.4).model.explain(np.random.default_rng(0).random((64, 64), np.float32), trust=False)
    assert dial.write_gif(tmp_path / "dial.gif", dial.frames(noise)).stat().st_size < 800_000


def test_p_stands_beside_the_image():
    made = explanation(0.4, gain=100.0)
    red = ImageColor.getrgb(SECOND)
    widths = [
        (np.asarray(frame) == red).all(2).sum(1).max() for frame in dial.frames(made, np.array([-1, 0, 1]))
    ]
    p = made.explained.pos[0]
    whole = dial.SIDE - 72 - 44
    assert widths[:2] == [0, 0]
    assert widths[2] == pytest.approx(p * whole, abs=4)


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="needs ffmpeg")
def test_the_film_has_the_length_of_the_animation(tmp_path):
    gif = dial.write_gif(tmp_path / "dial.gif", dial.frames(explanation(0.4)))
    film = dial.write_mp4(tmp_path / "dial.mp4", gif)
    found = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-of", "json", film], capture_output=True, check=True
    )
    (stream,) = json.loads(found.stdout)["streams"]
    assert (stream["width"], stream["height"], stream["codec_name"]) == (dial.WIDTH, dial.HEIGHT, "h264")
    assert float(stream["duration"]) == pytest.approx(
        sum(dial._durations(len(dial.POSITIONS))) / 1000, abs=0.8
    )


@pytest.mark.parametrize("found", [None, shutil.which("false")])
def test_there_is_no_film_without_an_ffmpeg_that_works(tmp_path, monkeypatch, found):
    monkeypatch.setattr(dial.shutil, "which", lambda _: found)
    gif = dial.write_gif(tmp_path / "dial.gif", dial.frames(explanation(0.4)))
    assert dial.write_mp4(tmp_path / "dial.mp4", gif) is None
    assert not (tmp_path / "dial.mp4").exists()


def test_long_words_are_cut_to_their_place():
    face = drawing.font(24)
    assert [drawing.fitted(text, face, 300) for text in ("benign", "a", "")] == ["benign", "a", ""]
    cut = drawing.fitted("squamous cell carcinoma " * 3, face, 300)
    assert cut.endswith("…")
    assert 250 < face.getlength(cut) <= 300
