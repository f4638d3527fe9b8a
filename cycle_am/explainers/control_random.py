"""Control: noise."""

from __future__ import annotations

from zlib import crc32

import torch
from torch import Tensor

from cycle_am.explainers.base import Explainer


class ControlRandom(Explainer):
    """Standard normal noise, signed, different for every image and the same whenever an image comes again."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        return torch.stack([self._noise(case) for case in image.cpu()])

    def _noise(self, image: Tensor) -> Tensor:
        seed = crc32(image.numpy().tobytes(), self.seed % 2**32)
        return torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
