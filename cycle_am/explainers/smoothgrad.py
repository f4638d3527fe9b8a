"""SmoothGrad (Smilkov et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cycle_am.explainers.base import BATCH, Explainer, chunks, joined, logit


class SmoothGrad(Explainer):
    """Mean gradient of the target's logit over noisy copies of the image.

    The plain gradient is signed brightness: positive where a brighter pixel speaks for the target. Every case sees
    the same noise, so that it does not depend on its batch. Nothing is promised of the sum.

    Args:
        samples: noisy copies.
        noise: standard deviation of the noise, as a share of the image's range (Smilkov et al.: .1 to .2).
        times_input: multiply by the image, which makes it evidence.
    """

    def __init__(
        self,
        classifier: nn.Module,
        seed: int = 0,
        samples: int = 32,
        noise: float = 0.15,
        times_input: bool = False,
    ) -> None:
        super().__init__(classifier)
        self.seed, self.samples, self.noise, self.times_input = seed, samples, noise, times_input
        self.evidence = times_input

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(self.samples, *image.shape[1:], generator=generator).to(image)
        parts = chunks(BATCH // self.samples, image, target)
        smooth = joined(self._gradient(x, aim, noise) for x, aim in parts)
        return smooth * image if self.times_input else smooth

    def _gradient(self, image: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        spread = self.noise * (image.amax((1, 2, 3)) - image.amin((1, 2, 3)))
        noisy = (image[:, None] + spread[:, None, None, None, None] * noise).flatten(0, 1).requires_grad_()
        score = logit(self.classifier, noisy, target.repeat_interleave(self.samples))
        (gradient,) = torch.autograd.grad(score.sum(), noisy)
        return gradient.unflatten(0, (len(image), self.samples)).mean(1)
