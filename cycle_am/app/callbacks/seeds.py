"""Random numbers that depend on (seed, epoch, process) alone, so that a resumed run is the same run."""

from __future__ import annotations

import random

import numpy as np
import pytorch_lightning as pl
import torch


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """A 32 bit seed of its own for every (seed, epoch, rank)."""
    return int(np.random.SeedSequence([seed % 2**32, epoch, rank]).generate_state(1)[0])


class SeedEveryEpoch(pl.Callback):
    """Reseeds python, numpy and torch (all devices) where each training epoch starts."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reseed from (seed, epoch, rank)."""
        value = epoch_seed(self.seed, trainer.current_epoch, trainer.global_rank)
        random.seed(value)
        np.random.seed(value)
        torch.manual_seed(value)
