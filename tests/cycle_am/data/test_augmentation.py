"""Augmentation: exact geometry, image and mask together, a function of the seed, cheap, never padded."""

import time

import numpy as np
import pytest
import torch

from cycle_am.data.augmentation import Symmetry, augment, build_augmentation
from cycle_am.errors import UserError


@pytest.fixture
def image():
    return torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0))


def dihedral(image):
    """The eight ways a square can lie, by numpy."""
    turned = [np.rot90(image, turns, (1, 2)) for turns in range(4)]
    return turned + [np.flip(one, 2) for one in turned]


def test_flips_and_quarter_turns_reach_all_eight_positions_equally_and_exactly(image):
    augmentation, positions = build_augmentation(), dihedral(image.numpy())
    counts = np.zeros(8)
    for seed in range(400):
        out, _ = augment(augmentation, image, None, seed)
        hits = [np.array_equal(out.numpy(), position) for position in positions]
        assert sum(hits) == 1
        counts += hits
    assert counts.min() > 25
    assert counts.max() < 80


def test_sideways_leaves_up_and_down_as_they_are(image):
    augmentation = build_augmentation(flips="sideways", quarter_turns=False)
    results = [augment(augmentation, image, None, seed)[0] for seed in range(40)]
    same, mirrored = (
        sum(torch.equal(result, wanted) for result in results) for wanted in (image, image.flip(2))
    )
    assert same + mirrored == 40
    assert min(same, mirrored) > 8


def test_quarter_turns_alone_are_equally_likely(image):
    augmentation, positions = build_augmentation(flips=False), dihedral(image.numpy())[:4]
    counts = np.zeros(4)
    for seed in range(200):
        out, _ = augment(augmentation, image, None, seed)
        counts += [np.array_equal(out.numpy(), position) for position in positions]
    assert counts.sum() == 200
    assert counts.min() > 25


def test_symmetry_agrees_with_the_matrix_that_it_reports(image):
    turn = Symmetry()
    torch.manual_seed(0)
    for _ in range(24):
        out = turn(image[None])
        x, y, _ = (turn.transform_matrix[0] @ torch.tensor([5.0, 20.0, 1.0])).round().int().tolist()
        assert out[0, 0, y, x] == image[0, 20, 5]


EVERYTHING = {"zoom": 0.2, "brightness": 0.1, "contrast": 0.1, "blur": 0.8, "noise": 0.05, "p": 1.0}


def test_mask_moves_with_the_image_and_keeps_its_values(image):
    augmentation = build_augmentation(zoom=0.3, p=1.0)
    for seed in range(20):
        out, out_mask = augment(augmentation, image, image.clone(), seed)
        assert torch.allclose(out, out_mask, atol=1e-6)
    _, same = augment(build_augmentation(flips=False, quarter_turns=False, noise=0.1, p=1.0), image, image, 1)
    assert torch.equal(same, image)  # intensity steps leave the mask alone


def test_nothing_pads():
    bright = torch.full((1, 64, 64), 0.8)
    augmentation = build_augmentation(zoom=0.4, blur=1.0, p=1.0)
    assert all(augment(augmentation, bright, None, seed)[0].min() > 0.799 for seed in range(30))


def test_result_is_a_function_of_the_seed_and_leaves_global_state_alone(image):
    augmentation = build_augmentation(**EVERYTHING)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    first, mask = augment(augmentation, image, image, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(8)
    again, _ = augment(augmentation, image, image, 3)
    other, _ = augment(augmentation, image, image, 4)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
    assert first.shape == image.shape == mask.shape
    assert 0.0 <= first.min() <= first.max() <= 1.0


@pytest.mark.parametrize("step", ["zoom", "brightness", "contrast", "blur", "noise"])
def test_each_step_is_off_by_default_and_does_something_when_on(step, image):
    still = {"flips": False, "quarter_turns": False, "p": 1.0}
    assert torch.equal(augment(build_augmentation(**still), image, None, 0)[0], image)
    changed, _ = augment(
        build_augmentation(**still, **{step: 0.8 if step == "blur" else 0.3}), image, None, 0
    )
    assert not torch.allclose(changed, image, atol=1e-3)


def test_noise_has_the_given_strength():
    grey = torch.full((1, 64, 64), 0.5)
    out, _ = augment(build_augmentation(noise=0.05, p=1.0), grey, None, 0)
    assert (out - grey).std().item() == pytest.approx(0.05, rel=0.1)


def test_default_costs_little(image):
    augmentation = build_augmentation()
    augment(augmentation, image, image, 0)
    times = []
    for seed in range(60):
        start = time.perf_counter()
        augment(augmentation, image, image, seed)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 6e-3  # about 1 ms on a quiet core; a shared one must not fail here


@pytest.mark.parametrize(
    "wrong", [{"zoom": -0.1}, {"noise": 1.0}, {"p": 1.5}, {"blur": 3.0}, {"flips": "up"}]
)
def test_values_out_of_range_are_named(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
        build_augmentation(**wrong)
