"""Faithfulness on a linear model, whose true relevance is known: every figure has a closed form."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from cycle_am.errors import UserError
from cycle_am.metrics import faithfulness as f

N, SIDE = 6, 8
PIXELS = SIDE * SIDE
EVERY = np.arange(PIXELS + 1) / PIXELS


def zero(images, removed):
    return torch.zeros_like(images)


class Linear:
    """Two logits, -s and s, of s = sum(w * x)."""

    def __init__(self, seed=0, side=SIDE):
        self.weight = torch.from_numpy(np.random.default_rng(seed).normal(size=(side, side)))

    def __call__(self, images):
        s = (images[:, 0].double() * self.weight).sum((1, 2))
        return torch.stack([-s, s], 1)

    def relevance(self, images, infilled=0.0):
        """For class 1: how much each pixel adds against its infill."""
        return (self.weight * (images - infilled)[:, 0].double()).numpy()


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(1).random((N, 1, SIDE, SIDE)))


def chance_area(start, end):
    return (start + end) / 2


def test_deletion_and_insertion_of_a_linear_model_have_their_closed_form(images):
    model = Linear()
    truth = model.relevance(images)
    falling = -np.sort(-truth.reshape(N, -1), 1)
    gone = np.concatenate([np.zeros((N, 1)), falling.cumsum(1)], 1)
    removed = f.deletion(model, images, truth, 1, zero, EVERY)
    inserted = f.insertion(model, images, truth, 1, zero, EVERY)
    assert removed == pytest.approx(gone[:, -1:] - gone)
    assert inserted == pytest.approx(gone)
    # Pixel of rank k is there for k + 1/2 of the P steps (trapezoids): the area is a weighted sum.
    stays = (np.arange(PIXELS) + 0.5) / PIXELS
    assert f.curve_area(removed, EVERY) == pytest.approx(falling @ stays)
    assert f.curve_area(inserted, EVERY) == pytest.approx(falling @ (1 - stays))


def test_the_perfect_map_and_its_opposite_are_the_ends_of_the_scale_and_chance_lies_between(images):
    model = Linear()
    truth = model.relevance(images)
    total = truth.sum((1, 2))

    def area(kind, maps, seed=0):
        return f.curve_area(kind(model, images, maps, 1, zero, EVERY, seed), EVERY)

    best, worst = area(f.deletion, truth), area(f.deletion, -truth)
    rng = np.random.default_rng(2)
    others = np.array([area(f.deletion, rng.normal(size=truth.shape)) for _ in range(40)])
    assert (best < others).all()
    assert (others < worst).all()
    assert (area(f.insertion, truth) > area(f.insertion, rng.normal(size=truth.shape))).all()
    assert best + worst == pytest.approx(total)  # the reversed order mirrors the curve
    constant = np.array([area(f.deletion, np.zeros_like(truth), seed) for seed in range(100)])
    error = constant.std(0) / 10
    assert (np.abs(constant.mean(0) - chance_area(total, 0)) < 4 * error).all()


def test_evidence_for_the_other_class_is_the_negative_map(images):
    model = Linear()
    truth = model.relevance(images)
    for kind in (f.deletion, f.insertion):
        assert kind(model, images, truth, 1, zero) == pytest.approx(-kind(model, images, truth, 0, zero))
    mixed = np.array([0, 1] * 3)  # a target for each case
    signed = np.where(mixed == 1, 1, -1)[:, None, None] * truth
    together = f.deletion(model, images, signed, mixed, zero)
    for target, maps in ((1, truth), (0, -truth)):
        alone = f.deletion(model, images, maps, target, zero)
        assert together[mixed == target] == pytest.approx(alone[mixed == target])


def test_ranks_order_pixels_and_break_ties_without_looking_at_the_map():
    distinct = np.random.default_rng(0).permutation(PIXELS).reshape(1, SIDE, SIDE)
    assert (f.relevance_ranks(distinct) == PIXELS - 1 - distinct).all()
    zeros, sevens = (f.relevance_ranks(np.full((4, SIDE, SIDE), value)) for value in (0.0, 7.0))
    assert (zeros == sevens).all()
    assert (np.sort(zeros.reshape(4, -1)) == np.arange(PIXELS)).all()
    assert (zeros[0] != zeros[1]).any()
    assert (f.relevance_ranks(np.zeros((2, SIDE, SIDE))) == zeros[:2]).all()  # not by who follows
    assert (f.relevance_ranks(np.zeros((4, SIDE, SIDE)), seed=1) != zeros).any()
    half = np.zeros((1, SIDE, SIDE))
    half[:, :4] = 1
    assert f.relevance_ranks(half)[:, :4].max() == PIXELS // 2 - 1


def test_a_map_that_is_not_finite_is_unknown_and_harms_no_other(images):
    model = Linear()
    maps = model.relevance(images)
    expected = f.deletion(model, images, maps, 1, zero)
    maps[2, 0, 0] = np.nan
    curve = f.deletion(model, images, maps, 1, zero)
    assert np.isnan(curve[2]).all()
    known = np.arange(N) != 2
    assert (curve[known] == expected[known]).all()
    assert np.isnan(f.signed_flips(model, images, maps, 1, zero)["flip"]).tolist() == (~known).tolist()
    sums = f.subset_sums(maps, f.random_subsets((SIDE, SIDE), patch=2))
    assert np.isnan(f.sensitivity_n(sums, np.ones_like(sums).cumsum(1))).tolist() == (~known).tolist()
    assert np.isnan(f.infidelity(sums, np.ones_like(sums))).tolist() == (~known).tolist()


@pytest.mark.parametrize("fractions", [(0.5,), (0, 0.5, 0.5), (0, 1.2), (-0.1, 1)])
def test_impossible_fractions_are_refused(images, fractions):
    with pytest.raises(UserError, match="must rise"):
        f.deletion(Linear(), images, np.zeros((N, SIDE, SIDE)), 1, zero, fractions)


def test_area_is_the_mean_height_over_the_range():
    line = np.array([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]])
    assert f.curve_area(line, (0.1, 0.2, 0.5)) == pytest.approx([(0.05 + 0.6) / 0.4, 2.0])


def test_curves_and_areas_come_for_every_infill_and_their_mean(images):
    found = f.curves(Linear(), images, np.zeros((N, SIDE, SIDE)), 1)
    assert set(found) == {f"{kind}_{name}" for kind in ("deletion", "insertion") for name in f.INFILLS}
    assert all(curve.shape == (N, len(f.FRACTIONS)) for curve in found.values())
    area = f.areas(found)
    assert area["deletion"] == pytest.approx(sum(area[f"deletion_{name}"] for name in f.INFILLS) / 3)
    assert set(area) == set(found) | {"deletion", "insertion"}


def test_signed_flips_raise_the_other_class_for_true_evidence_only(images):
    model = Linear()
    truth = model.relevance(images)
    for target, maps in ((1, truth), (0, -truth)):
        flips = f.signed_flips(model, images, maps, target, zero, fraction=0.25)
        flat = np.sort(truth.reshape(N, -1), 1)
        top, bottom = flat[:, -16:].sum(1), -flat[:, :16].sum(1)
        expected = (top, bottom) if target == 1 else (bottom, top)
        assert flips["flip_for"] == pytest.approx(expected[0])
        assert flips["flip_against"] == pytest.approx(expected[1])
        assert (flips["flip"] > 0).all()
        assert (f.signed_flips(model, images, -maps, target, zero, 0.25)["flip"] < 0).all()
    # Without signs one half of the question is lost: the top holds evidence of both kinds.
    unsigned = f.signed_flips(model, images, np.abs(truth), 1, zero, 0.25)["flip"]
    assert (unsigned < f.signed_flips(model, images, truth, 1, zero, 0.25)["flip"]).all()
    constant = [f.signed_flips(model, images, 0 * truth, 1, zero, 0.25, seed)["flip"] for seed in range(200)]
    assert np.abs(np.mean(constant, 0)).max() < 4 * np.std(constant, 0).max() / np.sqrt(200)


@pytest.mark.parametrize("infill", [zero, f.blur, f.local_mean])
def test_true_relevance_has_sensitivity_one_and_infidelity_zero(images, infill):
    model = Linear()
    filled = infill(images, torch.ones_like(images, dtype=torch.bool))
    truth = model.relevance(images, filled)
    subsets = f.random_subsets((SIDE, SIDE), 0.25, patch=2, draws=40)
    drops = f.removal_drops(model, images, 1, subsets, infill)
    assert drops == pytest.approx(f.subset_sums(truth, subsets))
    for scale in (1.0, 1e-3):
        sums = f.subset_sums(scale * truth, subsets)
        assert f.sensitivity_n(sums, drops) == pytest.approx(np.ones(N))
        assert f.infidelity(sums, drops) == pytest.approx(np.zeros(N), abs=1e-12)
    wrong = f.subset_sums(-truth, subsets)
    assert f.sensitivity_n(wrong, drops) == pytest.approx(-np.ones(N))
    assert f.infidelity(wrong, drops) == pytest.approx(np.ones(N))
    assert f.removal_drops(model, images, 0, subsets, infill) == pytest.approx(-drops)


def test_maps_that_say_nothing_are_at_chance_and_unmoved_scores_are_unknown(images):
    subsets = f.random_subsets((SIDE, SIDE), 0.25, patch=2, draws=200)
    drops = f.removal_drops(Linear(), images, 1, subsets, zero)
    for value in (0.0, 0.3):
        assert (
            f.sensitivity_n(f.subset_sums(np.full((N, SIDE, SIDE), value), subsets), drops).tolist()
            == [0] * N
        )
    assert f.infidelity(np.zeros_like(drops), drops).tolist() == [1] * N
    rng = np.random.default_rng(5)
    noise = f.subset_sums(rng.normal(size=(N, SIDE, SIDE)), subsets)
    luck = [
        f.sensitivity_n(f.subset_sums(rng.normal(size=(N, SIDE, SIDE)), subsets), drops) for _ in range(200)
    ]
    assert np.abs(np.mean(luck, 0)).max() < 4 * np.std(luck, 0).max() / np.sqrt(200)
    assert np.isnan(f.sensitivity_n(noise, np.zeros_like(drops))).all()
    assert np.isnan(f.infidelity(noise, np.zeros_like(drops))).all()


def test_infidelity_by_hand():
    # Forecast (1, 1) of (1, 3): best factor 2, errors 1 and 1 of an energy of 10.
    assert f.infidelity(np.array([[1.0, 1.0]]), np.array([[1.0, 3.0]])) == pytest.approx([0.2])
    assert f.sensitivity_n(np.array([[1.0, 2.0, 6.0]]), np.array([[1.0, 2.0, 1.0]])) == pytest.approx(
        [np.corrcoef([1, 2, 6], [1, 2, 1])[0, 1]]
    )


def test_subsets_are_seeded_squares_of_one_size():
    subsets = f.random_subsets((16, 12), share=0.25, patch=4, draws=9)
    assert (subsets.sum((1, 2)) == 3 * 16).all()
    blocks = subsets.reshape(9, 4, 4, 3, 4).mean((2, 4))
    assert set(np.unique(blocks)) == {0.0, 1.0}
    assert (subsets == f.random_subsets((16, 12), 0.25, 4, 9)).all()
    assert (subsets != f.random_subsets((16, 12), 0.25, 4, 9, seed=1)).any()
    assert f.random_subsets((10, 10), patch=4, draws=2).shape == (2, 10, 10)


def removal(seed=0, share=0.4, n=3, size=(24, 20)):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.random((n, 2, *size))), torch.from_numpy(rng.random((n, 1, *size)) < share)


def test_blur_is_the_gaussian_mean_and_local_mean_the_box():
    images, removed = removal(size=(101, 101))
    inner = slice(45, 56)  # so far in that no border takes part
    expected = gaussian_filter1d(gaussian_filter1d(images.numpy(), 3.0, 2, truncate=14), 3.0, 3, truncate=14)
    assert f.blur(images, removed, 3.0).numpy()[..., inner, inner] == pytest.approx(
        expected[..., inner, inner], rel=1e-4
    )
    box = images[..., 43:58, 43:58].mean((2, 3)).numpy()
    assert f.local_mean(images, removed, 15)[..., 50, 50].numpy() == pytest.approx(box, rel=1e-5)
    assert f.local_mean(images, removed, 15)[..., 0, 0].numpy() == pytest.approx(
        images[..., :8, :8].mean((2, 3)).numpy(), rel=1e-5
    )


@pytest.mark.parametrize("infill", f.INFILLS.values(), ids=f.INFILLS)
def test_infills_keep_a_constant_image_and_the_range(infill):
    images, removed = removal()
    assert infill(torch.full_like(images, 0.3), removed).numpy() == pytest.approx(0.3)
    filled = infill(images, removed)
    assert filled.shape == images.shape
    assert filled.min() >= 0
    assert filled.max() <= 1


def test_neighbour_uses_nothing_that_was_removed_and_only_the_tissue_near():
    images, removed = removal()
    other = torch.where(removed, torch.rand_like(images), images)
    assert f.neighbour(images, removed).numpy() == pytest.approx(f.neighbour(other, removed).numpy())
    kept = (~removed).expand_as(images)
    assert f.neighbour(images, removed)[kept].numpy() == pytest.approx(images[kept].numpy())
    # A bright disc in one half is replaced by that half's tissue, not by the other's.
    halves = torch.full((1, 1, 32, 32), 0.2)
    halves[..., 16:] = 0.8
    hole = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    hole[..., 12:18, 3:9] = True
    disc = torch.where(hole, 1.0, halves)
    assert f.neighbour(disc, hole)[hole].numpy() == pytest.approx(0.2)
    everything = torch.ones_like(hole)
    assert f.neighbour(disc, everything).numpy() == pytest.approx(disc.mean().item())


def test_batches_do_not_change_the_answer(monkeypatch, images):
    truth = Linear().relevance(images)
    whole = f.curves(Linear(), images, truth, 1)
    monkeypatch.setattr(f, "BATCH_CPU", 5)
    parts = f.curves(Linear(), images, truth, 1)
    assert all(parts[name] == pytest.approx(whole[name]) for name in whole)
