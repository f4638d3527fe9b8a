"""Activation maximisation on the input (paper, sec. 1.1; Erhan et al. 2009), held near the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cycle_am.explainers.base import Explainer, logit

SMOOTH = 0.01  # differences below this are rounded off, or the ascent would jump to and fro around 0


class ActivationMaximisation(Explainer):
    """x*(target) - x*(other), where x*(class) is x after gradient ascent on the logit of that class.

    The form of CycleAM's R with a plain optimisation in the generators' place: signed brightness, and target 0
    negates it. What is maximised, per case, with d = x* - x summed over the pixels:
    logit - l2 * sum(d^2) - l1 * sum|d| - tv * sum|neighbours' differences of d|. x* stays in [0, 1].

    Args:
        steps: of the ascent.
        lr: what the first step changes the pixel of the largest gradient by. Each case's step size follows from it, and
            falls linearly to 0.
        l2, l1, tv: pull to the image; larger values keep the change small, in few pixels, smooth.
    """

    evidence = False

    def __init__(
        self,
        classifier: nn.Module,
        steps: int = 40,
        lr: float = 0.02,
        l2: float = 1.0,
        l1: float = 0.0,
        tv: float = 0.01,
    ) -> None:
        super().__init__(classifier)
        self.steps, self.lr, self.l2, self.l1, self.tv = steps, lr, l2, l1, tv

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        return self.ascend(image, target) - self.ascend(image, 1 - target)

    def ascend(self, image: Tensor, target: Tensor) -> Tensor:
        """x* (N, 1, H, W) in [0, 1] for the targets (N,)."""
        changed, size = image, None
        for step in range(self.steps):
            changed = changed.detach().requires_grad_()
            score = logit(self.classifier, changed, target).sum() - self._pull(changed - image)
            (gradient,) = torch.autograd.grad(score, changed)
            if size is None:
                size = self.lr / gradient.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
            now = size * (1 - step / self.steps)
            # The penalty on |d| has a corner at 0: soft thresholding is its exact step.
            change = softshrink(changed + now * gradient - image, now * self.l1)
            changed = (image + change).clamp(0, 1)
        return changed.detach()

    def _pull(self, change: Tensor) -> Tensor:
        variation = sum(((change.diff(dim=d).square() + SMOOTH**2).sqrt() - SMOOTH).sum() for d in (-1, -2))
        return self.l2 * change.square().sum() + self.tv * variation


def softshrink(change: Tensor, threshold: Tensor) -> Tensor:
    """Towards 0 by the threshold, and not beyond."""
    return change.sign() * (change.abs() - threshold).clamp_min(0)
