"""Pure loss functions: each term of the paper is one function."""

import utils  # noqa: F401 (before torch)
from losses.augment import Augment
from losses.ssim import dssim, ms_ssim, ssim
from losses.terms import GeneratorStep, activation, adversarial, cycle, discriminator, similarity

__all__ = [
    "Augment",
    "GeneratorStep",
    "activation",
    "adversarial",
    "cycle",
    "discriminator",
    "dssim",
    "ms_ssim",
    "similarity",
    "ssim",
]
