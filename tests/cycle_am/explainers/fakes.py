"""Networks whose explanations are known, and generators that cost nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cycle_am.contract import Changed


class Linear(nn.Sequential):
    """flatten + linear on small images: logits = W x + b."""

    def __init__(self, size: int = 8, bias: bool = False, seed: int = 0) -> None:
        super().__init__(nn.Flatten(), nn.Linear(size * size, 2, bias=bias))
        randomise(self, seed)
        self.size = size

    def weights(self, target: int) -> Tensor:
        """W of one logit as an image (1, H, W)."""
        return self[1].weight[target].detach().reshape(1, self.size, self.size)


class Residual(nn.Module):
    """What a user may bring: one block with a short cut, functional ReLUs, in place, mean pooling and `view`."""

    def __init__(self, width: int = 4, seed: int = 0) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 2)
        randomise(self, seed)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Images (N, 1, H, W) -> logits (N, 2)."""
        x = functional.relu(self.bn(self.stem(image)))
        branch = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(x + self.bn2(self.conv2(branch)))
        return self.head(functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))


class Brightener:
    """Generators that change a square by a fixed amount: G- darkens it, G+ brightens it."""

    def generate(self, x: Tensor) -> Changed:
        """x (N, 1, H, W) -> G-(x), G+(x)."""
        change = torch.zeros_like(x)
        change[..., 2:5, 2:5] = 0.2
        return Changed((x - change).clamp(0, 1), (x + change).clamp(0, 1))


def randomise(net: nn.Module, seed: int = 0, bias: bool = True) -> nn.Module:
    """Seeded weights, and statistics of the normalisations that are not those of an untrained network."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.data = low + (high - low) * torch.rand(tensor.shape, generator=generator)

    for part in net.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            bound = (3 / part.weight[0].numel()) ** 0.5
            uniform(part.weight, -bound, bound)
            if part.bias is not None:
                uniform(part.bias, -0.1, 0.1) if bias else part.bias.data.zero_()
        elif isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in ((part.weight, 0.5, 1.5), (part.running_var, 0.5, 1.5)):
                uniform(tensor, low, high)
            for tensor in (part.bias, part.running_mean):
                uniform(tensor, -0.2, 0.2) if bias else tensor.data.zero_()
    return net


def images(count: int = 3, size: int = 64, seed: int = 1) -> Tensor:
    """(N, 1, size, size) in [0, 1]."""
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
