"""Deep Taylor decomposition (Montavon et al. 2017) as in iNNvestigate's `deep_taylor.bounded` (paper, sec. 3.4)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import one_hot

from cycle_am.explainers import graph
from cycle_am.explainers.base import Explainer, logit
from cycle_am.explainers.propagation import box_rule, plus_rule, propagate


class DeepTaylor(Explainer):
    """z-box rule in the first layer (pixels lie in [low, high]), z-plus in all others, the last one too.

    It explains the positive part of the target's logit, max(logit, 0), as the toolbox, which puts a ReLU behind the
    network: where the logit is not positive, the map is 0 everywhere. The map is never negative. Promise: it sums to
    that positive part (biases are ignored, so they absorb nothing; a layer without positive contributions does).

    BatchNorm is merged into the convolution before it. In residual networks additions and mean pooling follow z-plus
    too, being linear maps with positive weights; the toolbox hands the whole relevance to both summands. The weights
    are read at the first `explain`. Two passes.
    """

    signed = False

    def __init__(self, classifier: nn.Module, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(classifier)
        self.low, self.high = low, high
        self.steps: list[graph.Step] = []

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        self.steps = self.steps or graph.steps("deep_taylor", self.classifier, image)
        values = graph.run(self.steps, image)
        start = values[-1].clamp_min(0) * one_hot(target, values[-1].shape[1])
        return propagate(self.steps, values, start, self._rule, positive=True)

    def _rule(self, step: graph.Step, x: Tensor, relevance: Tensor) -> Tensor:
        if step.first:
            return box_rule(step.kernel, x, relevance, self.low, self.high)
        return plus_rule(step.kernel, x, relevance, with_bias=False)

    def _promised(self, image: Tensor, target: Tensor) -> Tensor:
        return logit(self.classifier, image, target).clamp_min(0)
