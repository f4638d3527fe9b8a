"""Differentiable augmentation: each change does what it says, per sample, and passes the gradient."""

import pytest
import torch

from cycle_am.losses import Augment


def constant(value):
    return lambda *shape: torch.full(shape, value)


@pytest.fixture
def image():
    return torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def test_without_settings_nothing_changes(image):
    assert torch.equal(Augment()(image, torch.rand), image)


def test_turns_give_one_of_the_eight_symmetries(image):
    changed = Augment(turns=True)(image, torch.rand)
    for x, y in zip(image, changed, strict=True):
        symmetries = [torch.rot90(f, k, (1, 2)) for f in (x, x.flip(2)) for k in range(4)]
        assert min((s - y).abs().max() for s in symmetries) < 1e-4


def test_shift_moves_by_whole_pixels(image):
    changed = Augment(shift=4)(image, constant(1.0))  # the largest shift on both axes
    torch.testing.assert_close(changed[..., :60, :60], image[..., 4:, 4:], atol=1e-4, rtol=0)


def test_noise_has_the_asked_deviation(image):
    noise = Augment(noise=0.05)(image, torch.rand) - image
    assert abs(noise.std().item() - 0.05) < 0.003
    assert abs(noise.mean().item()) < 0.003


def test_brightness_and_contrast(image):
    changed = Augment(brightness=0.1, contrast=0.5)(image, constant(1.0))
    mean = image.mean((2, 3), keepdim=True)
    torch.testing.assert_close(changed, (image - mean) * 1.5 + mean + 0.1)


def test_blur_smooths_the_chosen_share(image):
    assert torch.equal(Augment(blur=0.5)(image, constant(0.9)), image)
    smooth = Augment(blur=0.5)(image, constant(0.1))
    torch.testing.assert_close(smooth[0, 0, 10, 10], image[0, 0, 9:12, 9:12].mean())


def test_cutout_sets_a_square_to_the_mean(image):
    changed = Augment(cutout=10)(image, constant(0.5))
    cut = changed != image
    assert cut[0].sum() == 11 * 11  # side and centre pixel
    assert torch.allclose(changed[0][cut[0]], image[0].mean())


def test_gradient_reaches_every_pixel_that_is_seen(image):
    image.requires_grad_()
    Augment(shift=2, turns=True, blur=0.5, noise=0.1, contrast=0.2)(image, torch.rand).sum().backward()
    assert image.grad.isfinite().all()
    assert (image.grad != 0).float().mean() > 0.9
