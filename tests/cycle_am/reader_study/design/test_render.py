"""Pictures: colours, scale and opacity against the rule by hand; one rule for all units; nothing but pixels."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cycle_am.reader_study.design import render
from cycle_am.reports.draw import VIVID_BLUE, VIVID_RED


def pixels(png):
    return np.asarray(Image.open(BytesIO(png))).astype(float)


def halves(left, right):
    field = np.full((64, 64), float(left))
    field[:, 32:] = right
    return field


def test_colour_is_the_sign_and_opacity_the_share_of_the_scale():
    shown = pixels(render.overlay(halves(-2, 1), 128))
    assert shown.shape == (128, 128, 4)
    assert shown[5, 5].tolist() == pytest.approx([*np.rint(VIVID_BLUE * 255), round(0.8 * 255)])
    assert shown[5, -5].tolist() == pytest.approx([*np.rint(VIVID_RED * 255), round(0.4 * 255)])
    assert not pixels(render.overlay(np.zeros((64, 64)), 64))[..., 3].any()


def test_units_do_not_matter_and_signs_do():
    noise = np.random.default_rng(0).normal(size=(64, 64))
    assert render.overlay(noise, 96) == render.overlay(noise * 1e-3, 96)
    assert render.overlay(noise, 96) != render.overlay(-noise, 96)


def test_a_single_bright_pixel_is_not_lost_where_the_percentile_is_0():
    spot = np.zeros((64, 64))
    spot[20, 30] = 1e-5
    opacity = pixels(render.overlay(spot, 64))[..., 3]
    assert np.unravel_index(opacity.argmax(), opacity.shape) == (20, 30)
    assert opacity.max() == round(0.8 * 255)


def test_original_keeps_its_grey_values_and_place():
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    assert (pixels(render.original(image, 64)) == np.rint(image * 255)).all()
    large = pixels(render.original(halves(0.2, 0.8), 512))
    assert large.shape == (512, 512)
    assert (large[:, :240] == 51).all()
    assert (large[:, 272:] == 204).all()


def test_files_hold_pixels_only():
    for png in (render.original(np.zeros((64, 64)), 64), render.overlay(halves(-1, 1), 64)):
        assert Image.open(BytesIO(png)).info == {}
        assert {png[8 + 4 : 8 + 8], png[-8:-4]} == {b"IHDR", b"IEND"}
        assert not any(kind in png for kind in (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"eXIf"))
