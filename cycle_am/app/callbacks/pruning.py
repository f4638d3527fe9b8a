"""Stops a hopeless trial of a study early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import pytorch_lightning as pl
from optuna.pruners import BasePruner

from cycle_am.sweeps.study import PRUNED, open_storage


class Pruning(pl.Callback):
    """Reports `monitor` of each epoch to the study and stops the training where its pruner says so.

    The trainer's `min_epochs` are trained in any case. The run ends like any other, with checkpoints and
    `finished.json`; the study counts it as pruned. A trial that the study gave to another worker meanwhile ends with an
    error (`optuna.exceptions.UpdateFinishedTrialError`).

    Args:
        monitor: name of a logged figure, e.g. val/loss.
        trial: `storage`, `study`, `number`, `id` as the sweeper gives them; None outside of a study: nothing happens.
        pruner: decides, e.g. optuna.pruners.MedianPruner().
    """

    def __init__(self, monitor: str, trial: Mapping[str, Any] | None, pruner: BasePruner) -> None:
        self.monitor, self.facts, self.pruner = monitor, trial, pruner
        self.trial: optuna.Trial | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the study, in the first process only."""
        if self.facts and trainer.is_global_zero:
            storage = open_storage(self.facts["storage"])
            study = optuna.load_study(study_name=self.facts["study"], storage=storage, pruner=self.pruner)
            trial = study.get_trials(deepcopy=False)[self.facts["number"]]
            if not trial.state.is_finished():  # else its configuration is being repeated
                self.trial = optuna.Trial(study, self.facts["id"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, then stop or go on, all processes alike."""
        if self.facts:
            hopeless = self.trial is not None and self._report(trainer)
            trainer.should_stop |= trainer.strategy.broadcast(hopeless)

    def _report(self, trainer: pl.Trainer) -> bool:
        """Whether the trial is hopeless."""
        epoch = trainer.current_epoch + 1
        self.trial.report(float(trainer.callback_metrics[self.monitor]), epoch)
        hopeless = epoch >= (trainer.min_epochs or 0) and self.trial.should_prune()
        if hopeless:
            self.trial.set_user_attr(PRUNED, epoch)
            print(f"pruned after epoch {epoch}", flush=True)
        return hopeless
