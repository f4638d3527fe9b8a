"""Control: edges of the image, whatever the classifier says."""

from __future__ import annotations

from kornia.filters import sobel
from torch import Tensor

from cycle_am.explainers.base import Explainer


class ControlEdges(Explainer):
    """Magnitude of the Sobel gradient (per pixel, kernels of unit sum)."""

    signed = False

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        return sobel(image, eps=0.0)
