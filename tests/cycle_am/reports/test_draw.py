"""What pictures compute for themselves."""

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_curve

from cycle_am.estimate import Estimate, undefined
from cycle_am.reports import draw as figures


def test_roc_points_are_sklearns_with_ties_moved_together():
    rng = np.random.default_rng(0)
    labels = (rng.random(60) < 0.5).astype(int)
    scores = np.round(rng.random(60) + 0.3 * labels, 1)
    expected = roc_curve(labels, scores, drop_intermediate=False)[:2]
    for mine, theirs in zip(figures.roc_points(scores, labels), expected, strict=True):
        assert mine == pytest.approx(theirs)


def test_overlay_is_grey_where_nothing_is_relevant_and_coloured_by_sign():
    image, relevance = np.full((1, 3), 0.5), np.array([[0.0, 1.0, -1.0]])
    grey, red, blue = figures.overlay(image, relevance)[0]
    assert grey.tolist() == [0.5, 0.5, 0.5]
    assert red[0] > red[2] + 0.3
    assert blue[2] > blue[0] + 0.3


def test_an_undefined_figure_is_drawn_as_not_available(tmp_path):
    groups = {"a": {"R": Estimate(value=0.5, ci_low=0.4, ci_high=0.6, n=9)}, "b": {"R": undefined()}}
    path = figures.intervals(tmp_path / "deep" / "picture.png", groups, "share", marks=(0.5,))
    with Image.open(path) as picture:
        assert picture.width == round(figures.WIDTH * figures.DPI)
