"""Models small enough for tests, with random weights."""

from __future__ import annotations

import torch

from cycle_am.model.model import Model
from cycle_am.networks import ConvNet, UNetGenerator
from cycle_am.task import Task

GENERATOR = {"channels": (4, 8), "convs": 1, "padding_mode": "reflect"}


def small_model(seed: int = 0, facts: dict | None = None) -> Model:
    """Whose generators change their images and whose answers differ."""
    torch.manual_seed(seed)
    networks = {
        "classifier": ConvNet(width=2),
        "judge": ConvNet(width=3),
        "g_neg": UNetGenerator(**GENERATOR),
        "g_pos": UNetGenerator(**GENERATOR),
    }
    for name in ("g_neg", "g_pos"):
        torch.nn.init.normal_(networks[name].head.weight, std=0.2)
    return Model(networks, Task(), facts=facts)


def images(count: int, seed: int = 0) -> torch.Tensor:
    """(N, 1, 64, 64) in [0, 1]."""
    return torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
