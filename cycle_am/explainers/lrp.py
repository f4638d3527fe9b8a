"""Layer-wise relevance propagation (Bach et al. 2015) as in iNNvestigate (paper, sec. 3.4)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from cycle_am.explainers import graph
from cycle_am.explainers.base import Explainer, logit
from cycle_am.explainers.propagation import epsilon_rule, flat_rule, plus_rule, propagate


class LRP(Explainer):
    """Relevance of the target's logit, split layer by layer. Signed.

    The paper says "LRP using iNNvestigate" and no more. `preset_a_flat` is `lrp.sequential_preset_a_flat`, which the
    toolbox has for convolutional networks, so that LRP is compared at its best: flat in the first layer, alpha1beta0
    in convolutions, epsilon in dense layers. `epsilon` is its `lrp.epsilon`, that rule everywhere; with epsilon 0 it
    is LRP-z, which is gradient times input in a ReLU network.

    Promise: the map sums to the logit. Biases and epsilon absorb relevance, so the error is 0 only without them.
    BatchNorm is merged into the convolution before it; alpha1beta0 counts the positive part of the bias (Bach et al.;
    the toolbox adds the whole bias, which can bring the denominator to 0). The weights are read at the first `explain`.
    Two passes.

    Args:
        composite: which of the two.
        epsilon: added to the size of the denominator (the toolbox: .1 in the preset, 1e-7 in `lrp.epsilon`).
    """

    def __init__(
        self,
        classifier: nn.Module,
        composite: Literal["preset_a_flat", "epsilon"] = "preset_a_flat",
        epsilon: float = 0.1,
    ) -> None:
        super().__init__(classifier)
        self.composite, self.epsilon = composite, epsilon
        self.steps: list[graph.Step] = []

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        self.steps = self.steps or graph.steps("lrp", self.classifier, image)
        values = graph.run(self.steps, image)
        start = values[-1] * functional.one_hot(target, values[-1].shape[1])
        return propagate(self.steps, values, start, self._rule, positive=False)

    def _rule(self, step: graph.Step, x: Tensor, relevance: Tensor) -> Tensor:
        if self.composite == "preset_a_flat" and step.first:
            return flat_rule(step.kernel, x, relevance)
        if self.composite == "preset_a_flat" and step.kernel.apply is not functional.linear:
            return plus_rule(step.kernel, x, relevance, with_bias=True)
        return epsilon_rule(step.kernel, x, relevance, self.epsilon)

    def _promised(self, image: Tensor, target: Tensor) -> Tensor:
        return logit(self.classifier, image, target)
