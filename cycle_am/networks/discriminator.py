"""The paired multi-scale patch discriminator D (paper, sec. 2.3, Fig. 5)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cycle_am.networks.unet import UNetEncoder

FAKE, REAL = 0, 1  # channels of the answer: "the first image is the real one", "the second is"


class PairedPatchDiscriminator(nn.Module):
    """Given a fake and a real image, says at every position and scale which of the two is real.

    Both images pass the generator's encoder with shared weights. At each position the two feature vectors are
    concatenated in random order and a two-neuron layer answers; the answer is then put back in order, so that
    neither neuron can specialise in one of the two (sec. 2.3).

    Args:
        channels: kernels of the encoder's stages (paper: 48, 96, 192, 384).
        scales: the stages that answer (paper: 2 and 3).
        convs, in_channels, classes: as of :class:`UNetEncoder`.
    """

    def __init__(
        self,
        channels: Sequence[int] = (48, 96, 192, 384),
        scales: Sequence[int] = (2, 3),
        convs: int = 3,
        in_channels: int = 1,
        classes: int = 0,
    ):
        super().__init__()
        if not all(0 <= s < len(channels) for s in scales):
            raise ValueError(f"scales {tuple(scales)} must be stages of the {len(channels)}-stage encoder")
        self.scales = tuple(scales)
        self.encoder = UNetEncoder(channels[: max(scales) + 1], convs, in_channels, classes=classes)
        self.heads = nn.ModuleList(nn.Conv2d(2 * channels[s], 2, 1) for s in self.scales)

    def forward(
        self,
        fake: Tensor,
        real: Tensor,
        uniform: Callable[..., Tensor] = torch.rand,
        to: Tensor | None = None,
    ) -> list[Tensor]:
        """Logits (N, 2, h, w) for each scale; channel ``REAL`` is right, channel ``FAKE`` is fooled.

        Args:
            fake, real: images (N, C, H, W) in [0, 1].
            uniform: gives numbers in [0, 1) of the asked shape (N, 1, h, w); they decide the order at each position.
            to: (N,) int64, the class that the fake was made for, where it has `classes`.
        """
        of_fake, of_real = (
            self.encoder(fake, to),
            self.encoder(real, to),
        )  # apart: with D frozen, only the fake needs a gradient
        return [
            paired_answer(head, of_fake[s], of_real[s], uniform)
            for s, head in zip(self.scales, self.heads, strict=True)
        ]


def paired_answer(head: nn.Module, fake: Tensor, real: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
    """Shuffle two feature maps (N, C, h, w) at each position, ask ``head``, and undo the shuffle: (N, 2, h, w)."""
    swap = (uniform(fake.shape[0], 1, *fake.shape[2:]) < 0.5).to(fake.device)
    first, second = torch.where(swap, real, fake), torch.where(swap, fake, real)
    answer = head(torch.cat([first, second], dim=1)).float()
    return torch.where(swap, answer.flip(1), answer)
