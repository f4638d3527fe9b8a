"""Grad-CAM++ (Chattopadhay et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cycle_am.explainers.base import logit
from cycle_am.explainers.grad_cam import GradCam, hooked


class GradCamPlusPlus(GradCam):
    """Grad-CAM whose weights are sums of positive gradients, each weighted by alpha (eq. 19 of its paper).

    alpha = g^2 / (2 g^2 + sum(A) g^3), g the gradient of the target's logit with respect to the feature map A: its
    authors explain exp(logit), whose higher derivatives are powers of g. Layer, size and promise as of Grad-CAM.
    """

    method = "grad_cam_pp"

    def _small(self, image: Tensor, target: Tensor, layer: nn.Module) -> Tensor:
        kept: list[Tensor] = []
        with hooked([layer], lambda _, __, output: kept.append(output)):
            score = logit(self.classifier, image.requires_grad_(), target)
        (gradient,) = torch.autograd.grad(score.sum(), kept)
        return combine(kept[0].detach(), gradient)


def combine(features: Tensor, gradient: Tensor) -> Tensor:
    """Feature maps and gradients (N, K, h, w) -> map (N, 1, h, w) >= 0."""
    denominator = 2 * gradient**2 + features.sum((2, 3), keepdim=True) * gradient**3
    alpha = torch.where(denominator != 0, gradient**2 / denominator, 0.0)
    weights = (alpha * gradient.relu()).sum((2, 3), keepdim=True)
    return (weights * features).sum(1, keepdim=True).relu()
