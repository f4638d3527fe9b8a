"""CycleAM's own explanation: what would have to change for the answer to change (paper, sec. 2.6, eq. 6)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cycle_am.contract import Changed
from cycle_am.explainers.base import Explainer, frozen


class CycleAM(Explainer):
    """R = G+(x) - G-(x) for malignant, its negative for benign, in [-1, 1].

    Signed brightness, not evidence: negative where malignant means darker. Nothing is promised of its sum.

    Args:
        gan: has `generate(x) -> Changed`.
    """

    evidence = False

    def __init__(self, gan: Any) -> None:
        super().__init__(gan if isinstance(gan, nn.Module) else None)  # for its device and mode
        self.gan = gan

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        changed = generated(self.gan, image)
        return (changed.pos - changed.neg) * (2.0 * target - 1)[:, None, None, None]


@torch.no_grad()
def generated(gan: Any, image: Tensor) -> Changed:
    """G-(x) and G+(x), each (N, 1, H, W) in [0, 1], on the image's device."""
    first = next(gan.parameters(), image) if isinstance(gan, nn.Module) else image
    with frozen(gan):
        changed = gan.generate(image.to(first.device))
    return Changed(changed.neg.to(image), changed.pos.to(image))
