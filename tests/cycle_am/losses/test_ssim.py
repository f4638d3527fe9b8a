"""SSIM against other implementations."""

import numpy as np
import pytest
import pytorch_msssim
import torch
from scipy.ndimage import correlate1d
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure as torchmetrics_ms_ssim,
)

from cycle_am.losses import dssim, ms_ssim, ssim
from cycle_am.losses.ssim import WANG


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 1, 64, 64, generator=generator)
    noise = torch.linspace(0.01, 0.4, 4).view(-1, 1, 1, 1) * torch.randn(x.shape, generator=generator)
    return x, (x + noise).clamp(0, 1)


def test_ssim_equals_pytorch_msssim(images):
    expected = pytorch_msssim.ssim(*images, data_range=1, size_average=False)
    torch.testing.assert_close(ssim(*images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("constants", [(0.01**2, 0.03**2), (0.01, 0.03)])
def test_ms_ssim_equals_a_numpy_implementation(images, constants):
    expected = [
        numpy_ms_ssim(x[0].double().numpy(), y[0].double().numpy(), constants)
        for x, y in zip(*images, strict=True)
    ]
    np.testing.assert_allclose(ms_ssim(*images, constants=constants).numpy(), expected, rtol=1e-4)


def test_ms_ssim_equals_torchmetrics_on_larger_images():
    x = torch.rand(2, 1, 192, 192, generator=torch.Generator().manual_seed(1))
    y = (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    betas = tuple(w / sum(WANG) for w in WANG)
    expected = torchmetrics_ms_ssim(x, y, data_range=1.0, betas=betas, normalize=None, reduction="none")
    torch.testing.assert_close(ms_ssim(x, y), expected, atol=5e-3, rtol=5e-3)  # torchmetrics pads the borders


def test_equal_images_have_no_dissimilarity_and_a_finite_gradient(images):
    x = images[0].requires_grad_()
    value = dssim(x, images[0].detach())
    torch.testing.assert_close(value, torch.zeros(4), atol=1e-6, rtol=0)
    value.sum().backward()
    assert x.grad.isfinite().all()


def test_negative_structure_has_a_finite_gradient(images):
    x = images[0].requires_grad_()
    dssim(x, 1 - images[0].detach()).sum().backward()
    assert x.grad.isfinite().all()
    assert dssim(x, 1 - x).max() <= 0.5


def test_dssim_is_between_0_and_a_half(images):
    assert ((dssim(*images) > 0) & (dssim(*images) < 0.5)).all()


def test_ms_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 44 pixels"):
        ms_ssim(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32))


def test_bfloat16_autocast_does_not_touch_it(images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ms_ssim(*images), ms_ssim(*(i.float() for i in images)))


def numpy_ms_ssim(x, y, constants):
    """Wang et al. 2003, written with scipy's correlation, for (1, H, W) float64."""
    result = 1.0
    t = np.arange(11) - 5
    kernel = np.exp(-(t**2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blur(a):
        return correlate1d(correlate1d(a, kernel, axis=0), kernel, axis=1)[5:-5, 5:-5]

    for scale, weight in enumerate(np.array(WANG) / sum(WANG)):
        mx, my = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        cs = (2 * vxy + constants[1]) / (vx + vy + constants[1])
        luminance = (2 * mx * my + constants[0]) / (mx**2 + my**2 + constants[0])
        result *= np.mean(cs * luminance if scale == 2 else cs) ** weight
        x, y = (a.reshape(a.shape[0] // 2, 2, a.shape[1] // 2, 2).mean((1, 3)) for a in (x, y))
    return result
