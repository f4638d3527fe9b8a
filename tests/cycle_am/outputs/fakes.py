"""A model whose answers are known in closed form: its classifier asks for the mean brightness of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from cycle_am.model.explanation import Explanation
from cycle_am.model.model import Model
from cycle_am.model.trust import Trust
from cycle_am.place import Place
from cycle_am.task import Task

EVIL = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>\n<!--"
OBLIQUE = Place(
    "oblique",
    "/home/doe/DOE^JANE/scan.nii",
    centre_mm=(-61.25, 40.5, -132.75),
    row_mm=(0.0, 0.6 * 0.7, 0.8 * 0.7),
    column_mm=(0.7, 0.0, 0.0),
    thickness_mm=2.5,
)


class Brightness(nn.Module):
    """log odds = gain * (mean - .5). `largest` is the largest batch that it was asked about."""

    def __init__(self, gain: float = 10.0) -> None:
        super().__init__()
        self.gain, self.largest = gain, 0

    def forward(self, x: Tensor) -> Tensor:
        self.largest = max(self.largest, len(x))
        odds = self.gain * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-odds / 2, odds / 2], 1)


class Change(nn.Module):
    """A generator out of a function."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


def model(
    name: str = "brightness", gain: float = 10.0, task: Task | None = None, still: bool = False
) -> Model:
    """G- halves the brightness, G+ halves what lacks to 1; still: both leave the image as it is."""
    networks = {
        "classifier": Brightness(gain),
        "judge": Brightness(gain / 2),
        "g_neg": Change((lambda x: x) if still else (lambda x: x / 2)),
        "g_pos": Change((lambda x: x) if still else (lambda x: 1 - (1 - x) / 2)),
    }
    return Model(networks, task or Task(), facts={"name": name}, digest="0123456789abcdef")


def images(*means: float) -> np.ndarray:
    """(N, 64, 64): a gradient each, bright in the upper left, with these means in [.3, .7]."""
    ramp = np.add.outer(np.linspace(0.2, -0.2, 64), np.linspace(0.1, -0.1, 64))
    return np.stack([mean + ramp for mean in means]).astype(np.float32)


def explanation(
    *means: float, verdicts: tuple[str, ...] = (), places: tuple[Place, ...] = (), **options
) -> Explanation:
    """Explained images of these means, with verdicts and places as given."""
    made = model(**options).explain(images(*means), trust=False)
    trust = tuple(
        Trust(word, () if word == "usable" else (f"a reason for {word}",), {"unlike": 1.5})
        for word in verdicts
    )
    return replace(made, trust=trust, place=places)
