"""The pictures of a study: the same rule for every method, and nothing in the file but the pixels.

Each map is drawn in units of its own case: full colour at the 99th percentile of |map|, because the methods' units
(logits, grey values) have nothing in common. Opacity is proportional to |map|, so that noise around 0 is not
enlarged for anybody. CycleAM's R is drawn as it is, as in the paper's figure 6.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from cycle_am.reports.draw import tint

PERCENTILE = 99.0


def original(image: np.ndarray, size: int) -> bytes:
    """PNG (8 bit grey, size x size) of an image (H, W) in [0, 1]."""
    return _png(_enlarged(image, size))


def overlay(relevance: np.ndarray, size: int) -> bytes:
    """PNG (RGBA, size x size) of a map (H, W), red positive, blue negative, transparent at 0."""
    scale = np.percentile(np.abs(relevance), PERCENTILE) or np.abs(relevance).max() or 1.0
    return _png(tint(_enlarged(relevance / scale, size)))


def _enlarged(values: np.ndarray, size: int) -> np.ndarray:
    """(H, W) -> (size, size), bicubic."""
    smooth = Image.fromarray(np.asarray(values, dtype=np.float32)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    return np.asarray(smooth)


def _png(values: np.ndarray) -> bytes:
    """PNG of values in [0, 1], without any metadata."""
    stream = BytesIO()
    Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(
        stream, "png", compress_level=6
    )
    return stream.getvalue()
