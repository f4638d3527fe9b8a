"""Plain pictures, grey or in colour, whose pixels have no size in mm: read, brought to one size, made cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from cycle_am.data.images import GREY, PICTURES
from cycle_am.errors import UserError
from cycle_am.task import Task

if TYPE_CHECKING:
    from cycle_am.data.cases import Cases

SUFFIXES = (*PICTURES, ".npy")
DEPTHS = {"u1": 255, "u2": 65535}
MOST_PIXELS = 100_000_000
BROKEN = (OSError, ValueError, EOFError, SyntaxError, TokenError, Image.DecompressionBombError)
NOTHING = np.zeros((0, 0))

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the file


class Picture(NamedTuple):
    """One of a set: values (H, W) or (H, W, 3) as a file has them, its class's number, and where it comes from."""

    values: np.ndarray
    label: int
    case_id: str
    patient_id: str
    box: Box | None = None


def read_picture(path: Path) -> np.ndarray:
    """(H, W) or (H, W, 3), of the file's own type; what is transparent is on black.

    Raises UserError where it is no picture, holds several, or values that are not finite.
    """
    try:
        values = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else _opened(path)
    except BROKEN as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{path} cannot be read ({reason}); mend the file or leave it out") from error
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] != 3):
        raise UserError(f"{path} has shape {values.shape}; a picture is (H, W) or (H, W, 3)")
    if values.dtype.kind not in "buif" or not np.isfinite(values).all():
        raise UserError(f"{path} holds {values.dtype} that are not all finite numbers; save it again")
    return values


def _opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise UserError(f"{path} holds {image.n_frames} pictures; save them apart")
        if image.width * image.height > MOST_PIXELS:
            raise UserError(f"{path} has {image.width} x {image.height} pixels; make it smaller")
        if image.mode in GREY:
            return np.array(image.convert("L") if image.mode == "1" else image)
        if "A" in image.getbands() or "transparency" in image.info:
            ground = Image.new("RGBA", image.size, "black")
            return np.array(Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB"))
        return np.array(image.convert("RGB"))


def unit(values: np.ndarray, span: Sequence[float] | None, name: str) -> np.ndarray:
    """float32 in [0, 1]. span: what becomes 0 and 1; None: the whole range of 8 or 16 bits, of fractions [0, 1].

    Raises UserError for other values without a span.
    """
    top = DEPTHS.get(values.dtype.str[1:])
    if top is None and values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        top = 1
    if span is None and top is None:
        raise UserError(f"{name} holds {values.dtype}; say what 0 and 1 stand for: data.range=[LOW,HIGH]")
    low, high = span if span is not None else (0, top)
    return np.clip((values.astype(np.float32) - low) / np.float32(high - low), 0, 1)


def in_channels(values: np.ndarray, channels: int) -> np.ndarray:
    """(C, H, W) of (H, W) or (H, W, 3): grey is repeated, colour becomes its luma (ITU-R BT.601)."""
    if values.ndim == 2:
        return np.repeat(values[None], channels, axis=0)
    if channels == 3:
        return np.moveaxis(values, -1, 0)
    return (values @ np.array([0.299, 0.587, 0.114], values.dtype))[None]


def squared(values: np.ndarray, side: int) -> tuple[np.ndarray, float, tuple[float, float]]:
    """(C, H, W) -> (C, side, side): the shorter side resized, with smoothing where it shrinks, and the middle cut out.

    Also the scale, and the (row, column) of the cut's upper left corner in the resized picture. A picture that has the
    size already is untouched.
    """
    height, width = values.shape[1:]
    scale = side / min(height, width)
    if scale != 1:
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        layers = [Image.fromarray(layer).resize(size, Image.Resampling.BILINEAR) for layer in values]
        values = np.clip(np.stack([np.asarray(layer) for layer in layers]), 0, 1)
    top, left = ((count - side) // 2 for count in values.shape[1:])
    return values[:, top : top + side, left : left + side], scale, (top, left)


def box_mask(box: Box, side: int, scale: float, corner: tuple[float, float]) -> np.ndarray:
    """(side, side) float32: 1 for pixels whose middle lies in the box, after `squared`."""
    left, top, right, bottom = (scale * edge for edge in box)
    rows, columns = (np.arange(side) + 0.5 + first for first in corner)
    inside = ((rows >= top) & (rows <= bottom))[:, None] & (columns >= left) & (columns <= right)
    return inside.astype(np.float32)


def span_in(task: Task) -> tuple[float, float] | None:
    """What 0 and 1 stand for in a picture's own values; None where these are the whole range of its type."""
    return None if (task.low, task.high) == (0, 1) else (task.low, task.high)


def to_window(values: np.ndarray, task: Task, name: str) -> np.ndarray:
    """A picture as a window of the task: (S, S) of one channel, else (C, S, S), float32 in [0, 1].

    Raises UserError where its values cannot be scaled.
    """
    channels = in_channels(unit(values, span_in(task), name), task.channels)
    image = squared(np.ascontiguousarray(channels), task.size)[0]
    return image[0] if task.channels == 1 else image


def to_cases(pictures: Iterable[Picture], task: Task, rim: int) -> Cases:
    """Pictures of any sizes as cases of the task, `rim` pixels around each window, one at a time.

    Raises UserError as its parts, and where there is none.
    """
    from cycle_am.data.cases import Cases  # with torch, which reading a picture does not need

    side, kept, images, masks = task.size + 2 * rim, [], [], []
    for picture in pictures:
        kept.append(picture._replace(values=NOTHING))
        values = in_channels(unit(picture.values, span_in(task), picture.case_id), task.channels)
        image, scale, corner = squared(np.ascontiguousarray(values), side)
        images.append(image)
        box = picture.box
        masks.append(
            np.zeros((side, side), np.float32) if box is None else box_mask(box, side, scale, corner)
        )
    if not kept:
        raise UserError(f"there is no picture of {' or '.join(task.classes)}")
    has_mask = np.array([picture.box is not None for picture in kept])
    stacked = np.ascontiguousarray(np.stack(images), dtype=np.float32)
    return Cases(
        image=stacked if task.channels > 1 else stacked[:, 0],
        mask=np.stack(masks) if has_mask.any() else None,
        label=np.array([picture.label for picture in kept], dtype=np.int64),
        case_id=np.array([picture.case_id for picture in kept]),
        patient_id=np.array([picture.patient_id for picture in kept]),
        margin=np.full(len(kept), rim, dtype=np.int64),
        diameter_mm=np.full(len(kept), np.nan, dtype=np.float32),
        pixel_mm=task.pixel_mm,
        has_mask=has_mask,
        task=task,
    )


def span_of(given: Sequence[float] | None) -> tuple[float, float] | None:
    """`data.range`, checked. Raises UserError where it is none."""
    if given is None:
        return None
    try:
        low, high = map(float, given)
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise UserError(f"data.range={given} is no range; give lowest and highest value, as [0,4095]")
    return low, high
