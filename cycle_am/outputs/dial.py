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
from cycle_am.reports.colours import ACCENT, FIRST, PLAIN, SECOND

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation

SIDE, MARGIN = 256, 16
WIDTH, HEIGHT = SIDE + 2 * MARGIN, 444
TOP, SLIDER = 104, 54  # of the image, of the slider's middle
POSITIONS = np.linspace(-1, 1, 13)
FRAME_MS, PAUSE_MS = 110, 700  # the pause is at both ends and at x
GREYS = 64
UI = (FIRST, SECOND, *(look[1] for look in drawing.VERDICTS.values()))
COLOURS = [ImageColor.getrgb(colour) for colour in UI]
PALETTE = [int(g) for g in np.linspace(0, 255, GREYS).round().repeat(3)] + [
    v for colour in COLOURS for v in colour
]
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
    indexed = [frame.quantize(256) if _is_colour(frame) else _indexed(frame) for frame in drawn]
    turned = _there_and_back(indexed)
    turned[0].save(
        path, save_all=True, append_images=turned[1:], duration=_durations(len(drawn)), loop=0, optimize=False
    )
    return path


def write_mp4(path: Path, gif: Path) -> Path | None:
    """Turn the GIF into an MP4 that goes there and back once; None where there is no ffmpeg that can."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return None
    command = [
        ffmpeg,
        "-v",
        "error",
        "-nostdin",
        "-y",
        "-ignore_loop",
        "1",
        "-f",
        "gif",
        "-i",
        str(gif.resolve()),
    ]
    command += ["-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"]
    command += ["-movflags", "+faststart", "-f", "mp4", str(path.resolve())]
    try:
        subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)
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


def _is_colour(frame: Image.Image) -> bool:
    """Whether the image in a frame is."""
    pixels = np.asarray(frame, np.int16)[TOP : TOP + SIDE, MARGIN : MARGIN + SIDE]
    return bool(np.ptp(pixels, axis=-1).max() > 0)


def _indexed(frame: Image.Image) -> Image.Image:
    """In few greys, so that the file is small, and the colours of what is drawn around the image."""
    rgb = np.asarray(frame, np.int32)
    index = (np.asarray(frame.convert("L")) * ((GREYS - 1) / 255)).round().astype(np.uint8)
    code = (rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2]
    for i, (red, green, blue) in enumerate(COLOURS):
        index[code == (red << 16) + (green << 8) + blue] = GREYS + i
    indexed = Image.fromarray(index, "P")
    indexed.putpalette(PALETTE)
    return indexed


def _base(explanation: Explanation) -> Image.Image:
    """What all frames share: the verdict, and the names of the dial's ends."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), drawing.PAPER)
    pen = ImageDraw.Draw(canvas)
    word, _ = drawing.verdict(explanation)
    sign, colour = drawing.look(word)
    pen.text((MARGIN, 22), f"{sign} {word}", colour, drawing.font(15, bold=True), anchor="lm")
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
    canvas.paste(drawing.tile(image, SIDE), (MARGIN, TOP))
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
