"""`python -m benchmarks.training`: training steps and explanations, beside the machine's own convolution speed.

The reference is measured in the same run: a 3x3 convolution of 96 channels, forward and backward, in the same
precision. A share of 1 would be a step made of nothing but such convolutions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from cycle_am import losses
from cycle_am.app.precision import best_precision
from cycle_am.console import tolerate_streams
from cycle_am.contract import Changed
from cycle_am.networks import ConvNet
from cycle_am.randomness import SampleUniform
from lightning_modules.cycle_am_gan import CycleAMGAN, Term

WIDTHS = {"small": (12, 24, 48, 96), "paper": (48, 96, 192, 384)}
BATCH, REPEATS = 16, 3


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("runs/bench_training.json"))
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [line for half in precisions(device) for line in bench(device, half)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.3g}"))
    print(options.out)
    return 0


def precisions(device: str) -> list[bool]:
    """Single precision, and half precision where the hardware has units for it."""
    accelerator = "gpu" if device == "cuda" else "cpu"
    return [False, True] if best_precision(accelerator) == "bf16-mixed" else [False]


def bench(device: str, half: bool) -> list[dict[str, Any]]:
    """All rows of one precision."""
    image = torch.rand(BATCH, 1, 64, 64, device=device)
    peak = convolution_speed(device, half)
    work = {"classifier step": classifier_step(image, half)}
    for name, channels in WIDTHS.items():
        gan = build_gan(channels).to(device)
        work[f"CycleAM step, {name} networks"] = gan_step(gan, image, half)
        work[f"explain one case, {name} networks"] = explanation(gan, image[:1], half)
    return [row(what, action, image.device, half, peak) for what, action in work.items()]


def row(
    what: str, action: Callable[[], Any], device: torch.device, half: bool, peak: float
) -> dict[str, Any]:
    """Seconds, images a second and the share of the convolution speed."""
    with FlopCounterMode(display=False) as counter:
        action()
    seconds = timed(action, device)
    images = 1 if what.startswith("explain") else BATCH
    return {
        "what": what,
        "precision": "bf16" if half else "fp32",
        "ms": 1000 * seconds,
        "images/s": images / seconds,
        "GFLOP/s": counter.get_total_flops() / seconds / 1e9,
        "reference": "3x3 convolution, 96 channels",
        "reference GFLOP/s": peak / 1e9,
        "share": counter.get_total_flops() / seconds / peak,
    }


def timed(action: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the best of several repeats, after one that warms up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def convolution_speed(device: str, half: bool) -> float:
    """Floating point operations a second of a convolution with its backward pass, channels last."""
    convolution = nn.Conv2d(96, 96, 3, padding=1).to(device, memory_format=torch.channels_last)
    x = (
        torch.rand(BATCH, 96, 64, 64, device=device)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
    )

    def action() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            convolution(x).sum().backward()

    operations = 3 * 2 * BATCH * 96 * 96 * 9 * 64 * 64
    return operations / timed(action, torch.device(device))


def classifier_step(image: torch.Tensor, half: bool) -> Callable[[], None]:
    """One step of the paper's ConvNet with AdamW."""
    net = ConvNet().to(image.device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters())
    label = torch.arange(len(image), device=image.device) % 2

    def action() -> None:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            loss = cross_entropy(net(image).float(), label)
        step(optimizer, loss)

    return action


def build_gan(channels: tuple[int, ...]) -> CycleAMGAN:
    """CycleAM with the paper's four terms."""
    similarity = partial(losses.similarity, l1_weight=5.0)
    functions = (losses.cycle, similarity, losses.adversarial, losses.activation)
    terms = dict(
        zip(
            ("cycle", "similarity", "adversarial", "activation"),
            (Term(1.0, f) for f in functions),
            strict=True,
        )
    )
    sizes = {"channels": channels}
    return CycleAMGAN(sizes, sizes, ConvNet(), terms=terms)


def gan_step(gan: CycleAMGAN, image: torch.Tensor, half: bool) -> Callable[[], None]:
    """One step of both discriminators and of both generators."""
    of_generators, of_discriminators = gan.configure_optimizers()

    def action() -> None:
        uniform = SampleUniform((0,))
        with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            changed = Changed(gan.g_neg(image), gan.g_pos(image))
            loss = gan.discriminator_loss(changed, image, uniform)
        step(of_discriminators, loss)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            loss = gan.generator_loss(image, image, changed, uniform)
        step(of_generators, loss)

    return action


def explanation(gan: CycleAMGAN, image: torch.Tensor, half: bool) -> Callable[[], Any]:
    """R of one case."""

    @torch.inference_mode()
    def action() -> None:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
            gan.relevance(image)

    return action


def step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Backward pass and update."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
