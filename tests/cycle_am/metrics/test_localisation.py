"""Localisation on maps worked out by hand, and on generators that look or do not look at the image."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cycle_am.metrics import localisation as loc
from cycle_am.metrics.inference import relevance_maps
from tests.cycle_am.metrics.fakes import FixedPatternGan, OracleGan, make_cases

ONES = np.ones((1, 2))


def hand_worked():
    """A 6 x 6 map with 10 units of magnitude and a 2 x 2 mask that holds 4 of them; the peak lies beside the
    mask."""
    relevance, mask = np.zeros((1, 6, 6)), np.zeros((1, 6, 6))
    mask[0, 2:4, 2:4] = 1
    relevance[0, 2, 2], relevance[0, 3, 3], relevance[0, 2, 4], relevance[0, 0, 0] = 2.0, -2.0, -5.0, 1.0
    return relevance, mask


def test_peak_mass_and_area_by_hand():
    relevance, mask = hand_worked()
    where = loc.regions(mask, np.array([True]), pixel_mm=3.0, shape=mask.shape)  # 3 mm: one pixel
    found = loc.locate(relevance, where)
    assert found["peak"] == [0.0]
    assert found["peak_dilated"] == [1.0]
    assert found["mass"] == pytest.approx([0.4])
    assert found["mass_dilated"] == pytest.approx([0.9])
    assert loc.area(where.mask) == pytest.approx([4 / 36])
    assert loc.area(where.dilated) == pytest.approx([12 / 36])  # the square and its eight direct neighbours


def test_of_equal_peaks_each_counts_alike():
    mask = np.array([[[True, True, False, False]]] * 3)
    maps = np.array([[[0.0, -2, 2, 2]], [[1.0, 1, 1, 1]], [[0.0, 0, 0, 0]]])
    assert loc.peak_inside(maps, mask) == pytest.approx([1 / 3, 0.5, np.nan], nan_ok=True)
    assert loc.peak_inside(maps, mask)[:2] == pytest.approx(loc.pointing_game(maps, mask)[:2])


def test_mask_is_the_consensus_of_half_the_readers():
    fractions = np.array([[[0.25, 0.5], [0.75, 0.49]]])
    where = loc.regions(fractions, np.array([True]), 1.0, (1, 2, 2))
    assert where.mask.tolist() == [[[False, True], [True, False]]]


def test_dilation_is_the_disc_of_its_radius():
    mask = np.zeros((31, 31), dtype=bool)
    mask[15, 15] = True
    rows, columns = np.indices(mask.shape) - 15
    assert (loc.dilate(mask, 4.27) == (rows**2 + columns**2 <= 4.27**2)).all()
    disc = rows**2 + columns**2 <= 9
    assert (loc.dilate(mask, 3.0) == ndimage.binary_dilation(mask, disc)).all()
    assert not loc.dilate(np.zeros_like(mask), 3.0).any()


def test_cases_without_a_mask_or_a_map_are_left_out():
    relevance, mask = (np.concatenate([part] * 3) for part in hand_worked())
    relevance[2] = 0
    where = loc.regions(mask, np.array([True, False, True]), 3.0, mask.shape)
    found = loc.locate(relevance, where)
    assert np.isnan(found["peak"]).tolist() == [False, True, True]
    assert np.isnan(found["mass"]).tolist() == [False, True, True]
    assert not loc.regions(None, np.zeros(3, bool), 3.0, mask.shape).known.any()


@pytest.mark.parametrize("shift", [(6, 0), (0, 6), (-6, 0), (0, -6), (2, -3)])
def test_a_moved_map_correlates_perfectly_with_itself(shift):
    big = np.random.default_rng(0).normal(size=(80, 80))
    first = big[8:72, 8:72]
    second = big[8 - shift[0] : 72 - shift[0], 8 - shift[1] : 72 - shift[1]]
    assert loc.overlap_correlation(first, second, np.array(shift)) == pytest.approx(1)
    assert abs(loc.overlap_correlation(first, first, np.array(shift))) < 0.1


def test_correlation_of_constant_and_unshifted_maps():
    assert loc.overlap_correlation(np.ones((9, 9)), np.ones((9, 9)), np.array([1, 0])) == 0
    assert np.isnan(loc.overlap_correlation(np.eye(9), np.eye(9), np.array([0, 0])))


def test_shifts_take_the_margin_where_it_is_less():
    plan = loc.shift_plan(np.array([8, 8, 4, 0]))
    assert plan.tolist() == [[6, 0], [0, 6], [-4, 0], [0, 0]]


def test_fixed_pattern_is_one_for_one_map_and_nothing_for_opposite_ones():
    pattern = np.random.default_rng(0).normal(size=(8, 8))
    assert loc.fixed_pattern(np.stack([pattern, pattern]))(ONES) == pytest.approx([1])
    assert loc.fixed_pattern(np.stack([pattern, -pattern]))(ONES) == pytest.approx([0])
    maps = np.random.default_rng(1).normal(size=(50, 8, 8)) + pattern
    weights = np.random.default_rng(2).integers(0, 3, 50)
    drawn = np.repeat(maps, weights, 0)
    expected = (drawn.mean(0) ** 2).sum() / (drawn**2).sum((1, 2)).mean()
    assert loc.fixed_pattern(maps)(weights[None].astype(float)) == pytest.approx([expected])


def test_centre_blob_peaks_in_the_middle_and_has_its_width():
    blob = loc.centre_blob((64, 64), 0.5, sigma_mm=5.0)
    assert np.unravel_index(blob.argmax(), blob.shape) == (32, 32)
    assert blob[32, 42] == pytest.approx(np.exp(-0.5))  # 10 pixels are 5 mm


def figures_of(gan, cases):
    maps = relevance_maps(gan, cases.window()[0])
    result = loc.localise(cases, maps, lambda images: relevance_maps(gan, images))
    return loc.localisation_figures(result, maps, cases.patient_id, resamples=200), result


def test_a_generator_that_looks_passes_every_control():
    figures, _ = figures_of(OracleGan(), make_cases())
    assert figures["peak_in_mask"]["value"] == figures["peak_in_mask_shifted"]["value"] == 1
    assert figures["relevance_mass"]["value"] > 0.95
    assert figures["relevance_mass_shifted"]["value"] > 0.95
    assert figures["shift_followed"]["value"] == 1
    assert figures["fixed_pattern"]["value"] < 0.8  # discs of one centre still overlap
    assert figures["shift_pixels"]["value"] == 6


def test_a_generator_that_paints_one_pattern_is_caught_by_every_control():
    cases = make_cases()
    figures, _ = figures_of(FixedPatternGan(), cases)
    assert figures["fixed_pattern"]["value"] > 0.9
    assert figures["shift_followed"]["value"] == 0
    # Centred, its peak hits by luck of the window, no more often than the blob does; shifted it misses.
    assert figures["peak_in_mask"]["value"] == figures["centre_prior_peak"]["value"] > 0.9
    assert figures["peak_in_mask_shifted"]["value"] == figures["centre_prior_peak_shifted"]["value"] < 0.6


def test_without_masks_the_other_controls_are_still_computed():
    figures, _ = figures_of(FixedPatternGan(), make_cases(masks=False))
    assert figures["peak_in_mask"]["n"] == 0
    assert np.isnan(figures["relevance_mass"]["value"])
    assert figures["fixed_pattern"]["value"] > 0.9
    assert figures["shift_followed"]["value"] == 0


def test_without_a_margin_nothing_is_shifted():
    cases = replace(make_cases(), margin=np.zeros(24, dtype=int))
    figures, result = figures_of(OracleGan(), cases)
    assert not result.shifts.any()
    assert figures["shift_followed"]["n"] == figures["peak_in_mask_shifted"]["n"] == 0
    assert figures["peak_in_mask"]["value"] == 1
