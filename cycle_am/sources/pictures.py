"""Pictures and arrays: grey values without a place, which may be windows already."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from cycle_am.data.images import GREY, PICTURES, hounsfield
from cycle_am.errors import UserError

RASTERS = (*PICTURES, ".npy")
SAME = 2  # of 255 by which the channels of a grey picture may differ: JPEG rounds


def read_raster(path: Path) -> np.ndarray:
    """Grey values as stored, (rows, columns) or (pages, rows, columns). Raises UserError for colours and objects."""
    if path.suffix.lower() == ".npy":
        return _array(path)
    try:
        with Image.open(path) as image:
            pages = [_grey(ImageOps.exif_transpose(page)) for page in ImageSequence.Iterator(image)]
    except Image.DecompressionBombError as error:
        raise UserError("the picture is larger than pictures are; cut the window out of it") from error
    if len({page.shape for page in pages}) > 1:
        raise UserError("its pages differ in size; save them as files of their own")
    return pages[0] if len(pages) == 1 else np.stack(pages)


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except TokenError as error:  # of a header that is no Python
        raise ValueError("damaged header") from error
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "biuf":
        raise UserError(
            f"it is {array.dtype} of shape {array.shape}; give numbers in (rows, columns) or (slices, rows, columns)"
        )
    return array


def _grey(page: Image.Image) -> np.ndarray:
    if page.mode in GREY:
        return np.array(page.convert("L") if page.mode == "1" else page)
    channels = np.array(page.convert("RGBA"))
    colours = channels[..., :3].astype(np.int16)
    if np.ptp(colours, axis=2).max() > SAME:
        raise UserError("it is a picture in colours, the model explains grey ones; save it as greyscale")
    if channels[..., 3].min() < 255:
        raise UserError("it is a picture with transparent parts; save it without")
    return channels[..., 0]


def unit_values(path: Path, array: np.ndarray) -> np.ndarray | None:
    """float32 in [0, 1] of 8-bit values, pictures of 16 bit, and fractions; None where they are none of these."""
    if array.dtype == np.uint8 or (array.dtype.kind == "u" and path.suffix.lower() in PICTURES):
        return np.clip(hounsfield(path, array, (0.0, 1.0)), 0, 1).astype(np.float32)
    fractions = array.dtype.kind == "f" and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1
    return array.astype(np.float32) if fractions else None
