"""What panel and dial share: words, tiles and bars, drawn with Pillow, which starts faster than matplotlib."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cycle_am.reports.colours import ACCENT, FIRST, PLAIN, SECOND, diverging

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation

LINE, PAPER = "#dfe3e8", "#ffffff"
VERDICTS = {"usable": ("✓", "#1b7f4b"), "doubtful": ("!", "#8a5a00"), "refused": ("✕", "#333333")}
UNKNOWN = "not assessed"
Box = tuple[float, float, float, float]


def plain(text: object, limit: int = 80) -> str:
    """One line of printable characters, cut to `limit`."""
    words = "".join(c if c.isprintable() else " " for c in str(text)).split()
    line = " ".join(words)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def verdict(explanation: Explanation) -> tuple[str, tuple[str, ...]]:
    """The verdict on one case in a word, and its reasons."""
    if not explanation.trust:
        return UNKNOWN, ()
    return explanation.trust[0].verdict, tuple(explanation.trust[0].reasons)


def look(word: str) -> tuple[str, str]:
    """Sign and colour of a verdict."""
    return VERDICTS.get(word, ("?", PLAIN))


@lru_cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib (it has ⁻ and ⁺), found without importing matplotlib."""
    folder = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"DejaVuSans{'-Bold' if bold else ''}.ttf", size)


def tile(image: np.ndarray, side: int) -> Image.Image:
    """(H, W) or (3, H, W) in [0, 1] as a square of `side` pixels; nothing is smoothed."""
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    pixels = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def signed(values: np.ndarray, scale: float, side: int) -> Image.Image:
    """(H, W) from -scale (blue) to scale (red) as a square of `side` pixels."""
    return Image.fromarray(diverging(values / scale)).resize((side, side), Image.Resampling.NEAREST)


def colour_bar(width: int, height: int) -> Image.Image:
    """The colours from -1 to 1, left to right."""
    return Image.fromarray(np.tile(diverging(np.linspace(-1, 1, width)), (height, 1, 1)))


def probability_bar(draw: ImageDraw.ImageDraw, box: Box, p: float) -> None:
    """p from 0 to 1 along the box, red from .5 on, blue below, with a mark at .5."""
    left, top, right, bottom = box
    middle = (left + right) / 2
    draw.rectangle(box, fill="#eceff3")
    draw.rectangle((left, top, left + max(p * (right - left), 1), bottom), fill=SECOND if p >= 0.5 else FIRST)
    draw.line((middle, top - 4, middle, bottom + 4), fill=ACCENT, width=2)


def fitted(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, cut where it is wider than `width`."""
    cuts = (plain(text, length) for length in range(min(len(text), 100), 0, -1))
    return next((cut for cut in cuts if face.getlength(cut) <= width), "")


def share(distance: float) -> str:
    """A distance on the dial for people."""
    return f"{distance:.2f}" if distance >= 0.01 else "less than 0.01"


def wrapped(text: str, face: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Lines of words that fit the width; a longer word stands alone."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and face.getlength(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
