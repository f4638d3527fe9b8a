"""Run classifiers and generators over many images in batches, on whatever device they live."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cycle_am.contract import Changed, changed, one_map
from cycle_am.progress import steps

BATCH = 64


@dataclass(frozen=True)
class Outputs:
    """What the generators make of N images; tensors (N, C, H, W) float32 in [0, 1] on the CPU."""

    x: Tensor
    changed: Changed
    cycle: Changed

    @property
    def relevance(self) -> np.ndarray:
        """R = G+(x) - G-(x) (eq. 6), (N, H, W) float32; of colour as `one_map`."""
        return one_map(self.changed.pos - self.changed.neg).numpy()


def device_of(module) -> torch.device:
    """Where a module's parameters live; the CPU for something without parameters."""
    parameters = getattr(module, "parameters", None)
    first = next(iter(parameters()), None) if parameters else None
    return torch.device("cpu") if first is None else first.device


@torch.no_grad()
def probabilities(classifier, images: Tensor, batch: int = BATCH) -> np.ndarray:
    """p of the second of two classes (N,), of more (N, K), float64, by `classifier.probability`."""
    device = device_of(classifier)
    parts = [classifier.probability(part.to(device)).float().cpu() for part in images.split(batch)]
    return torch.cat(parts).double().numpy() if len(images) else np.zeros(0)


@torch.no_grad()
def generate(gan, images: Tensor, batch: int = BATCH, progress: str = "") -> Changed:
    """G-(x) and G+(x), each (N, C, H, W), for (N, C, H, W) images; `progress` names a bar, none where
    empty."""
    device = device_of(gan)
    parts = images.split(batch)
    shown = steps(parts, progress, unit="batches") if progress else parts
    return _joined([gan.generate(part.to(device)) for part in shown])


@torch.no_grad()
def outputs(gan, images: Tensor, batch: int = BATCH, progress: str = "") -> Outputs:
    """Transfers and cycles of (N, C, H, W) images in [0, 1]."""
    device = device_of(gan)
    transfers = generate(gan, images, batch, progress)
    cycles = _joined([gan.cycle(part.to(device)) for part in images.split(batch)])
    return Outputs(images.float().cpu(), transfers, cycles)


def _joined(parts: list[Changed]) -> Changed:
    """Of all batches, on the CPU."""
    return changed(
        torch.cat([batch.float().cpu() for batch in images]) for images in zip(*parts, strict=True)
    )


def relevance_maps(gan, images: Tensor, batch: int = BATCH) -> np.ndarray:
    """R = G+(x) - G-(x) (eq. 6) as (N, H, W) float32 for (N, C, H, W) images."""
    transfers = generate(gan, images, batch)
    return one_map(transfers.pos - transfers.neg).numpy()
