"""Pure loss functions: each term of the paper is one function."""

from cycle_am.losses.augment import Augment
from cycle_am.losses.ssim import dssim, ms_ssim, ssim
from cycle_am.losses.terms import GeneratorStep, activation, adversarial, cycle, discriminator, similarity

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
