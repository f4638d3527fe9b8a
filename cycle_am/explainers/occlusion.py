"""Occlusion (Zeiler & Fergus 2014), by captum."""

from __future__ import annotations

import torch
from captum.attr import Occlusion as Captum
from torch import Tensor, nn

from cycle_am.explainers.base import BATCH, Explainer, chunks, joined
from cycle_am.explainers.infill import Infill, infill


class Occlusion(Explainer):
    """What the target's logit loses when a square is covered; a pixel has the mean over the squares that cover it.

    Squares overlap, so nothing is promised of the sum.

    Args:
        window: side of the square in pixels.
        stride: step between squares in pixels.
        baseline: what covers (`cycle_am.explainers.infill`); black turns a nodule into air, as around it.
    """

    def __init__(
        self,
        classifier: nn.Module,
        background: Tensor | None = None,
        window: int = 8,
        stride: int = 4,
        baseline: Infill = "black",
    ) -> None:
        super().__init__(classifier)
        self.background, self.window, self.stride, self.baseline = background, window, stride, baseline
        self.captum = Captum(classifier)

    @torch.no_grad()
    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        baseline = infill(self.baseline, image, self.background)
        # A few cases at a time, many squares each: the classifier sees about BATCH images at once.
        return joined(self._cover(*part) for part in chunks(BATCH // 32, image, baseline, target))

    def _cover(self, image: Tensor, baseline: Tensor, target: Tensor) -> Tensor:
        return self.captum.attribute(
            image,
            sliding_window_shapes=(1, self.window, self.window),
            strides=(1, self.stride, self.stride),
            baselines=baseline,
            target=target,
            perturbations_per_eval=max(1, BATCH // len(image)),
        )
