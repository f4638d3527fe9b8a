"""Control: the middle of the window, whatever the image shows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cycle_am.explainers.base import Explainer

BLOB_SIGMA_MM = 5.0  # a Gaussian about as wide as a median nodule


class ControlCentre(Explainer):
    """A fixed Gaussian in the middle. Nodules are centred, so it points well without looking.

    Args:
        sigma_mm: its width.
    """

    signed = False

    def __init__(self, pixel_mm: float, sigma_mm: float = BLOB_SIGMA_MM) -> None:
        super().__init__()
        self.pixel_mm, self.sigma_mm = pixel_mm, sigma_mm

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        blob = centre_blob(tuple(image.shape[-2:]), self.pixel_mm, self.sigma_mm)
        return torch.as_tensor(blob, dtype=torch.float32).expand_as(image).clone()


def centre_blob(shape: tuple[int, int], pixel_mm: float, sigma_mm: float = BLOB_SIGMA_MM) -> np.ndarray:
    """The centre prior: a Gaussian (H, W) in the middle of the window, its peak on the pixel just right of
    and below the middle."""
    rows, columns = (np.arange(size) - size // 2 for size in shape)
    return np.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * (sigma_mm / pixel_mm) ** 2))
