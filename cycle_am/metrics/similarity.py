"""How much of the image the generators leave alone: SSIM and L1 to x, and how well the cycle returns to x."""

import numpy as np
import torch
from torch import Tensor

from cycle_am.estimate import Estimate
from cycle_am.losses.ssim import ssim
from cycle_am.metrics.bootstrap import mean_figure


@torch.no_grad()
def ssim_to(x: Tensor, y: Tensor) -> np.ndarray:
    """SSIM (N,) of (N, 1, H, W) images in [0, 1]: Gaussian window 11, sigma 1.5, constants .01^2 and
    .03^2."""
    return ssim(x, y).double().numpy()


def l1_to(x: Tensor, y: Tensor) -> np.ndarray:
    """Mean absolute difference (N,) of (N, 1, H, W) images."""
    return (x - y).abs().flatten(1).mean(1).double().numpy()


def similarity_figures(
    per_case: dict[str, np.ndarray], patients: np.ndarray, **options
) -> dict[str, Estimate]:
    """Mean and interval of each per-case measure."""
    return {name: mean_figure(values, patients, **options) for name, values in per_case.items()}
