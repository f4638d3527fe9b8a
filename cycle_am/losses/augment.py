"""Differentiable augmentation of images inside a loss.

What a classifier or a discriminator says of an image should not hang on the exact pixels. A generator that
must convince them on randomly changed copies of its image (Zhao et al. 2020, for discriminators) cannot win
with an adversarial pattern, and the discriminator cannot learn few real images by heart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, pad

Uniform = Callable[..., Tensor]  # (N, ...) -> numbers in [0, 1), on the CPU


@dataclass(frozen=True)
class Augment:
    """Random change of each image of a batch; the gradient passes through to the image.

    Args:
        shift: largest shift in pixels, along each axis.
        turns: random flips and quarter turns.
        zoom: largest relative change of size.
        blur: share of the images that a 3x3 mean smooths.
        noise: standard deviation of added Gaussian noise, in units of the image range [0, 1].
        brightness: largest offset added to all pixels.
        contrast: largest relative change of the distance from the image's mean.
        cutout: side of a square, in pixels, that is set to the image's mean.
    """

    shift: float = 0.0
    turns: bool = False
    zoom: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    cutout: int = 0

    def __call__(self, image: Tensor, uniform: Uniform) -> Tensor:
        """Image (N, C, H, W) in [0, 1] to a changed copy of the same shape (range nearly kept)."""
        u = uniform(image.shape[0], 10).to(image)
        if self.shift or self.turns or self.zoom:
            image = self._move(image, u[:, :6])
        if self.blur:
            image = _smooth(image, u[:, 6] < self.blur)
        if self.brightness or self.contrast:
            image = self._grade(image, _signed(u[:, 7]), _signed(u[:, 8]))
        if self.noise:
            image = image + self.noise * _normal(uniform(*image.shape).to(image))
        return _cut(image, self.cutout, uniform(image.shape[0], 2).to(image)) if self.cutout else image

    def _move(self, image: Tensor, u: Tensor) -> Tensor:
        angle = (u[:, 0] * 4).floor() * (pi / 2) * self.turns
        flip = torch.where(u[:, 1] < 0.5, -1.0, 1.0) if self.turns else torch.ones_like(u[:, 1])
        scale = 1 + self.zoom * _signed(u[:, 2])
        cos, sin = (angle.cos() * scale), (angle.sin() * scale)
        size = torch.tensor([image.shape[-1], image.shape[-2]], device=image.device)
        offset = (_signed(u[:, 3:5]) * self.shift).round() * 2 / size
        matrix = torch.stack([flip * cos, -sin, offset[:, 0], flip * sin, cos, offset[:, 1]], 1).view(
            -1, 2, 3
        )
        grid = affine_grid(matrix, list(image.shape), align_corners=False)
        return grid_sample(image, grid, padding_mode="reflection", align_corners=False)

    def _grade(self, image: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
        mean = image.mean((1, 2, 3), keepdim=True)
        gain, offset = (1 + self.contrast * contrast), self.brightness * brightness
        return (image - mean) * gain.view(-1, 1, 1, 1) + mean + offset.view(-1, 1, 1, 1)


def _signed(u: Tensor) -> Tensor:
    return 2 * u - 1


def _normal(u: Tensor) -> Tensor:
    return torch.erfinv(_signed(u.clamp(1e-6, 1 - 1e-6))) * 2**0.5


def _smooth(image: Tensor, chosen: Tensor) -> Tensor:
    smooth = avg_pool2d(pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.where(chosen.view(-1, 1, 1, 1), smooth, image)


def _cut(image: Tensor, side: int, u: Tensor) -> Tensor:
    """The square's centre lies anywhere in the image, so part of it may fall outside."""
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device).view(1, 1, -1, 1)
    cols = torch.arange(width, device=image.device).view(1, 1, 1, -1)
    inside = ((rows - u[:, 0].view(-1, 1, 1, 1) * height).abs() <= side / 2) & (
        (cols - u[:, 1].view(-1, 1, 1, 1) * width).abs() <= side / 2
    )
    return torch.where(inside, image.mean((1, 2, 3), keepdim=True), image)
