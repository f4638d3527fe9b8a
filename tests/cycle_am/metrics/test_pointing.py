"""Pointing, mass and ranks on maps worked out by hand, and at both ends of every scale."""

from dataclasses import replace

import numpy as np
import pytest

from cycle_am.data.phantom.cohort import cohort
from cycle_am.metrics import localisation as pt
from cycle_am.metrics.localisation import Regions, regions
from datamodules.planted import CUES, plant_cases
from tests.cycle_am.metrics.fakes import make_cases


def hand_worked():
    """6 x 6, a 2 x 2 mask; |R| ranks: 5 outside, 2, 2 inside, 1.5 outside, 1 inside, rest nothing."""
    relevance, mask = np.zeros((1, 6, 6)), np.zeros((1, 6, 6), dtype=bool)
    mask[0, 2:4, 2:4] = True
    relevance[0, 2, 4], relevance[0, 2, 2], relevance[0, 3, 3] = -5.0, 2.0, -2.0
    relevance[0, 0, 0], relevance[0, 2, 3] = 1.5, 1.0
    return relevance, mask


def test_all_four_by_hand():
    relevance, mask = hand_worked()
    where = regions(mask.astype(float), np.array([True]), pixel_mm=3.0, shape=mask.shape)
    found = {name: float(value[0]) for name, value in pt.pointing(relevance, where, "_shifted").items()}
    assert found == pytest.approx(
        {
            "pointing_shifted": 0,
            "relevance_mass_shifted": 5 / 11.5,
            "relevance_rank_shifted": 2 / 4,  # two of 5, 2, 2, 1.5
            "topk_iou_shifted": 2 / 6,
            "pointing_dilated_shifted": 1,
            "relevance_mass_dilated_shifted": 10 / 11.5,
            # Region of 12: four of five non-zero pixels, and 7 of the 31 zeros, of which 8 lie inside.
            "relevance_rank_dilated_shifted": (4 + 7 * 8 / 31) / 12,
            "topk_iou_dilated_shifted": (4 + 7 * 8 / 31) / (24 - (4 + 7 * 8 / 31)),
        }
    )


def test_perfect_and_opposite_maps_are_the_ends_of_every_scale():
    _, mask = hand_worked()
    distinct = 1 + np.random.default_rng(0).random(mask.shape)
    for metric in pt.METRICS.values():
        assert metric(-distinct * mask, mask).tolist() == [1]  # the magnitude counts
        assert metric(distinct * ~mask, mask).tolist() == [0]


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_a_map_that_says_nothing_scores_the_area(value):
    mask = np.zeros((1, 8, 8), dtype=bool)
    mask[0, 3:5, 2:6] = True
    maps = np.full(mask.shape, value)
    for name in ("pointing", "relevance_mass", "relevance_rank"):
        assert pt.METRICS[name](maps, mask) == pytest.approx([8 / 64])
    assert pt.topk_iou(maps, mask) == pytest.approx([1 / (16 - 1)])  # 8 * 8 / 64 = 1 pixel is shared
    where = Regions(mask, mask, np.array([True]))
    assert pt.chance(where, "_x")["relevance_rank_dilated_x"] == pytest.approx([8 / 64])


def test_random_maps_score_the_area_on_average():
    mask = np.zeros((2000, 8, 8), dtype=bool)
    mask[:, 3:5, 2:6] = True
    maps = np.random.default_rng(0).normal(size=mask.shape)
    for name in ("pointing", "relevance_mass", "relevance_rank"):
        found = pt.METRICS[name](maps, mask)
        assert found.mean() == pytest.approx(8 / 64, abs=4 * found.std() / np.sqrt(2000))


def test_ties_count_with_their_expectation():
    mask = np.array([[[True, True, False, False]]])
    assert pt.pointing_game(np.array([[[0.0, -2, 2, 2]]]), mask) == pytest.approx([1 / 3])
    assert pt.rank_accuracy(np.array([[[5.0, 1, 1, 0]]]), mask) == pytest.approx([3 / 4])
    assert pt.topk_iou(np.array([[[5.0, 1, 1, 0]]]), mask) == pytest.approx([1.5 / 2.5])


def test_unknown_masks_and_unfinished_maps_are_nan():
    relevance, mask = (np.concatenate([part] * 3) for part in hand_worked())
    mask[1] = False
    relevance[2, 0, 1] = np.nan
    for metric in pt.METRICS.values():
        assert np.isnan(metric(relevance, mask)).tolist() == [False, True, True]


def test_windows_are_centred_and_shifted_and_know_who_could_not_be_shifted():
    cases = make_cases(n=6)
    cases = replace(cases, margin=np.array([8, 8, 8, 8, 0, 3]))
    centred, shifted = pt.windows(cases)
    assert centred.images.shape == shifted.images.shape == (6, 1, 64, 64)
    assert centred.where.known.all()
    assert shifted.where.known.tolist() == [True] * 4 + [False, True]
    assert (shifted.where.mask[0, 6:] == centred.where.mask[0, :-6]).all()
    assert (shifted.where.mask[5, :, 3:] == centred.where.mask[5, :, :-3]).all()
    # A map that shows the disc is perfect on both; one that always marks the centre is not.
    for window in (centred, shifted):
        disc = (window.images[:, 0] > 0.4).numpy()
        found = pt.pointing(disc, window.where)
        known = window.where.known
        assert found["relevance_rank"][known] == pytest.approx(np.ones(known.sum()))
        assert np.isnan(found["relevance_rank"][~known]).all()


def test_without_masks_everything_is_unknown():
    centred, shifted = pt.windows(make_cases(n=4, masks=False))
    for window in (centred, shifted):
        found = pt.pointing(np.ones((4, 64, 64)), window.where)
        assert all(np.isnan(values).all() for values in found.values())


@pytest.mark.parametrize("cue", CUES)
def test_on_planted_cues_an_oracle_is_perfect_and_random_maps_are_at_chance(cue):
    lesions = [lesion for lesion in cohort() if lesion.diameter_mm >= 8][::40]
    for window in pt.windows(plant_cases(lesions, cue, 45.0, 8)):
        where, rng = window.where, np.random.default_rng(0)
        known = where.mask.any((1, 2))
        assert known.sum() >= 5
        oracle = where.mask * rng.uniform(0.1, 1, where.mask.shape)
        for name, values in pt.pointing(oracle, where).items():
            if "dilated" not in name:
                assert values[known] == pytest.approx(1), name
        draws = [pt.pointing(rng.normal(size=where.mask.shape), where) for _ in range(30)]
        for name, expected in pt.chance(where).items():
            found, chance = np.mean([draw[name][known] for draw in draws]), expected[known].mean()
            spread = np.sqrt(chance * (1 - chance) / (len(draws) * known.sum()))  # the largest within [0, 1]
            assert abs(found - chance) < 4 * spread, name
