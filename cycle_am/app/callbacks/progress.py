"""Progress: a bar on a terminal, one line an epoch and one a minute in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only

from cycle_am.progress import MINUTE, duration


def progress(interactive: bool | None = None) -> pl.Callback:
    """The bar where somebody looks (stderr is a terminal), else the lines."""
    interactive = sys.stderr.isatty() if interactive is None else interactive
    return TQDMProgressBar(leave=False) if interactive else EpochLines()


class EpochLines(pl.Callback):
    """Prints one line after each epoch, the validation figures and the time it took, and within it one a minute."""

    start = said = float("inf")

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how much there is to do."""
        epochs = f"epochs {trainer.current_epoch + 1} to {trainer.max_epochs}"
        print(f"training: {epochs}, {trainer.num_training_batches} steps each", flush=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.start = self.said = time.monotonic()

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print the step, the losses of the last batch and the time that is left, once a minute."""
        losses = outputs if isinstance(outputs, Mapping) else {}
        self._tell(trainer, "step", batch_idx + 1, trainer.num_training_batches, losses)

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """The same for a long validation."""
        self._tell(trainer, "validation step", batch_idx + 1, trainer.num_val_batches[dataloader_idx], {})

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        text = "  ".join(f"{key.removeprefix('val/')} {value:z.3f}" for key, value in sorted(figures.items()))
        seconds = time.monotonic() - self.start
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {text}  ({seconds:.1f} s)", flush=True
        )

    def _tell(self, trainer: pl.Trainer, kind: str, done: int, total: float, losses: Mapping) -> None:
        now = time.monotonic()
        if trainer.sanity_checking or now - self.said < MINUTE:
            return
        self.said = now
        figures = "".join(f"  {key} {float(value):.3f}" for key, value in losses.items())
        left = duration((now - self.start) * (total - done) / done)
        where = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {kind} {done}/{total}"
        print(f"{where}{figures}" + f"  (about {left} left)" * (kind == "step"), flush=True)
