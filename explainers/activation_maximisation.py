"""Activation maximisation on the input (paper, sec. 1.1; Erhan et al. 2009), held near the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from explainers.base import Explainer, logit


class ActivationMaximisation(Explainer):
    """x*(target) - x*(other), where x*(class) is x after gradient ascent (Adam) on the logit of that class.

    The form of CycleAM's R with a plain optimisation in the generators' place: signed brightness, and target 0
    negates it. What is maximised, per case, with d = x* - x summed over the pixels:
    logit - l2 * sum(d^2) - l1 * sum|d| - tv * sum|neighbours' differences of d|. x* stays in [0, 1].

    Args:
        steps, lr: of the ascent; no pixel moves farther than about steps * lr.
        l2, l1, tv: pull to the image; larger values keep the change small, in few pixels, smooth.
    """

    evidence = False

    def __init__(
        self,
        classifier: nn.Module,
        steps: int = 40,
        lr: float = 0.01,
        l2: float = 0.1,
        l1: float = 0.0,
        tv: float = 0.01,
    ) -> None:
        super().__init__(classifier)
        self.steps, self.lr, self.l2, self.l1, self.tv = steps, lr, l2, l1, tv

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        return self.ascend(image, target) - self.ascend(image, 1 - target)

    def ascend(self, image: Tensor, target: Tensor) -> Tensor:
        """x* (N, 1, H, W) in [0, 1] for the targets (N,)."""
        changed = image.clone().requires_grad_()
        optimizer = torch.optim.Adam([changed], self.lr)
        for _ in range(self.steps):
            score = logit(self.classifier, changed, target).sum() - self._pull(changed - image)
            (gradient,) = torch.autograd.grad(-score, changed)
            changed.grad = gradient
            optimizer.step()
            changed.data.clamp_(0, 1)
        return changed.detach()

    def _pull(self, change: Tensor) -> Tensor:
        return self.l2 * change.square().sum() + self.l1 * change.abs().sum() + self.tv * variation(change)


def variation(image: Tensor) -> Tensor:
    """Total variation: sum of absolute differences of neighbours in rows and columns."""
    return image.diff(dim=-1).abs().sum() + image.diff(dim=-2).abs().sum()
