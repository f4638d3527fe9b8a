"""Equal lengths: the same pixels in as many bytes as wanted, and nothing in the file but them."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cycle_am.reader_study.design import render
from cycle_am.reader_study.design.blind import _beside_pixels
from cycle_am.reader_study.design.padding import SURELY, common_size, padded


def overlays(count=12, size=128):
    """Pictures of four kinds of maps, from smooth to noise, `count` of each."""
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(count, n, n)) for n in (4, 8, 16, 64)]
    grown = [np.kron(one, np.ones((64 // one.shape[-1],) * 2)) for one in maps]
    return [[render.overlay(one, size) for one in kind] for kind in grown]


@pytest.mark.parametrize("more", [0, *range(SURELY, SURELY + 12), 5000])
def test_any_length_holds_the_same_pixels_and_nothing_else(more):
    png = overlays(1)[3][0]
    longer = padded(png, len(png) + more)
    assert len(longer) == len(png) + more
    assert list(_beside_pixels(longer)) == []
    again, before = Image.open(BytesIO(longer)), Image.open(BytesIO(png))
    again.load()
    assert (again.mode, again.size, again.info) == (before.mode, before.size, {})
    assert again.tobytes() == before.tobytes()
    assert padded(longer, len(longer)) == longer


def guessed(sizes):
    """Share of pictures whose method is told by its length: that whose other pictures' mean length is the nearest."""
    sizes = np.array(sizes, float)
    count = sizes.shape[1]
    right = 0
    for m, i in np.ndindex(*sizes.shape):
        others = (sizes.sum(1) - np.eye(len(sizes))[m] * sizes[m, i]) / (count - np.eye(len(sizes))[m])
        right += np.abs(others - sizes[m, i]).argmin() == m
    return right / sizes.size


def test_the_length_tells_no_method():
    kinds = overlays()
    sizes = [[len(png) for png in kind] for kind in kinds]
    assert guessed(sizes) > 0.9
    size = common_size([one for kind in sizes for one in kind])
    assert guessed([[len(padded(png, size)) for png in kind] for kind in kinds]) == 0.25


def test_common_size():
    assert common_size([]) == 0
    assert common_size([700, 700]) == 700
    assert common_size([1, 4000]) == 4096
    assert common_size([1, 4096 - SURELY + 1]) == 8192


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="no PNG file"):
        padded(b"GIF89a" + bytes(100), 4096)
