"""CycleAM's R as signed evidence: how much each changed pixel changes the classifier's answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cycle_am.explainers.base import BATCH, Explainer, chunks, joined, margin
from cycle_am.explainers.cycle_am import generated


class CycleAMAttribution(Explainer):
    """What the image has of the target minus what it lacks, both as the generators see it.

    Gradients of the target's log odds (logit(target) - logit(other), since the generators change both), integrated
    along two straight paths (integrated gradients, Sundararajan et al. 2017): from G-(x) to x, what G- took away
    and so speaks for malignant; and from x to G+(x), what G+ had to add and so speaks against it. The second is
    subtracted from the first: along one path from G-(x) to G+(x) every change would count for malignant, and a
    benign image would seem to have no evidence for benign. The map sums to 2 f(x) - f(G-(x)) - f(G+(x)) of the log
    odds f, which is the promise; target 0 negates it, as R.

    Args:
        steps: of each integration (Gauss-Legendre).
    """

    def __init__(self, classifier: nn.Module, gan: Any, steps: int = 32) -> None:
        super().__init__(classifier)
        self.gan, self.steps = gan, steps

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        parts = chunks(BATCH // self.steps, image, *generated(self.gan, image), target)
        return joined(
            self._integrated(neg, x, aim) - self._integrated(x, pos, aim) for x, neg, pos, aim in parts
        )

    def _integrated(self, start: Tensor, end: Tensor, target: Tensor) -> Tensor:
        """Each pixel's share of the change of the log odds from `start` to `end`."""
        nodes, weights = np.polynomial.legendre.leggauss(self.steps)
        shares = torch.from_numpy((nodes + 1) / 2).to(start)[:, None, None, None, None]
        along = (start + shares * (end - start)).flatten(0, 1).requires_grad_()
        (slope,) = torch.autograd.grad(margin(self.classifier, along, target.repeat(self.steps)).sum(), along)
        mean = torch.einsum(
            "s,snchw->nchw", torch.from_numpy(weights / 2).to(start), slope.view(self.steps, *start.shape)
        )
        return (end - start) * mean

    def _promised(self, image: Tensor, target: Tensor) -> Tensor:
        images = (image, *generated(self.gan, image))
        at, neg, pos = (margin(self.classifier, x, target) for x in images)
        return 2 * at - neg - pos
