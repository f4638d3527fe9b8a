"""The generators G+ and G- (paper, sec. 3.2, Fig. 4) and the encoder that they share with the discriminators."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

OUTPUTS = ("image", "residual")


class UNetEncoder(nn.Module):
    """The contracting half of a U-Net: ``convs`` convolutions a stage, average pooling by 2 between stages.

    There is no normalisation over the batch: what the network makes of one image does not depend on the others.

    Args:
        channels: kernels of each stage (paper: 48, 96, 192, 384).
        convs: 3x3 convolutions a stage (paper: 3).
        in_channels: image channels.
        padding_mode: as of ``torch.nn.Conv2d``.
        classes: 0, or the number of classes that the network can be told to work for: each has a scale and an offset
            of every kernel's output, stage by stage (Perez et al. 2018, FiLM).
    """

    def __init__(
        self,
        channels: Sequence[int],
        convs: int = 3,
        in_channels: int = 1,
        padding_mode: str = "zeros",
        classes: int = 0,
    ):
        super().__init__()
        if not channels or convs < 1:
            raise ValueError("an encoder needs at least one stage and one convolution a stage")
        inputs = [in_channels, *channels[:-1]]
        self.stages = nn.ModuleList(
            _stage(i, o, convs, padding_mode) for i, o in zip(inputs, channels, strict=True)
        )
        self.pool = nn.AvgPool2d(2)
        self.told = nn.ModuleList(_told(classes, width) for width in channels) if classes else None

    def forward(self, image: Tensor, to: Tensor | None = None) -> list[Tensor]:
        """Image (N, C, H, W) to one feature map a stage, the k-th at 1 / 2^k of the resolution.

        to: (N,) int64, the class that it is to work for, where it has `classes`.
        """
        features, x = [], image
        for k, stage in enumerate(self.stages):
            x = stage(self.pool(x) if k else x)
            if self.told is not None:
                scale, offset = self.told[k](to)[..., None, None].chunk(2, 1)
                x = torch.addcmul(offset, x, 1 + scale)
            features.append(x)
        return features


class UNetGenerator(nn.Module):
    """U-Net (Ronneberger et al. 2015) that maps an image to a changed image of the same size.

    Args:
        channels: kernels at each stage, finest first; depth = ``len(channels) - 1`` (paper: 48, 96, 192, 384).
        convs: 3x3 convolutions a stage (paper: 3).
        in_channels: image channels.
        output: ``"image"`` (the last layer is the image) or ``"residual"`` (it is added to the input, and starts
            at zero, so that an untrained generator changes nothing).
        padding_mode: as of ``torch.nn.Conv2d``.

        classes: as of :class:`UNetEncoder`.

    Sides that 2^depth does not divide are continued by repeating the border, and cut again.

    Raises:
        ValueError: for an unknown ``output``.
    """

    def __init__(
        self,
        channels: Sequence[int] = (48, 96, 192, 384),
        convs: int = 3,
        in_channels: int = 1,
        output: str = "residual",
        padding_mode: str = "zeros",
        classes: int = 0,
    ):
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output is {output!r}; choose one of {', '.join(OUTPUTS)}")
        self.residual = output == "residual"
        self.encoder = UNetEncoder(channels, convs, in_channels, padding_mode, classes)
        pairs = list(zip(channels[::-1], channels[-2::-1], strict=False))
        self.reduce = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for coarse, fine in pairs)
        self.decoder = nn.ModuleList(_stage(2 * fine, fine, convs, padding_mode) for _, fine in pairs)
        self.head = nn.Conv2d(channels[0], in_channels, 1)
        # A constant start inside the range (0 change, or mid-grey): a clamped pixel would pass no gradient.
        nn.init.zeros_(self.head.weight) if self.residual else nn.init.normal_(self.head.weight, std=0.02)
        nn.init.constant_(self.head.bias, 0.0 if self.residual else 0.5)

    def forward(self, image: Tensor, to: Tensor | None = None) -> Tensor:
        """Image (N, C, H, W) in [0, 1] to the changed image, same shape, clamped to [0, 1]; to: as of the encoder."""
        step = 2 ** len(self.decoder)
        below, beside = (-side % step for side in image.shape[-2:])
        if below or beside:
            wider = self.forward(pad(image, (0, beside, 0, below), mode="replicate"), to)
            return wider[..., : image.shape[-2], : image.shape[-1]]
        *skips, x = self.encoder(image, to)
        for reduce, stage, skip in zip(self.reduce, self.decoder, skips[::-1], strict=True):
            # 1x1 before up-sampling: the two commute, and it is four times cheaper on the coarse grid.
            x = interpolate(reduce(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(torch.cat([skip, x], dim=1))
        out = self.head(x).float()
        return clamp_unit(image + out if self.residual else out)


class _ClampUnit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        leaving = ((x < 0) & (gradient > 0)) | ((x > 1) & (gradient < 0))  # descent would go further out
        return gradient.masked_fill(leaving, 0.0)


def clamp_unit(x: Tensor) -> Tensor:
    """Clamp to [0, 1]; a value outside still gets the gradient that brings it back.

    With the plain clamp's gradient a generator that once overshot everywhere would never learn again (seen).
    """
    return _ClampUnit.apply(x)


def _told(classes: int, width: int) -> nn.Embedding:
    """Scale and offset of each kernel for each class, small at first, so that all classes begin nearly alike."""
    numbers = nn.Embedding(classes, 2 * width)
    nn.init.normal_(numbers.weight, std=0.1)
    return numbers


def _stage(in_channels: int, out_channels: int, convs: int, padding_mode: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(convs):
        conv = nn.Conv2d(
            in_channels if i == 0 else out_channels, out_channels, 3, padding=1, padding_mode=padding_mode
        )
        nn.init.kaiming_normal_(conv.weight, a=0.2, nonlinearity="leaky_relu")
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers)
