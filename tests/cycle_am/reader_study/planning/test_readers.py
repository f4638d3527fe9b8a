"""Synthetic readers: variance components back by hand ANOVA, means through rounding and clipping, every ability."""

from dataclasses import replace

import numpy as np
import pytest

from cycle_am.reader_study.planning.readers import (
    PARTS,
    Ability,
    Model,
    Panel,
    balanced,
    expected_rating,
    impression,
    opinions,
    rate,
    ratings,
)

SD = dict(zip(PARTS, (0.6, 0.9, 0.5, 0.8, 0.7, 0.4), strict=True))
CORRELATION = np.array([[1, 0.8, 0.5], [0.8, 1, 0.6], [0.5, 0.6, 1]])


def make_model(**changes):
    means = np.array([[2.0, 1.5, 1.0], [-1.0, -1.5, -2.0], [-1.5, -1.0, 0.0], [-2.5, -2.0, -2.0]])
    sd = {part: np.array([1.0, 1.2, 0.8]) * value for part, value in SD.items()}
    model = Model(tuple("abcd"), ("x", "y", "z"), means, sd, CORRELATION, whole=False)
    return replace(model, **changes)


def draw(model, *abilities, studies=50, cases=12, seed=0):
    return ratings(model, np.random.default_rng(seed), studies, Panel(abilities), balanced(cases))


def mean_squares(x):
    """Of a full crossing (S, R, C, M), averaged over studies: every effect by hand."""
    _, readers, cases, methods = x.shape
    grand = x.mean((1, 2, 3), keepdims=True)
    r, c, m = (x.mean(axes, keepdims=True) for axes in ((2, 3), (1, 3), (1, 2)))
    rm, cm, rc = x.mean(2, keepdims=True), x.mean(1, keepdims=True), x.mean(3, keepdims=True)
    rest = x - rm - cm - rc + r + c + m - grand
    squares = {
        "reader": (r - grand, readers - 1),
        "case": (c - grand, cases - 1),
        "reader x method": (rm - r - m + grand, (readers - 1) * (methods - 1)),
        "case x method": (cm - c - m + grand, (cases - 1) * (methods - 1)),
        "rest": (rest, (readers - 1) * (cases - 1) * (methods - 1)),
    }
    return {
        name: (np.broadcast_to(effect, x.shape) ** 2).sum((1, 2, 3)).mean() / freedom
        for name, (effect, freedom) in squares.items()
    }


def test_variance_components_by_anova():
    readers, cases, methods = 8, 15, 4
    x = draw(make_model(), *[Ability()] * readers, studies=400, cases=cases)[..., 0]
    found = mean_squares(x)
    rest = found["rest"]
    preference = (found["reader x method"] - rest) / cases
    item = (found["case x method"] - rest) / readers
    severity = (found["reader"] - found["reader x method"]) / (cases * methods)
    case = (found["case"] - found["case x method"]) / (readers * methods)
    assert rest == pytest.approx(SD["opinion"] ** 2 + SD["noise"] ** 2, rel=0.03)
    assert preference == pytest.approx(SD["preference"] ** 2, rel=0.06)
    assert item == pytest.approx(SD["item"] ** 2, rel=0.06)
    assert severity == pytest.approx(SD["severity"] ** 2, rel=0.15)
    assert case == pytest.approx(SD["case"] ** 2, rel=0.15)


def test_a_second_look_differs_by_noise_alone():
    model, panel, rng = make_model(), Panel.of(5), np.random.default_rng(0)
    thought = opinions(model, rng, 40, panel, balanced(10))
    change = rate(model, rng, thought, panel) - rate(model, rng, thought, panel)
    assert change.std((0, 1, 2, 3)) == pytest.approx(model.sd["noise"] * np.sqrt(2), rel=0.03)


def test_means_and_correlations_of_the_criteria():
    model = make_model()
    x = draw(model, *[Ability()] * 6, studies=300)
    assert x.mean((0, 1, 2)) == pytest.approx(model.means, abs=0.1)
    within = (x - x.mean((0, 1, 2))).reshape(-1, 3)
    assert within.std(0) == pytest.approx(model.spread, rel=0.03)
    assert np.corrcoef(within, rowvar=False) == pytest.approx(CORRELATION, abs=0.02)


def test_malignant_lesions_may_be_rated_otherwise():
    x = draw(make_model(label=np.full((4, 3), 1.5)), Ability(), studies=600)
    difference = x[:, :, balanced(12) == 1].mean((0, 1, 2)) - x[:, :, balanced(12) == 0].mean((0, 1, 2))
    assert difference == pytest.approx(np.full((4, 3), 1.5), abs=0.15)


def test_expected_rating_by_hand_and_by_drawing():
    # Without spread it is rounding and clipping; in the middle it is the mean itself.
    assert expected_rating(np.array([1.4, -2.7, 9.0]), np.full(3, 1e-9)) == pytest.approx([1, -3, 4])
    assert expected_rating(np.array([0.0]), np.array([2.5])) == pytest.approx([0])
    drawn = np.random.default_rng(0).normal(2.8, 3.5, 400_000)
    assert expected_rating(np.array([2.8]), np.array([3.5])) == pytest.approx(
        [np.clip(np.rint(drawn), -4, 4).mean()], abs=0.02
    )


def test_impression_is_the_inverse_and_refuses_the_ends():
    means = np.array([[-3.9, 0.3], [1.9, 3.5]])
    spread = np.array([2.0, 3.0])
    assert expected_rating(impression(means, spread), spread) == pytest.approx(means, abs=1e-9)
    with pytest.raises(ValueError, match="between -4 and 4"):
        impression(np.array([4.0]), np.array([2.0]))


def test_ratings_are_whole_numbers_with_the_wanted_means():
    wanted = np.array([[1.9, 1.0, 0.5], [-2.5, -1, 0], [0.0, 0, 0], [3.0, 2, 1]])
    model = make_model(whole=True).expecting(wanted)
    x = draw(model, *[Ability()] * 6, studies=400, cases=24)
    assert set(np.unique(x)) == set(range(-4, 5))
    assert x.mean((0, 1, 2)) == pytest.approx(wanted, abs=0.06)


def test_abilities():
    panel = [
        Ability(),
        Ability(constant=2),
        Ability(random=1),
        Ability(discrimination=0),
        Ability(halo=1),
        Ability(scale=0.2),
    ]
    x = draw(make_model(whole=True), *panel, studies=200)
    usual, constant, thrown, blind, halo, timid = np.moveaxis(x, 1, 0)
    assert (constant == 2).all()
    _, counts = np.unique(thrown, return_counts=True)
    assert counts / thrown.size == pytest.approx(np.full(9, 1 / 9), abs=0.01)
    assert np.ptp(usual.mean((0, 1)), axis=0).min() > 2
    assert np.ptp(blind.mean((0, 1)), axis=0).max() < 0.35
    assert (halo == halo[..., :1]).all()
    assert np.abs(timid).max() <= 2


def test_noise_and_severity_of_a_reader():
    model = make_model()
    panel = Panel([Ability(noise=0, severity=-2.5), Ability()])
    rng = np.random.default_rng(0)
    thought = opinions(model, rng, 300, panel, balanced(6))
    first, second = rate(model, rng, thought, panel), rate(model, rng, thought, panel)
    assert (first[:, 0] == second[:, 0]).all()
    assert (first[:, 1] != second[:, 1]).all()
    assert (first[:, 1] - first[:, 0]).mean() == pytest.approx(2.5, abs=0.2)


def test_order_effect_runs_from_first_to_last():
    model = make_model(order=-1.0, sd={part: np.zeros(3) for part in PARTS})
    thought = np.zeros((1, 1, 5, 3))
    found = rate(model, np.random.default_rng(0), thought, Panel.of(1), np.linspace(0, 1, 5)[None, None])
    assert found[0, 0, :, 0] == pytest.approx([0.5, 0.25, 0, -0.25, -0.5])


def test_some_criteria_alone():
    model = make_model(label=0.3).only("z", "x")
    assert model.criteria == ("z", "x")
    assert model.means[0] == pytest.approx([1.0, 2.0])
    assert model.correlation == pytest.approx(np.array([[1, 0.5], [0.5, 1]]))
    assert model.label.shape == (4, 2)
    assert draw(model, Ability()).shape == (50, 1, 12, 4, 2)


def test_same_seed_same_study():
    model = make_model(whole=True)
    assert (draw(model, Ability(), seed=3) == draw(model, Ability(), seed=3)).all()
    assert (draw(model, Ability(), seed=3) != draw(model, Ability(), seed=4)).any()
