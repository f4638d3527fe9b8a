"""Integrated gradients (Sundararajan et al. 2017), by captum."""

from __future__ import annotations

from captum.attr import IntegratedGradients as Captum
from torch import Tensor, nn

from cycle_am.explainers.base import BATCH, Explainer, chunks, joined, logit
from cycle_am.explainers.infill import Infill, infill


class IntegratedGradients(Explainer):
    """Gradients of the target's logit, integrated along the straight path from a baseline to x, times x - baseline.

    Promise: the map sums to logit(x) - logit(baseline).

    Args:
        baseline: `cycle_am.explainers.infill`; black is the usual one, black pixels then have no relevance.
        steps: of the integration (Gauss-Legendre).
    """

    def __init__(
        self,
        classifier: nn.Module,
        background: Tensor | None = None,
        baseline: Infill = "black",
        steps: int = 50,
    ) -> None:
        super().__init__(classifier)
        self.background, self.baseline, self.steps = background, baseline, steps
        self.captum = Captum(classifier)

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        baseline = infill(self.baseline, image, self.background)
        parts = chunks(BATCH // self.steps, image, baseline, target)
        return joined(
            self.captum.attribute(x, base, target=aim, n_steps=self.steps) for x, base, aim in parts
        )

    def _promised(self, image: Tensor, target: Tensor) -> Tensor:
        baseline = infill(self.baseline, image, self.background)
        return logit(self.classifier, image, target) - logit(self.classifier, baseline, target)
