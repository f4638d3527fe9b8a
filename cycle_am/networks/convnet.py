"""The classifier that is explained (paper, sec. 3.2)."""

from math import ceil

from torch import Tensor, nn


class ConvNet(nn.Module):
    """Four blocks of 3x3 convolution, batch normalisation and ReLU, then one linear layer to the logits.

    Every ReLU is a module of its own and not in place, and only ``flatten`` is functional, so that hook-based
    explainers can attach to each layer.

    Args:
        width: kernels of the first block; the others have 2, 4 and 8 times as many (paper: 32).
        in_channels: image channels.
        image_size: height and width in pixels (paper: 64); three blocks have stride 2, so an eighth of it, rounded up,
            is left.
        dropout: share of the flattened features that is dropped while training (paper: none).
        classes: number of logits (paper: 2).

    Raises:
        ValueError: if ``image_size`` is below 8.
    """

    STRIDES = (1, 2, 2, 2)

    def __init__(
        self,
        width: int = 32,
        in_channels: int = 1,
        image_size: int = 64,
        dropout: float = 0.0,
        classes: int = 2,
    ):
        super().__init__()
        if image_size < 8:
            raise ValueError(f"image_size is {image_size}; three strides of 2 need at least 8 pixels")
        channels = [in_channels, *(width * 2**i for i in range(4))]
        self.blocks = nn.Sequential(
            *(
                _block(*pair, stride)
                for *pair, stride in zip(channels, channels[1:], self.STRIDES, strict=False)
            )
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels[-1] * ceil(image_size / 8) ** 2, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Image (N, in_channels, H, W) in [0, 1] to logits (N, classes)."""
        return self.linear(self.dropout(self.blocks(image).flatten(1)))


def _block(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())
