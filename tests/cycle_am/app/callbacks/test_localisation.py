"""The share of |R| on the lesion, worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cycle_am.app.callbacks.localisation import Localisation
from cycle_am.contract import Changed


class Module:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}

    def log(self, name: str, value: float, **_: object) -> None:
        self.logged[name] = value


def epoch(batches: list[dict], outputs: list[dict]) -> dict[str, float]:
    """What is logged for 1 mm pixels."""
    module, callback = Module(), Localisation()
    trainer = SimpleNamespace(datamodule=SimpleNamespace(val_cases=SimpleNamespace(pixel_mm=1.0)))
    callback.on_validation_epoch_start(trainer, module)
    for batch, output in zip(batches, outputs, strict=True):
        callback.on_validation_batch_end(trainer, module, output, batch, 0)
    callback.on_validation_epoch_end(trainer, module)
    return module.logged


def test_it_is_the_mean_share_within_three_millimetres_of_the_outline():
    image = torch.zeros(3, 1, 16, 16)
    mask = image.clone()
    mask[:2, 0, 4, 4] = 1.0
    x_pos = image.clone()
    x_pos[0, 0, 4, 7] = 0.3  # 3 mm away: inside
    x_pos[0, 0, 12, 12] = 0.1
    x_pos[1, 0, 4, 8] = 0.5  # 4 mm away: outside
    x_pos[2, 0, 4, 4] = 0.5  # a case without an outline does not count
    batch = {"image": image, "mask": mask, "has_mask": torch.tensor([True, True, False])}
    assert epoch([batch], [{"changed": Changed(image, x_pos)}]) == {"val/localisation": pytest.approx(0.375)}


def test_without_outlines_nothing_is_logged():
    image = torch.zeros(2, 1, 16, 16)
    none = {"image": image, "mask": image, "has_mask": torch.tensor([False, False])}
    made = {"changed": Changed(image, image + 0.1)}
    assert epoch([{"image": image}, none], [made, made]) == {}
