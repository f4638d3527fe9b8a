"""Between the data's images and what a network of somebody else takes and gives, differentiably."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cycle_am.errors import UserError

NAMES = ("channels", "size", "mean", "std")


class Adapter(nn.Module):
    """A network behind a change of its input and a choice among its logits.

    In this order: one channel is repeated `channels` times; the image is resized to `size` x `size` (bilinear, with
    smoothing where it shrinks); `mean` is subtracted and the rest divided by `std`, one number or one a channel. Of
    the logits (N, K) the two `outputs` are kept, so that p is the probability of the second of the two, given that it
    is one of them. What is None is left out.
    """

    def __init__(
        self,
        net: nn.Module,
        channels: int | None = None,
        size: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        outputs: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.net, self.channels, self.size = net, channels, size
        self.outputs = None if outputs is None else list(outputs)
        # Not saved: they are settings, and no part of the network's weights.
        for name, values in (("mean", mean), ("std", std)):
            tensor = (
                None if values is None else torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
            )
            self.register_buffer(name, tensor, persistent=False)
        self.training = False

    def forward(self, image: Tensor) -> Tensor:
        """image (N, C, H, W) in [0, 1] -> the network's logits, or the two that are chosen."""
        if self.channels and image.shape[1] == 1:
            image = image.repeat(1, self.channels, 1, 1)
        if self.size and tuple(image.shape[-2:]) != (self.size, self.size):
            shrinks = self.size < min(image.shape[-2:])
            image = interpolate(image, (self.size, self.size), mode="bilinear", antialias=shrinks)
        if self.mean is not None:
            image = image - self.mean
        if self.std is not None:
            image = image / self.std
        logits = self.net(image)
        if self.outputs is None:
            return logits
        if not isinstance(logits, Tensor) or logits.ndim != 2 or max(self.outputs) >= logits.shape[1]:
            form = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"classifier.outputs={self.outputs}: the classifier gives {form}, not (N, K) logits"
            )
        return logits[:, self.outputs]

    def train(self, mode: bool = True) -> Adapter:
        """Nothing: the network was loaded in evaluation mode and stays there."""
        return self


def adapted(net: nn.Module, input: Mapping[str, Any] | None, outputs: Sequence[int] | None) -> nn.Module:
    """The network behind an adapter, or itself where nothing is to be changed.

    input: `channels`, `size`, `mean`, `std`. outputs: numbers of the data's two classes among the logits. Raises
    UserError for what cannot be.
    """
    given = {name: value for name, value in (input or {}).items() if value is not None}
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise UserError(f"classifier.input.{unknown[0]} is unknown; there are {', '.join(NAMES)}")
    _check(given, outputs)
    return Adapter(net, **given, outputs=outputs) if given or outputs is not None else net


def _check(given: Mapping[str, Any], outputs: Sequence[int] | None) -> None:
    for name in ("channels", "size"):
        if name in given and (not isinstance(given[name], int) or given[name] < 1):
            raise UserError(
                f"classifier.input.{name}={given[name]} is no number of pixels or channels; use 1 or more"
            )
    for name in ("mean", "std"):
        if name in given:
            values = given[name] if isinstance(given[name], Sequence) else [given[name]]
            if not values or any(not isinstance(value, int | float) for value in values):
                raise UserError(
                    f"classifier.input.{name}={given[name]} is no number; give one, or one a channel"
                )
            if name == "std" and min(values) <= 0:
                raise UserError(f"classifier.input.std={given[name]} must be above 0")
    if outputs is not None and not _is_pair(outputs):
        raise UserError(f"classifier.outputs={list(outputs)}: give two different numbers from 0 on, as [3,5]")


def _is_pair(outputs: Sequence[int]) -> bool:
    return len(set(outputs)) == len(outputs) == 2 and all(isinstance(n, int) and n >= 0 for n in outputs)
