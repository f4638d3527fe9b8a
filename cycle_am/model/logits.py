"""Are a network's answers logits? Told from its answers to images that differ as much as images can."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

FAR = (-1000.0, 1000.0)  # far darker and brighter than images: a logit leaves every bound, a probability none
ROUNDING = 1e-4
SINGLE = "leave the last sigmoid out, or return torch.logit(p, 1e-6)"
PAIR = "leave the softmax out, or return log(p)"
Answers = Callable[[Tensor], Tensor]  # images (N,C,S,S) -> (N,K)


def no_logits(answers: Answers, channels: int = 1, size: int = 64) -> tuple[str, str]:
    """Why a network's answers can be no logits, and how to mend it, each a few words; empty where they can.

    A sigmoid, softmax or clamp keeps within [0,1] whatever the image, a tanh within [-1,1]. Small logits, as of a
    network that has hardly learnt, may keep within for every possible image by chance; they leave for impossible ones.
    """
    images = probes(channels, size)
    near = answers(images)
    if (near.amax(0) - near.amin(0)).max() <= ROUNDING**2 * near.abs().max().clamp(min=1):
        return f"the same answer ({near[0].tolist()}) for every image", "check its weights"
    if not _within(near, -1):
        return "", ""
    far = torch.cat([_far(answers, images * factor) for factor in FAR])
    if _within(near, 0) and _within(far, 0):
        total = near.sum(1) if near.shape[1] == 2 else near.new_zeros(())
        if torch.allclose(total, torch.ones_like(total), atol=ROUNDING):
            return "probabilities (they sum to 1)", PAIR
        return "values in [0, 1] for every image, as probabilities are", SINGLE
    if _within(far, -1) and (far.abs() > 0.99).any():
        return "values in [-1, 1] for every image, as a tanh does", "leave the tanh out"
    return "", ""


def _within(values: Tensor, low: float) -> bool:
    return bool((values >= low - ROUNDING).all() and (values <= 1 + ROUNDING).all())


def _far(answers: Answers, images: Tensor) -> Tensor:
    """Finite answers (M,K) to images far out of range; none from a network that refuses such images."""
    try:
        far = answers(images)
    except Exception:  # whatever a stranger's code raises: it had no need to take these
        return torch.zeros(0, 1)
    return far[far.isfinite().all(1)]


def probes(channels: int, size: int) -> Tensor:
    """Grey images (64,C,S,S) in [0,1]: flat from black to white, discs, gradients and waves, noise of all grains."""
    draw = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    from_middle = torch.hypot(x, y)
    flat = [torch.full_like(x, level) for level in torch.linspace(0, 1, 16).tolist()]
    discs = [
        torch.where(from_middle < radius, inside, outside)
        for radius in (0.1, 0.2, 0.4, 0.8)
        for inside, outside in ((0.7, 0.1), (1.0, 0.0), (0.1, 0.7), (0.4, 0.2))
    ]
    waves = [
        0.5 + 0.5 * torch.sin(speed * way)
        for speed in (1.57, 6, 24, 90)
        for way in (x, -y, x + y, from_middle)
    ]
    noise = [
        interpolate(torch.rand(1, 1, grain, grain, generator=draw), size, mode="bilinear")[0, 0]
        for grain in (2, 4, 8, 16, 32, 64, 64, 64)
    ]
    faint = [0.25 + 0.1 * image for image in noise]
    return torch.stack([*flat, *discs, *waves, *noise, *faint])[:, None].repeat(1, channels, 1, 1)
