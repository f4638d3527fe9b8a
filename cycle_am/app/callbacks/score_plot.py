"""The explanation score over the epochs as one picture: the measure of convergence that the paper lacks
(sec. 5.1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from matplotlib.figure import Figure

from cycle_am.app.callbacks.log_media import log_image, render


class ScorePlot(pl.Callback):
    """Writes `path` at the end of the training: the score `key` bold, its factors thin.

    The history is part of the checkpoint, so a resumed run draws all of its epochs.
    """

    def __init__(self, path: str, key: str = "val/explanation_score") -> None:
        self.path, self.key = Path(path), key
        # Epoch (as text: checkpoints keep plain values) -> figures.
        self.history: dict[str, dict[str, float]] = {}

    def state_dict(self) -> dict[str, Any]:
        """The figures so far."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.history = dict(state_dict["history"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember this epoch's figures."""
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        self.history[str(trainer.current_epoch + 1)] = figures

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if (
            not trainer.is_global_zero
            or trainer.fast_dev_run
            or not any(self.key in f for f in self.history.values())
        ):
            return
        image = render(plot(self.history, self.key), dpi=120)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _save(image, self.path)
        if trainer.loggers:
            log_image(trainer, "score", image, self.key)


def plot(history: dict[str, dict[str, float]], key: str) -> Figure:
    """Figures over epochs; the best epoch is marked."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axis = figure.subplots()
    for name in sorted({name for figures in history.values() for name in figures}):
        points = [(int(epoch), figures[name]) for epoch, figures in history.items() if name in figures]
        bold = name == key
        axis.plot(
            *zip(*points, strict=True),
            label=name.removeprefix("val/"),
            lw=2.5 if bold else 1,
            marker="." if bold else None,
        )
    best = max((epoch for epoch in history if key in history[epoch]), key=lambda epoch: history[epoch][key])
    axis.axvline(int(best), color="0.6", lw=1, ls=":")
    axis.set(xlabel="epoch", ylim=(0, 1), title=f"best {history[best][key]:.3f} at epoch {best}")
    axis.legend(fontsize=8)
    return figure


def _save(image: Any, path: Path) -> None:
    from PIL import Image

    Image.fromarray(image).save(path)
