"""Whether the explanation lies on the lesion while training: `val/localisation`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from cycle_am.app.callbacks.domain_transfer import generated, relevance_of
from cycle_am.contract import one_map
from cycle_am.metrics.localisation import mass_inside, regions


class Localisation(pl.Callback):
    """Logs `val/localisation`, in [0, 1]: the mean share of |R| within the outline grown by 3 mm.

    Over the validation cases that have an outline; not logged where none has. It does not enter the explanation
    score, which needs no outlines.
    """

    def __init__(self) -> None:
        self.shares: list[np.ndarray] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last epoch."""
        self.shares.clear()

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Measure one batch."""
        if "mask" not in batch:
            return
        changed = generated(pl_module, batch["image"], outputs)
        relevance = one_map(relevance_of(pl_module, batch["image"], changed)).float().cpu().numpy()
        masks, has_mask = (batch[key].cpu().numpy() for key in ("mask", "has_mask"))
        where = regions(masks, has_mask, trainer.datamodule.val_cases.pixel_mm, relevance.shape)
        self.shares.append(mass_inside(relevance, where.dilated)[where.known])

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the mean; cases without any R do not count."""
        shares = np.concatenate([*self.shares, np.zeros(0)])
        shares = shares[np.isfinite(shares)]
        if len(shares):
            pl_module.log("val/localisation", float(shares.mean()), rank_zero_only=False)
