"""Networks of one kind for several classes: one network a class, or one that is told which class."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def at_class(networks: Sequence[nn.Module], to: Tensor | int, run: Callable[..., Tensor], *given: Tensor):
    """What the networks make of `given`, tensors (N, ...), for the classes `to`, (N,) int64 or one for all.

    networks: one for each class, or a single one with `classes`. `run(network, *given, to)` asks one of them; its `to`
    is None where it has no need to be told. The answer is a tensor (N, ...) or a list of such.
    """
    if len(networks) == 1:
        to = torch.as_tensor(to, device=given[0].device).expand(len(given[0]))
        return run(networks[0], *given, to)
    if isinstance(to, int):
        return run(networks[to], *given, None)
    order = to.argsort(stable=True)
    counts = torch.bincount(to, minlength=len(networks)).tolist()
    parts = zip(networks, *(tensor[order].split(counts) for tensor in given), strict=True)
    answers = [run(network, *part, None) for network, *part in parts if len(part[0])]
    back = order.argsort()
    if isinstance(answers[0], Tensor):
        return torch.cat(answers)[back]
    return [torch.cat(scale)[back] for scale in zip(*answers, strict=True)]


class Told(nn.Module):
    """A network that is always told the same class: images (N, C, H, W) in, what it makes of them for it out."""

    def __init__(self, network: nn.Module, to: int) -> None:
        super().__init__()
        self.network, self.to_class = network, to

    def forward(self, image: Tensor) -> Tensor:
        """As of the network."""
        return self.network(image, torch.full((len(image),), self.to_class, device=image.device))
