"""Structural similarity: single scale for reports, multi-scale dissimilarity for training (paper, eq. 1).

Wang et al. 2004 (SSIM) and 2003 (MS-SSIM), Gaussian window of 11 pixels, sigma 1.5, no padding.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

WINDOW, SIGMA = 11, 1.5
STANDARD = (0.01**2, 0.03**2)  # c1, c2 for images in [0, 1]; the paper prints (0.01, 0.03)
WANG = (0.0448, 0.2856, 0.3001)  # Wang's first three exponents: three scales fit 64 pixels


def ssim(x: Tensor, y: Tensor, constants: Sequence[float] = STANDARD) -> Tensor:
    """Mean structural similarity (N,) in [-1, 1] of images (N, C, H, W) in [0, 1]; 1 where they are equal."""
    luminance, structure = _ssim_parts(x, y, constants)
    return (luminance * structure).flatten(1).mean(1)


def ms_ssim(x: Tensor, y: Tensor, constants: Sequence[float] = STANDARD, scales: int = 3) -> Tensor:
    """Multi-scale structural similarity (N,) in [0, 1] of images (N, C, H, W) in [0, 1].

    Raises:
        ValueError: if the coarsest scale is smaller than the window.
    """
    if not 1 <= scales <= len(WANG) or min(x.shape[-2:]) >> (scales - 1) < WINDOW:
        raise ValueError(
            f"{scales} scales need images of at least {WINDOW << (scales - 1)} pixels, at most 3 scales"
        )
    exponents = torch.tensor(WANG[:scales]) / sum(WANG[:scales])
    total = 1.0
    for scale, exponent in enumerate(exponents.tolist()):
        luminance, structure = _ssim_parts(x, y, constants)
        last = scale == scales - 1
        term = (luminance * structure if last else structure).flatten(1).mean(1)
        # A negative base has no fractional power; the small floor keeps the gradient finite.
        total = total * term.clamp(min=1e-6) ** exponent
        x, y = (x, y) if last else (avg_pool2d(x, 2), avg_pool2d(y, 2))
    return total


def dssim(x: Tensor, y: Tensor, constants: Sequence[float] = STANDARD, scales: int | None = None) -> Tensor:
    """Structural dissimilarity (1 - MS-SSIM) / 2 (N,), 0 where the images are equal.

    Eq. (1) prints 1 - SSIM / 2, which has the same gradient but cannot reach 0. scales: None: as many as fit, three
    from 44 pixels on.
    """
    return (1 - ms_ssim(x, y, constants, scales or fitting_scales(min(x.shape[-2:])))) / 2


def fitting_scales(size: int) -> int:
    """How many scales images of this side have, at most three and at least one."""
    return max(1, sum(size >> scale >= WINDOW for scale in range(len(WANG))))


def _ssim_parts(x: Tensor, y: Tensor, constants: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Luminance term, and contrast-structure term, at each position (N, C, H - 10, W - 10)."""
    c1, c2 = constants
    x, y = x.float(), y.float()
    with torch.autocast(
        x.device.type, enabled=False
    ):  # variances are small differences: half precision loses them
        mx, my, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    structure = (2 * (xy - mx * my) + c2) / (xx - mx**2 + yy - my**2 + c2)
    return luminance, structure


def _blur(image: Tensor) -> Tensor:
    """Gaussian mean wherever the window fits: a product with banded matrices, faster than a convolution."""
    rows, columns = (_gaussian(size, image.device) for size in image.shape[-2:])
    return rows @ image @ columns.T


@lru_cache(maxsize=32)
def _gaussian(size: int, device: torch.device) -> Tensor:
    """Matrix (size - 10, size) whose rows hold the window at each position."""
    with torch.inference_mode(False):  # the cached tensor also serves training steps
        t = (
            torch.arange(size, device=device)
            - torch.arange(size - WINDOW + 1, device=device)[:, None]
            - WINDOW // 2
        )
        kernel = torch.exp(-(t**2) / (2 * SIGMA**2)) * (t.abs() <= WINDOW // 2)
        return kernel / kernel.sum(1, keepdim=True)
