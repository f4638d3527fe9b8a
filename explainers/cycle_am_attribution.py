"""CycleAM's R as signed evidence: how much each changed pixel changes the classifier's answer."""

from __future__ import annotations

from typing import Any

from captum.attr import IntegratedGradients
from torch import Tensor, nn

from explainers.base import BATCH, Explainer, chunks, joined, margin
from explainers.cycle_am import generated


class CycleAMAttribution(Explainer):
    """Gradients of the target's log odds, integrated along the straight path from G-(x) to G+(x), times R.

    These are integrated gradients (Sundararajan et al. 2017) between the two generated images. What is explained is
    logit(target) - logit(other), since both generators change both logits. The map sums to its change from G-(x) to
    G+(x), which is the promise; target 0 negates it, as R.

    Args:
        steps: of the integration (Gauss-Legendre).
    """

    def __init__(self, classifier: nn.Module, gan: Any, steps: int = 32) -> None:
        super().__init__(classifier)
        self.gan, self.steps = gan, steps
        self.path = IntegratedGradients(lambda image, target: margin(classifier, image, target))

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        x_neg, x_pos = generated(self.gan, image)
        parts = chunks(BATCH // self.steps, x_neg, x_pos, target)
        return joined(
            self.path.attribute(pos, neg, n_steps=self.steps, additional_forward_args=(aim,))
            for neg, pos, aim in parts
        )

    def _promised(self, image: Tensor, target: Tensor) -> Tensor:
        x_neg, x_pos = generated(self.gan, image)
        return margin(self.classifier, x_pos, target) - margin(self.classifier, x_neg, target)
