"""Choosing the best checkpoint and the end of training, both only after a minimum number of epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint


class _Movable(ModelCheckpoint):
    """A resumed run may lie in another folder than the one it continues: what was saved there counts as
    saved here, provided that the file was copied (`Run.adopt`)."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over scores and file names, not the folder."""
        super().load_state_dict(_moved(state_dict, self.dirpath))


class LastCheckpoint(_Movable):
    """Writes `last.ckpt` in `dirpath` after every epoch."""

    def __init__(self, dirpath: str) -> None:
        super().__init__(dirpath, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)


class BestCheckpoint(_Movable):
    """Keeps `best.ckpt` in `dirpath`, by the monitored value, from epoch `min_epochs` on; `metrics` are its figures."""

    def __init__(self, dirpath: str, monitor: str, mode: str = "max", min_epochs: int | None = None) -> None:
        options = {
            "monitor": monitor,
            "mode": mode,
            "save_on_train_epoch_end": True,
            "enable_version_counter": False,
        }
        super().__init__(dirpath, filename="best", **options)
        self.min_epochs = min_epochs or 0
        self.metrics: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """With the best epoch's figures."""
        return {**super().state_dict(), "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them over; checkpoints of earlier versions have none."""
        self.metrics = dict(state_dict.get("metrics", {}))
        super().load_state_dict(state_dict)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the figures of an epoch that is the best so far."""
        before = self.best_model_score
        super().on_train_epoch_end(trainer, pl_module)
        if self.best_model_score is not before:
            self.metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Any = None) -> bool:
        """Whether this epoch is the best so far, and late enough to count."""
        return trainer.current_epoch + 1 >= self.min_epochs and super().check_monitor_top_k(trainer, current)


def _moved(state: dict[str, Any], dirpath: str) -> dict[str, Any]:
    """The state with all its paths in `dirpath`."""

    def move(path: str) -> str:
        return str(Path(dirpath) / Path(path).name) if path else path

    paths = {key: move(state[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
    models = {move(path): score for path, score in state["best_k_models"].items()}
    return {**state, **paths, "best_k_models": models, "dirpath": dirpath}


class LateEarlyStopping(EarlyStopping):
    """Early stopping that begins to count at epoch `min_epochs`."""

    def __init__(
        self,
        monitor: str,
        mode: str = "max",
        patience: int = 5,
        min_epochs: int | None = None,
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode, check_on_train_epoch_end=True)
        self.min_epochs = min_epochs or 0

    def _should_skip_check(self, trainer: pl.Trainer) -> bool:
        return trainer.current_epoch + 1 < self.min_epochs or super()._should_skip_check(trainer)
