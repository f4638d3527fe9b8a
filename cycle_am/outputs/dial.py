"""The dial: from G-(x) over x to G+(x) and back, with p by both classifiers beside the image; as GIF and as MP4."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from cycle_am.outputs import drawing
from evaluation.colours import ACCENT, BENIGN, MALIGNANT, PLAIN

if TYPE_CHECKING:
    from cycle_am.explanation import Explanation

SIDE, MARGIN = 256, 16
WIDTH, HEIGHT = SIDE + 2 * MARGIN, 432
TOP, SLIDER = 76, 26  # of the image, of the slider's middle
POSITIONS = np.linspace(-1, 1, 25)
FRAME_MS, PAUSE_MS = 60, 600  # the pause is at both ends and at x
GREYS = 64
UI = (
    "#ffffff",
    "#eceff3",
    ACCENT,
    PLAIN,
    BENIGN,
    MALIGNANT,
    *(look[1] for look in drawing.VERDICTS.values()),
)
SECONDS = 60  # after which ffmpeg is given up


def frames(explanation: Explanation, positions: np.ndarray = POSITIONS) -> list[Image.Image]:
    """One picture for each position of one case (N = 1)."""
    images = explanation.dial(positions)[0]
    explained, judge = (
        explanation.model.dial_probabilities(explanation, positions, by)[0] for by in ("classifier", "judge")
    )
    base = _base(explanation)
    return [
        _frame(
            base, image, float(at), {"explained": float(p), "judge": float(q)}, explanation.model.task.classes
        )
        for image, at, p, q in zip(images, positions, explained, judge, strict=True)
    ]


def write_gif(path: Path, drawn: Sequence[Image.Image]) -> Path:
    """Write the frames as a GIF that goes there and back without end."""
    palette = _palette()
    turned = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in drawn]
    turned = _there_and_back(turned)
    turned[0].save(
        path, save_all=True, append_images=turned[1:], duration=_durations(len(drawn)), loop=0, optimize=False
    )
    return path


def write_mp4(path: Path, drawn: Sequence[Image.Image]) -> Path | None:
    """Write the frames as an MP4 that goes there and back once; None where there is no ffmpeg that can."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return None
    shown = zip(_there_and_back(drawn), _durations(len(drawn)), strict=True)
    raw = b"".join(frame.tobytes() * round(ms / FRAME_MS) for frame, ms in shown)
    command = [ffmpeg, "-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", f"1000/{FRAME_MS}", "-i", "pipe:0", "-an"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]
    command += ["-movflags", "+faststart", "-f", "mp4", str(path.resolve())]
    try:
        subprocess.run(command, input=raw, capture_output=True, timeout=SECONDS, check=True)
    except (subprocess.SubprocessError, OSError):
        path.unlink(missing_ok=True)
        return None
    return path


def _there_and_back(sequence: Sequence[Image.Image]) -> list[Image.Image]:
    return [*sequence, *sequence[-2:0:-1]]


def _durations(count: int) -> list[int]:
    """Milliseconds of each frame, there and back."""
    stops = (0, count // 2, count - 1)
    there = [PAUSE_MS if i in stops else FRAME_MS for i in range(count)]
    return [*there, *there[-2:0:-1]]


def _palette() -> Image.Image:
    """Few greys, so that the file is small, and the colours of what is drawn around the image."""
    greys = np.linspace(0, 255, GREYS).round().astype(int)
    colours = [(g, g, g) for g in greys] + [ImageColor.getrgb(colour) for colour in UI]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in colours for value in colour])
    return palette


def _base(explanation: Explanation) -> Image.Image:
    """What all frames share: the verdict, and the names of the dial's ends."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), drawing.PAPER)
    pen = ImageDraw.Draw(canvas)
    word, _ = drawing.verdict(explanation)
    sign, colour = drawing.look(word)
    pen.text((MARGIN, HEIGHT - 14), f"{sign} {word}", colour, drawing.font(13, bold=True), anchor="ls")
    pen.line((MARGIN, SLIDER, WIDTH - MARGIN, SLIDER), PLAIN, 2)
    for share, name, anchor in ((0, "G⁻(x)", "la"), (0.5, "x", "ma"), (1, "G⁺(x)", "ra")):
        x = MARGIN + share * SIDE
        pen.line((x, SLIDER - 6, x, SLIDER + 6), PLAIN, 2)
        pen.text((x, SLIDER + 14), name, ACCENT, drawing.font(15, bold=True), anchor=anchor)
    return canvas


def _frame(
    base: Image.Image, image: np.ndarray, at: float, p: dict[str, float], classes: tuple[str, str]
) -> Image.Image:
    canvas = base.copy()
    canvas.paste(drawing.grey(image, SIDE), (MARGIN, TOP))
    pen = ImageDraw.Draw(canvas)
    knob = MARGIN + (at + 1) / 2 * SIDE
    pen.rounded_rectangle((knob - 5, SLIDER - 11, knob + 5, SLIDER + 11), 4, fill=ACCENT)
    top = TOP + SIDE + 14
    pen.text((MARGIN, top), f"p({drawing.plain(classes[1], 20)})", PLAIN, drawing.font(12))
    for row, (by, value) in enumerate(p.items()):
        y = top + 26 + 22 * row
        pen.text((MARGIN, y), by, ACCENT, drawing.font(13), anchor="lm")
        drawing.probability_bar(pen, (MARGIN + 72, y - 6, WIDTH - MARGIN - 44, y + 6), value)
        pen.text((WIDTH - MARGIN, y), f"{value:.2f}", ACCENT, drawing.font(14, bold=True), anchor="rm")
    return canvas
