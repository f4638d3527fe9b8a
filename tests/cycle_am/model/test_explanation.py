"""What an explanation says of its images: the dial, the distance to the decision, and how it shows itself."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from cycle_am.model.model import BATCH
from cycle_am.place import Place
from tests.cycle_am.outputs.fakes import EVIL, explanation, images, model


def test_the_dial_goes_from_neg_over_x_to_pos():
    made = explanation(0.4, 0.6)
    dial = made.dial(np.array([-1, -0.5, 0, 0.25, 1]))
    np.testing.assert_allclose(dial[:, 0], made.x_neg)
    np.testing.assert_allclose(dial[:, 1], 0.75 * made.x, rtol=1e-6)
    np.testing.assert_allclose(dial[:, 2], made.x)
    np.testing.assert_allclose(dial[:, 3], made.x + 0.25 * (made.x_pos - made.x), rtol=1e-6)
    np.testing.assert_allclose(dial[:, 4], made.x_pos)


def test_each_case_may_have_positions_of_its_own():
    made = explanation(0.4, 0.6)
    dial = made.dial(np.array([[-1, 0], [0, 1]]))
    np.testing.assert_allclose(dial, np.stack([[made.x_neg[0], made.x[0]], [made.x[1], made.x_pos[1]]]))


def test_probabilities_along_the_dial_are_those_of_its_images():
    made = explanation(0.4, 0.6)
    positions = np.array([-1, 0, 1])
    for by, p in (("classifier", made.explained), ("judge", made.judge)):
        found = made.model.dial_probabilities(made, positions, by)
        np.testing.assert_allclose(found, np.stack([p.neg, p.x, p.pos], 1), rtol=1e-5)


@pytest.mark.parametrize("gain", [10.0, 5000.0])  # a steep classifier does not cross .5 on a straight line
def test_the_distance_is_where_the_answer_flips(gain):
    means = np.array([0.35, 0.45, 0.55, 0.65])
    to_pos, to_neg = (0.5 - means) / (1 - means) * 2, (means - 0.5) / means * 2
    distance = explanation(*means, gain=gain).distance()
    np.testing.assert_allclose(distance, np.where(means < 0.5, to_pos, to_neg), atol=2e-5)


def test_at_the_distance_the_answer_has_flipped_and_just_before_it_has_not():
    made = explanation(0.35, 0.64, gain=800.0)
    side = np.array([1, -1])
    distance = made.distance()
    p = made.model.dial_probabilities(made, side[:, None] * (distance[:, None] + np.array([-2e-5, 0])))
    assert ((p >= 0.5) == [[False, True], [True, False]]).all()


def test_there_is_no_distance_where_the_answer_never_flips():
    assert np.isnan(explanation(0.4, 0.6, still=True).distance()).all()


def test_many_cases_are_measured_in_bounded_memory():
    made = explanation(*np.linspace(0.35, 0.65, 3 * BATCH))
    classifier = made.model.networks["classifier"]
    classifier.largest = 0
    distance = made.distance()
    assert 0 < classifier.largest <= BATCH
    np.testing.assert_allclose(distance[[0, -1]], [made[0].distance()[0], made[-1].distance()[0]])


def test_it_is_short_in_words():
    assert repr(explanation(0.4, 0.6, 0.6, verdicts=("usable", "refused", "usable"))) == (
        "<cycle_am.Explanation of 3 images: 2 usable, 1 refused>"
    )
    assert repr(explanation(0.4)) == "<cycle_am.Explanation of 1 image: not assessed>"


def test_a_notebook_shows_verdict_and_panel():
    shown = explanation(0.4, verdicts=("doubtful",), places=(Place(EVIL),), name=EVIL)._repr_html_()
    assert "a reason for doubtful" in shown
    assert "<script" not in shown
    assert "onerror" not in shown
    assert shown.index("doubtful") < shown.index("<img")
    data = re.search(r"data:image/png;base64,([^\"]+)", shown)[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).width > 1700


def test_a_notebook_shows_the_first_of_many():
    shown = explanation(*[0.4] * 9)._repr_html_()
    assert shown.count("<img") == 4
    assert "5 more" in shown


def test_the_attribution_of_a_linear_model_is_known():
    made = explanation(0.4, gain=10.0)
    share = 10.0 / 64**2
    expected = share * ((made.x - made.x_neg) - (made.x_pos - made.x))
    np.testing.assert_allclose(made.attribution(), expected, atol=1e-6)


def test_explaining_leaves_the_images_as_they_are():
    given = images(0.4)
    made = model().explain(given)
    np.testing.assert_array_equal(made.x, given)
