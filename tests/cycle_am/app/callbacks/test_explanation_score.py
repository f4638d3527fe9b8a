"""The score that chooses checkpoints: against its definition, with other programs' SSIM, and where it must end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_msssim
import torch
from torch import Tensor, nn

from cycle_am.app.callbacks import explanation_score as module
from cycle_am.contract import Changed


class Brightness(nn.Module):
    """log odds = slope (mean - middle)."""

    def __init__(self, slope: float, middle: float = 0.5) -> None:
        super().__init__()
        self.slope, self.middle = slope, middle

    def odds(self, x: Tensor) -> np.ndarray:
        return self.slope * (x.mean((1, 2, 3)).numpy().astype(np.float64) - self.middle)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), self.slope * (x.mean((1, 2, 3)) - self.middle)], 1)


def explained(generate) -> SimpleNamespace:
    """A module whose selector is blunter than the explained classifier."""
    return SimpleNamespace(
        device=torch.device("cpu"), classifier=Brightness(80), selector=Brightness(20), generate=generate
    )


def images(count: int, seed: int) -> Tensor:
    """Textures, half of them darker than .5 and half brighter."""
    random = torch.Generator().manual_seed(seed)
    level = torch.linspace(0.35, 0.65, count).view(-1, 1, 1, 1)
    return (level + 0.1 * torch.randn(count, 1, 32, 32, generator=random)).clamp(0, 1)


TRAIN, VAL = images(24, 0), images(16, 1)


def shift(down: float, up: float):
    return lambda x: Changed((x - down).clamp(0, 1), (x + up).clamp(0, 1))


def test_it_is_the_product_of_gap_similarity_and_realism(monkeypatch):
    asked = []

    def told(*sides: Tensor) -> float:
        asked.append(sides)
        return (0.9, 0.6)[len(asked) - 1]

    monkeypatch.setattr(module, "quick_realism", told)
    generate = shift(0.1, 0.05)
    found = module.explanation_score(gan := explained(generate), TRAIN, VAL)

    changed = generate(VAL)
    p = [1 / (1 + np.exp(-gan.selector.odds(image))) for image in changed]
    gap = p[1].mean() - p[0].mean()
    similar = np.mean([float(pytorch_msssim.ssim(VAL, image, data_range=1)) for image in changed])
    realism = (2 * (1 - 0.9) + 2 * (1 - 0.6)) / 2
    assert found["transfer_gap"] == pytest.approx(gap, abs=1e-5)
    assert found["ssim"] == pytest.approx(similar, abs=1e-5)
    assert found["realism"] == pytest.approx(realism)
    assert found["explanation_score"] == pytest.approx(gap * similar * realism, abs=1e-5)

    # Each discriminator compares with the images that the explained classifier calls as the generator wants it.
    of_train = generate(TRAIN)
    for sides, fakes, called in zip(asked, zip(of_train, changed, strict=True), (False, True), strict=True):
        torch.testing.assert_close(sides[0], fakes[0])
        torch.testing.assert_close(sides[2], fakes[1])
        for real, of in ((sides[1], TRAIN), (sides[3], VAL)):
            torch.testing.assert_close(real, of[torch.from_numpy((gan.classifier.odds(of) >= 0) == called)])


def test_generators_that_change_nothing_or_the_wrong_way_score_nothing(monkeypatch):
    monkeypatch.setattr(module, "quick_realism", lambda *_: 0.5)
    assert module.explanation_score(explained(shift(0, 0)), TRAIN, VAL)["explanation_score"] == 0
    backwards = module.explanation_score(explained(shift(-0.2, -0.2)), TRAIN, VAL)
    assert backwards["transfer_gap"] == backwards["explanation_score"] == 0


def test_a_plain_fault_costs_realism():
    """Moving between levels keeps the texture; a stripe is told from any real image."""

    def striped(x: Tensor) -> Changed:
        changed = Changed(*(image.clone() for image in shift(0.15, 0.15)(x)))
        for image in changed:
            image[..., 20:24] = 1
        return changed

    clean, marked = (
        module.explanation_score(explained(made), TRAIN, VAL) for made in (shift(0.15, 0.15), striped)
    )
    assert marked["realism"] < 0.2
    assert clean["realism"] > marked["realism"] + 0.2
    assert clean["explanation_score"] > marked["explanation_score"]
