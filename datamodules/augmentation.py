"""Augmentation of one training sample with kornia, image and mask alike, as a function of a seed.

Shifts are not made here: the data module crops them out of the margin, because a shift by padding leaves
stripes at the border that a generator learns to exploit. For the same reason nothing here ever pads.
"""

from __future__ import annotations

from typing import Any

import kornia.augmentation as K
import torch
from kornia.augmentation import random_generator
from kornia.constants import DataKey, Resample
from torch import Tensor

from utils.errors import UserError


class QuarterTurn(K.RandomRotation90):
    """Turn by 0, 90, 180 or 270 degrees, equally likely and exact (kornia's is neither)."""

    def __init__(self) -> None:
        super().__init__(times=(0, 3), p=1.0)
        self._param_generator = random_generator.PlainUniformGenerator(((-0.5, 3.5), "times", None, None))

    def apply_transform(
        self, input: Tensor, params: dict, flags: dict, transform: Tensor | None = None
    ) -> Tensor:
        """(B, C, H, W) square images -> each turned counter-clockwise by its own number of quarters."""
        turns = params["times"].round().int().tolist()
        return torch.stack(
            [torch.rot90(image, turn, (1, 2)) for image, turn in zip(input, turns, strict=True)]
        )


def build_augmentation(
    flips: bool = True,
    quarter_turns: bool = True,
    zoom: float = 0.0,
    brightness: float = 0.0,
    contrast: float = 0.0,
    blur: float = 0.0,
    noise: float = 0.0,
    p: float = 0.5,
) -> K.AugmentationSequential:
    """The augmentation for `NoduleDataModule(augmentation=...)`; a value of 0 leaves its step out.

    flips, quarter_turns: mirror along each axis with probability 1/2; turn by a multiple of 90 degrees.
    zoom: enlarge by up to 1 + zoom (never shrink: that would pad); it changes the nodule's size in mm.
    brightness: add up to +-brightness (image in [0, 1]); contrast: multiply by 1 +- contrast.
    blur: 3 x 3 Gaussian with sigma of blur / 2 to blur pixels; noise: Gaussian with this standard deviation.
    p: probability of each step from zoom on. Raises UserError for a value out of range.
    """
    _check(zoom=zoom, brightness=brightness, contrast=contrast, blur=blur, noise=noise, p=p)
    steps: list[Any] = []
    if flips:
        steps += [K.RandomHorizontalFlip(p=0.5), K.RandomVerticalFlip(p=0.5)]
    if quarter_turns:
        steps += [QuarterTurn()]
    if zoom:
        steps += [K.RandomAffine(degrees=0.0, scale=(1.0, 1.0 + zoom), align_corners=True, p=p)]
    if brightness:
        steps += [K.RandomBrightness((1.0 - brightness, 1.0 + brightness), p=p)]
    if contrast:
        steps += [K.RandomContrast((1.0 - contrast, 1.0 + contrast), p=p)]
    if blur:
        steps += [K.RandomGaussianBlur((3, 3), (0.5 * blur, blur), p=p)]
    if noise:
        steps += [K.RandomGaussianNoise(std=noise, p=p)]
    # Masks are shares of readers, not classes: interpolate them as the image is.
    as_image = {DataKey.MASK: {"resample": Resample.BILINEAR, "align_corners": True}}
    return K.AugmentationSequential(*steps, data_keys=["input", "mask"], extra_args=as_image)


def augment(
    augmentation: K.AugmentationSequential, image: Tensor, mask: Tensor | None, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Image and mask (1, H, W) in [0, 1] -> the same augmented, a function of `seed`; global random state is
    untouched.

    Only the CPU's generator is seeded: `torch.manual_seed` would reset the GPU's for the training step as
    well.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if mask is None:
            return augmentation(image[None], data_keys=["input"])[0].clamp(0.0, 1.0), None
        turned, turned_mask = augmentation(image[None], mask[None], data_keys=["input", "mask"])
    return turned[0].clamp(0.0, 1.0), turned_mask[0].clamp(0.0, 1.0)


def _check(*, p: float, **amounts: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise UserError(f"augmentation p={p} is no probability; use 0 to 1")
    for name, amount in amounts.items():
        limit = 3 if name == "blur" else 1
        if not 0.0 <= amount < limit:
            raise UserError(f"augmentation {name}={amount} is out of range; use 0 (off) to below {limit}")
