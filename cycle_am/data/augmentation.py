"""Augmentation of one training sample with kornia, image and mask alike, as a function of a seed.

Shifts are not made here: the data module crops them out of the margin, because a shift by padding leaves
stripes at the border that a generator learns to exploit. For the same reason nothing here ever pads.
"""

from __future__ import annotations

from typing import Any

import kornia.augmentation as K
import torch
from kornia.augmentation import random_generator
from kornia.augmentation._2d.geometric.base import GeometricAugmentationBase2D
from kornia.constants import DataKey, Resample
from torch import Tensor

from cycle_am.errors import UserError

SIDEWAYS = "sideways"
QUARTER = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])  # (x, y), y downwards: counter-clockwise as displayed


class Symmetry(GeometricAugmentationBase2D):
    """Mirror along each axis (or sideways only) with probability 1/2, and turn by a multiple of 90 degrees, all
    equally likely.

    One exact step in place of kornia's three: its quarter turns interpolate, and prefer 90 and 180 degrees.
    """

    def __init__(self, flips: bool | str = True, quarter_turns: bool = True) -> None:
        super().__init__(p=1.0)
        upside_down = bool(flips) and flips != SIDEWAYS
        ends = {
            "flip_rows": 1 + upside_down,
            "flip_columns": 1 + bool(flips),
            "turns": 4 if quarter_turns else 1,
        }
        samplers = [((0.0, float(end)), name, None, None) for name, end in ends.items()]
        self._param_generator = random_generator.PlainUniformGenerator(*samplers)

    def compute_transformation(self, input: Tensor, params: dict, flags: dict) -> Tensor:
        """(B, 3, 3) matrices on (x, y, 1) in pixels, about the centre of (B, C, H, W) square images."""
        rows, columns, turns = _whole(params)
        matrix = torch.eye(3).repeat(len(turns), 1, 1)
        for affine, row, column, turn in zip(matrix, rows, columns, turns, strict=True):
            mirror = torch.diag(torch.tensor([1.0 - 2.0 * column, 1.0 - 2.0 * row]))
            affine[:2, :2] = torch.linalg.matrix_power(QUARTER, turn) @ mirror
        matrix[:, :2, 2] = (input.shape[-1] - 1) / 2 * (1.0 - matrix[:, :2, :2].sum(dim=2))
        return matrix.to(input)

    def apply_transform(
        self, input: Tensor, params: dict, flags: dict, transform: Tensor | None = None
    ) -> Tensor:
        """(B, C, H, W) square images -> each mirrored, then turned counter-clockwise, by its own numbers."""
        moved = []
        for image, row, column, turn in zip(input, *_whole(params), strict=True):
            axes = [axis for axis, flip in ((1, row), (2, column)) if flip]
            moved.append(torch.rot90(image.flip(axes), turn, (1, 2)))
        return torch.stack(moved)


def _whole(params: dict) -> list[list[int]]:
    return [params[name].floor().int().tolist() for name in ("flip_rows", "flip_columns", "turns")]


def build_augmentation(
    flips: bool | str = True,
    quarter_turns: bool = True,
    zoom: float = 0.0,
    brightness: float = 0.0,
    contrast: float = 0.0,
    blur: float = 0.0,
    noise: float = 0.0,
    p: float = 0.5,
) -> K.AugmentationSequential:
    """The augmentation for `CasesDataModule(augmentation=...)`; a value of 0 leaves its step out.

    flips, quarter_turns: mirror along each axis with probability 1/2 (`sideways`: left and right only); turn by a
    multiple of 90 degrees.
    zoom: enlarge by up to 1 + zoom (never shrink: that would pad); it changes the nodule's size in mm.
    brightness: add up to +-brightness (image in [0, 1]); contrast: multiply by 1 +- contrast.
    blur: 3 x 3 Gaussian with sigma of blur / 2 to blur pixels; noise: Gaussian with this standard deviation.
    p: probability of each step from zoom on. Raises UserError for a value out of range.
    """
    _check(zoom=zoom, brightness=brightness, contrast=contrast, blur=blur, noise=noise, p=p)
    if flips not in (True, False, SIDEWAYS):
        raise UserError(f"augmentation flips={flips} is unknown; use true, false or {SIDEWAYS}")
    steps: list[Any] = []
    if flips or quarter_turns:
        steps += [Symmetry(flips, quarter_turns)]
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
    """Image and mask (1, H, W) in [0, 1] -> both augmented, a function of `seed`; no global state changes.

    Only the CPU's generator is seeded, and restored: `torch.manual_seed` would reset the GPU's as well.
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
