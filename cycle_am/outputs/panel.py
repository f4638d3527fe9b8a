"""One picture of one case: the verdict, x, G-(x), G+(x) with what both classifiers say, R and the attribution.

It is drawn at twice the size at which it is read (about 900 pixels wide).
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from cycle_am.outputs import drawing
from cycle_am.reports.colours import ACCENT, PLAIN, RELEVANCE_SCALE, scale_words

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation

SIDE, GAP, MARGIN = 320, 24, 36  # of tiles, between them, around all, in pixels
STEP = SIDE + GAP
WIDTH = 2 * MARGIN + 5 * SIDE + 4 * GAP
NO_REASON = {
    "usable": "no reason against this explanation was found",
    drawing.UNKNOWN: "how far it may be trusted was not asked for",
}
ATTRIBUTION = (
    "Attribution: for which class pixels speak, in log odds of the explained classifier; on its own scale."
)
NO_ATTRIBUTION = "No attribution: an exported model has no gradients."
BEYOND = 0.995  # share of pixels of the attribution that are drawn within its scale


def draw(explanation: Explanation) -> Image.Image:
    """The panel of one case (N = 1)."""
    head, foot = _head(explanation), _foot(explanation)
    canvas = Image.new("RGB", (WIDTH, 1500), drawing.PAPER)
    pen = ImageDraw.Draw(canvas)
    top = _lines(pen, _badge(pen, explanation), *head) + 26
    _titles(pen, explanation, top)
    _tiles(canvas, explanation, top + 76)
    _probabilities(pen, explanation, top + 76 + SIDE + 20)
    _scales(canvas, pen, explanation, top + 76 + SIDE + 20)
    bottom = _lines(pen, (MARGIN, top + 76 + SIDE + 152), *foot)
    return canvas.crop((0, 0, WIDTH, bottom + MARGIN))


def png(explanation: Explanation) -> bytes:
    """The panel as the bytes of a PNG file."""
    buffer = io.BytesIO()
    draw(explanation).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def write(path: Path, explanation: Explanation) -> Path:
    """Write the panel of one case as a PNG file."""
    path.write_bytes(png(explanation))
    return path


def distance_words(explanation: Explanation) -> str:
    """The distance to the decision in a sentence."""
    distance, p = float(explanation.distance()[0]), float(explanation.explained.x[0])
    towards, other = ("G⁻(x)", 0) if p >= 0.5 else ("G⁺(x)", 1)
    name = drawing.plain(explanation.model.task.classes[other], 24)
    told = (
        f"none; the answer does not become {name} on the way from x to {towards}."
        if math.isnan(distance)
        else f"the answer becomes {name} at {drawing.share(distance)} of the way from x to {towards}."
    )
    return f"Distance to the decision: {told}"


def attribution_scale(attribution: np.ndarray) -> float:
    """Largest |value| that is drawn in a colour of its own."""
    return float(np.quantile(np.abs(attribution), BEYOND)) or 1.0


def _badge(pen: ImageDraw.ImageDraw, explanation: Explanation) -> tuple[int, int]:
    """The verdict, first and largest; returns where its reasons go."""
    word, _ = drawing.verdict(explanation)
    sign, colour = drawing.look(word)
    face, text = drawing.font(36, bold=True), f"{sign} {word}"
    right = MARGIN + face.getlength(text) + 40
    pen.rounded_rectangle((MARGIN, MARGIN - 8, right, MARGIN + 52), 12, fill=colour)
    pen.text((MARGIN + 20, MARGIN + 22), text, drawing.PAPER, face, anchor="lm")
    return round(right) + 24, MARGIN


def _head(explanation: Explanation) -> list[tuple[str, int, str]]:
    """(text, size, colour) of what stands beside the badge: why, and which case by which model."""
    word, reasons = drawing.verdict(explanation)
    name = explanation.place[0].name if explanation.place else ""
    case = " · ".join(drawing.plain(part) for part in (name, explanation.model.name) if part)
    why = "; ".join(map(drawing.plain, reasons)) or NO_REASON.get(word, "")
    return [(why, 30, ACCENT), (case, 26, PLAIN)]


def _foot(explanation: Explanation) -> list[tuple[str, int, str]]:
    task = explanation.model.task
    return [
        (distance_words(explanation), 28, ACCENT),
        (
            f"R: red is brighter where {drawing.plain(task.classes[1], 24)}, blue is darker; "
            f"{scale_words(task)}. {ATTRIBUTION if explanation.model.gradients else NO_ATTRIBUTION}",
            24,
            PLAIN,
        ),
    ]


def _lines(pen: ImageDraw.ImageDraw, at: tuple[int, int], *parts: tuple[str, int, str]) -> int:
    """Paragraphs below each other from `at` to the right margin; returns the y below them."""
    left, top = at
    for text, size, colour in parts:
        for line in drawing.wrapped(text, drawing.font(size), WIDTH - MARGIN - left):
            pen.text((left, top), line, colour, drawing.font(size))
            top += round(size * 1.35)
    return top


def _columns(explanation: Explanation) -> int:
    return 5 if explanation.model.gradients else 4


def _titles(pen: ImageDraw.ImageDraw, explanation: Explanation, top: int) -> None:
    first, second = explanation.model.task.classes
    titles = (
        ("x", "as it is"),
        ("G⁻(x)", f"towards {first}"),
        ("G⁺(x)", f"towards {second}"),
        ("R", "G⁺(x) − G⁻(x)"),
        ("attribution", "evidence, log odds"),
    )
    for column, (title, below) in enumerate(titles[: _columns(explanation)]):
        pen.text((MARGIN + column * STEP, top), title, ACCENT, drawing.font(30, bold=True))
        below = drawing.fitted(below, drawing.font(24), SIDE)
        pen.text((MARGIN + column * STEP, top + 38), below, PLAIN, drawing.font(24))


def _tiles(canvas: Image.Image, explanation: Explanation, top: int) -> None:
    tiles = [drawing.tile(image[0], SIDE) for image in (explanation.x, explanation.x_neg, explanation.x_pos)]
    tiles.append(drawing.signed(explanation.relevance[0], RELEVANCE_SCALE, SIDE))
    if explanation.model.gradients:
        attribution = explanation.attribution()[0]
        tiles.append(drawing.signed(attribution, attribution_scale(attribution), SIDE))
    for column, tile in enumerate(tiles):
        canvas.paste(tile, (MARGIN + column * STEP, top))
        box = (MARGIN + column * STEP, top, MARGIN + column * STEP + SIDE - 1, top + SIDE - 1)
        ImageDraw.Draw(canvas).rectangle(box, outline=drawing.LINE)


def _probabilities(pen: ImageDraw.ImageDraw, explanation: Explanation, top: int) -> None:
    """p by both classifiers below each image."""
    name = drawing.fitted(explanation.model.task.classes[1], drawing.font(24), SIDE - 50)
    for column in range(3):
        left = MARGIN + column * STEP
        pen.text((left, top), f"p({name})", PLAIN, drawing.font(24))
        pairs = (("explained", explanation.explained), ("judge", explanation.judge))
        for row, (by, p) in enumerate(pairs):
            y, value = top + 50 + 40 * row, float(p[column][0])
            pen.text((left, y), by, ACCENT, drawing.font(24), anchor="lm")
            drawing.probability_bar(pen, (left + 128, y - 10, left + SIDE - 76, y + 10), value)
            pen.text((left + SIDE, y), f"{value:.2f}", ACCENT, drawing.font(26, bold=True), anchor="rm")


def _scales(canvas: Image.Image, pen: ImageDraw.ImageDraw, explanation: Explanation, top: int) -> None:
    """The colour bars of R and of the attribution."""
    task = explanation.model.task
    hu = RELEVANCE_SCALE * (task.high - task.low)
    ends = (f"−{hu:.0f} HU", f"+{hu:.0f} HU") if task.is_hounsfield else ("darker", "brighter")
    bars = [(3, (f"−{RELEVANCE_SCALE:g}", "0", f"{RELEVANCE_SCALE:g}"), ends)]
    if explanation.model.gradients:
        evidence = attribution_scale(explanation.attribution()[0])
        names = [drawing.fitted(name, drawing.font(24), SIDE / 2 - 8) for name in task.classes]
        bars.append((4, (f"−{evidence:.1g}", "0", f"{evidence:.1g}"), names))
    for column, ticks, ends in bars:
        left = MARGIN + column * STEP
        canvas.paste(drawing.colour_bar(SIDE, 18), (left, top + 4))
        for tick, share, anchor in zip(ticks, (0, 0.5, 1), ("la", "ma", "ra"), strict=True):
            pen.text((left + share * SIDE, top + 28), tick, ACCENT, drawing.font(24), anchor=anchor)
        for end, share, anchor in zip(ends, (0, 1), ("la", "ra"), strict=True):
            pen.text((left + share * SIDE, top + 60), end, PLAIN, drawing.font(24), anchor=anchor)
