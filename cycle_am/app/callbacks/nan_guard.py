"""Stops a run whose loss is no number any more, before a checkpoint of it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from cycle_am.errors import UserError


class NanGuard(pl.Callback):
    """Raises UserError where a loss is NaN, infinite or beyond `limit`, or a weight is not finite at an
    epoch's end.

    Looks at the training step's loss and at what was logged under `train/` or `loss/`, every `every_n_steps`
    batches.
    Checkpoints are written after each epoch, later than this check, so the last one is always a good one.
    """

    def __init__(self, limit: float = 1e4, every_n_steps: int = 1) -> None:
        self.limit = limit
        self.every_n_steps = every_n_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the losses of this batch."""
        if batch_idx % self.every_n_steps == 0:
            self._check(trainer, outputs)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the epoch's mean losses, and the weights that would be saved."""
        self._check(trainer, None)
        for name, value in pl_module.state_dict().items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise UserError(self._message(trainer, f"weight {name} is not finite"))

    def _check(self, trainer: pl.Trainer, outputs: Any) -> None:
        for key, value in self._losses(trainer, outputs).items():
            if not abs(float(value)) <= self.limit:  # written so that NaN fails too
                raise UserError(self._message(trainer, f"{key} is {float(value):g}"))

    def _losses(self, trainer: pl.Trainer, outputs: Any) -> dict[str, Any]:
        losses = {k: v for k, v in trainer.callback_metrics.items() if k.startswith(("loss/", "train/"))}
        if isinstance(outputs, dict) and "loss" in outputs:
            losses["the loss"] = outputs["loss"]
        return losses

    def _message(self, trainer: pl.Trainer, what: str) -> str:
        last = Path(trainer.default_root_dir) / "last.ckpt"
        kept = f"the last good checkpoint is {last}" if last.is_file() else "no epoch was finished"
        where = f"epoch {trainer.current_epoch}, step {trainer.global_step}"
        return f"training diverged: {what} at {where}; {kept}; lower model.lr"
