"""What stands for an absent pixel: the baseline of the methods that compare an image with one without information."""

from __future__ import annotations

from typing import Literal

from kornia.filters import gaussian_blur2d
from torch import Tensor

from cycle_am.errors import UserError

Infill = Literal["black", "background_mean", "blur"]
BLUR_PIXELS = 8.0  # sigma: nothing of a nodule's edge is left


def infill(kind: Infill, image: Tensor, background: Tensor | None = None) -> Tensor:
    """A baseline of the form of `image` (N, 1, H, W) in [0, 1].

    black: 0, air (-1000 HU), close to the aerated lung around a nodule. background_mean: the mean training image,
    which shows a faint mean nodule in the middle. blur: the image itself, blurred.
    """
    if kind == "black":
        return image.new_zeros(image.shape)
    if kind == "blur":
        size = min(int(6 * BLUR_PIXELS) + 1, 2 * (min(image.shape[-2:]) // 2) - 1)  # odd, within the image
        return gaussian_blur2d(image, (size, size), (BLUR_PIXELS, BLUR_PIXELS))
    if background is None:
        raise UserError("the baseline background_mean needs training images; take black or blur")
    return background.to(image).mean(0, keepdim=True).expand_as(image).contiguous()
