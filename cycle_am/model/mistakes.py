"""A small network that tells the training images from known mistakes made of them.

A distance finds what is altogether unlike the training images. A field of view wrong by a factor of two, or lung
without a lesion, is not: it looks like them. So mistakes are made from the training images themselves, and a network
learns to tell the two apart. Where the source has more around the training windows (`AROUND` pixels), the network sees
whole windows. Else it sees a window's middle only, since that is where each mistake can be made without inventing
pixels beyond the border: a window of twice the side shrinks to exactly the middle, and lung away from the lesion is
what lies in the corners.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, cross_entropy, grid_sample, pad

from cycle_am.networks import ConvNet

MIDDLE = 32  # pixels of the window's middle, which the network sees where there is nothing around the window
AROUND = 64  # pixels around the window, where there are
WIDTH, DROPOUT = 12, 0.3
EPOCHS, BATCH, RATE, DECAY = 40, 32, 2e-3, 1e-2
JITTER = 2  # pixels by which the middle may lie beside the middle

Mistake = Callable[[Tensor, int, torch.Generator], Tensor]


def learn(images: Tensor, around: Tensor | None = None, seed: int = 0) -> ConvNet:
    """The network for training images (N, 1, 64, 64) in [0, 1], in eval mode; equal images and seed give it again.

    around: images (M, 1, S, S) of the training with `AROUND` pixels on each side of the window, where there are.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        net = network(MIDDLE if around is None else images.shape[-1]).to(memory_format=torch.channels_last)
        _train(net, images.clone(), around, torch.Generator().manual_seed(seed))
    return net.eval().requires_grad_(False)


def network(size: int) -> ConvNet:
    """Untrained, for images (N, 1, size, size)."""
    return ConvNet(width=WIDTH, image_size=size, dropout=DROPOUT)


def suspicion(network: ConvNet, images: Tensor, size: int = MIDDLE) -> Tensor:
    """(N,) log odds that an image is a mistake, the mean over its eight mirrored and turned views.

    size: of the images' middle that the network sees.
    """
    return torch.stack([_log_odds(network, view) for view in _views(_middle(images, size))]).mean(0)


def _train(net: ConvNet, images: Tensor, around: Tensor | None, random: torch.Generator) -> None:
    size = MIDDLE if around is None else images.shape[-1]
    source = images if around is None else around
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2 * RATE, total_steps=steps)
    for _ in range(steps):
        good, wrong = (source[_draw(len(source), random)] for _ in range(2))
        right = _middle(good, size, random)
        if around is not None:  # of which there are fewer than of windows
            right[::2] = images[_draw(len(images), random)][::2]
        batch = _turned(torch.cat([right, mixed(wrong, size, random)]), random)
        target = torch.arange(2).repeat_interleave(BATCH)
        loss = cross_entropy(net(batch.contiguous(memory_format=torch.channels_last)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def mixed(images: Tensor, size: int, random: torch.Generator) -> Tensor:
    """Middles (N, 1, size, size) of mistakes, made of images (N, 1, S, S): every kind in turn."""
    parts = [images[i :: len(KINDS)] for i in range(min(len(KINDS), len(images)))]
    return torch.cat([kind(part, size, random) for kind, part in zip(KINDS, parts, strict=False)])


def _window(x: Tensor, size: int, random: torch.Generator) -> Tensor:
    """Another intensity window: narrower than the task's, or wider."""
    narrow, wide = _exponential(x, 0.15, 0.65, random), _uniform(x, 1.5, 4, random)
    width = torch.where(_coin(x, random), narrow, wide)
    low = _uniform(x, 0, 1, random) * (1 - width)
    return _middle(((x - low) / width).clamp(0, 1), size, random)


def _tone(x: Tensor, size: int, random: torch.Generator) -> Tensor:
    """Another contrast: any curve through five grey levels drawn anew."""
    levels = torch.rand(len(x), 5, generator=random)
    position = (x * 4).clamp(0, 3.999).flatten(1)
    below = position.long()
    share = position - below
    mapped = levels.gather(1, below) * (1 - share) + levels.gather(1, below + 1) * share
    return _middle(mapped.reshape(x.shape), size, random)


def _inverted(x: Tensor, size: int, random: torch.Generator) -> Tensor:
    return _middle(1 - x, size, random)


def _noisy(x: Tensor, size: int, random: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=random) * _uniform(x, 0.08, 0.3, random)
    return _middle((x + noise).clamp(0, 1), size, random)


def _enlarged(x: Tensor, size: int, random: torch.Generator) -> Tensor:
    """A field of view of half the side. Sharpened before, since scans are sharper than windows cut from them."""
    smooth = avg_pool2d(pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
    sharp = (x + _uniform(x, 0, 1.5, random) * (x - smooth)).clamp(0, 1)
    return _cut(sharp, size, _exponential(x, 0.36, 0.54, random))


def _reduced(x: Tensor, size: int, random: torch.Generator) -> Tensor:
    """A field of view of twice the side."""
    return _cut(x, size, _uniform(x, 1.9, 2.2, random))


def _elsewhere(x: Tensor, size: int, random: torch.Generator) -> Tensor:
    """No lesion in the middle: of a window a corner, with more around it any place beside the lesion."""
    half = size / 2
    if x.shape[-1] < 3 * size:
        shift = [_sign(x, random) * _uniform(x, 12, 16, random).round() / half for _ in range(2)]
    else:
        angle = _uniform(x, 0, 2 * math.pi, random)
        away = _exponential(x, 14, size - 2, random) / half
        shift = [away * angle.sin(), away * angle.cos()]
    return _cut(x, size, torch.ones(len(x), 1, 1, 1), *shift)


# What stands here more than once is harder to learn.
KINDS: tuple[Mistake, ...] = (
    *(_window, _tone, _inverted, _noisy),
    *(_enlarged, _reduced, _elsewhere) * 2,
    _elsewhere,
)


def _cut(
    x: Tensor, size: int, side: Tensor, down: Tensor | None = None, right: Tensor | None = None
) -> Tensor:
    """(N, 1, size, size): the part of `side` (N, 1, 1, 1) middles, moved by `down`, `right` half middles."""
    frame = torch.zeros(len(x), 2, 3)
    share = size / x.shape[-1]
    frame[:, 0, 0] = frame[:, 1, 1] = side.flatten() * share
    if down is not None and right is not None:
        frame[:, 0, 2], frame[:, 1, 2] = right.flatten() * share, down.flatten() * share
    grid = affine_grid(frame, [len(x), 1, size, size], align_corners=False)
    return grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _middle(x: Tensor, size: int, random: torch.Generator | None = None) -> Tensor:
    """The image's middle; with `random` some pixels beside it."""
    start = (x.shape[-1] - size) // 2
    at = (0, 0) if random is None else torch.randint(-JITTER, JITTER + 1, (2,), generator=random).tolist()
    row, column = start + at[0], start + at[1]
    return x[..., row : row + size, column : column + size]


def _views(x: Tensor) -> list[Tensor]:
    turned = [torch.rot90(x, quarter, (2, 3)) for quarter in range(4)]
    return turned + [view.flip(3) for view in turned]


def _turned(x: Tensor, random: torch.Generator) -> Tensor:
    return _views(x)[int(torch.randint(8, (1,), generator=random))]


def _log_odds(network: ConvNet, middles: Tensor) -> Tensor:
    logits = network(middles)
    return logits[:, 1] - logits[:, 0]


def _draw(count: int, random: torch.Generator) -> Tensor:
    return torch.randint(count, (BATCH,), generator=random)


def _uniform(x: Tensor, low: float, high: float, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(len(x), 1, 1, 1, generator=random)


def _exponential(x: Tensor, low: float, high: float, random: torch.Generator) -> Tensor:
    """Uniform in the logarithm."""
    return _uniform(x, math.log(low), math.log(high), random).exp()


def _coin(x: Tensor, random: torch.Generator) -> Tensor:
    return torch.rand(len(x), 1, 1, 1, generator=random) < 0.5


def _sign(x: Tensor, random: torch.Generator) -> Tensor:
    return _coin(x, random).float() * 2 - 1
