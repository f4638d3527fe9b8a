"""The colours without matplotlib are matplotlib's."""

import matplotlib
import numpy as np

from cycle_am.reports.colours import DIVERGING, diverging


def test_the_diverging_colours_are_those_that_matplotlib_draws():
    values = np.linspace(-1, 1, 256)
    expected = matplotlib.colormaps[DIVERGING](np.arange(256))[:, :3] * 255
    assert np.abs(diverging(values) - expected).max() < 1


def test_what_is_beyond_has_the_colour_of_the_end():
    assert (diverging(np.array([-7.0, 7.0])) == diverging(np.array([-1.0, 1.0]))).all()
