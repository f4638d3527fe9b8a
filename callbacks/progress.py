"""Progress: a bar on a terminal, one line an epoch in a log file."""

from __future__ import annotations

import sys
import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only


def progress(interactive: bool | None = None) -> pl.Callback:
    """The bar where somebody looks (stderr is a terminal), else the lines."""
    interactive = sys.stderr.isatty() if interactive is None else interactive
    return TQDMProgressBar(leave=False) if interactive else EpochLines()


class EpochLines(pl.Callback):
    """Prints one line after each epoch: the validation figures and the time it took."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        text = "  ".join(f"{key.removeprefix('val/')} {value:z.3f}" for key, value in sorted(figures.items()))
        seconds = time.monotonic() - self.start
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {text}  ({seconds:.1f} s)", flush=True
        )
