"""Images, histograms and tables to whichever logger is on: W&B, TensorBoard, and files beside CSV logs.

Files lie in the run's folder as `<key>/epoch_000.png` and `.csv`. Nothing here names a case: ids may belong
to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger


def render(figure: Figure, dpi: int = 100) -> np.ndarray:
    """A matplotlib figure as pixels (H, W, 3) uint8, without pyplot's global state."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def log_image(trainer: pl.Trainer, key: str, image: np.ndarray, caption: str = "") -> None:
    """One picture, (H, W, 3) uint8: W&B would cast floats in [0,1] to black."""
    if image.dtype != np.uint8:
        raise TypeError(f"{key}: render the picture to uint8 first, it is {image.dtype}")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [image], step=trainer.global_step, caption=[caption])
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(key, image, trainer.global_step, dataformats="HWC")
        elif isinstance(logger, CSVLogger):
            Image.fromarray(image).save(_file(trainer, key, "png"))


def log_histograms(trainer: pl.Trainer, key: str, values: Mapping[str, np.ndarray]) -> None:
    """Distributions of values in [0,1], one a name; as one picture in a file."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_metrics(
                {f"{key}/{k}": _wandb().Histogram(v) for k, v in values.items()}, trainer.global_step
            )
        elif isinstance(logger, TensorBoardLogger):
            for name, array in values.items():
                logger.experiment.add_histogram(f"{key}/{name}", array, trainer.global_step)
        elif isinstance(logger, CSVLogger):
            Image.fromarray(render(_histograms(values))).save(_file(trainer, key, "png"))


def log_table(trainer: pl.Trainer, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of numbers, text and pictures ((H, W, 3) uint8); files and TensorBoard leave the pictures out."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            data = [[_wandb_cell(value) for value in row.values()] for row in rows]
            logger.log_table(key, columns=list(rows[0]), data=data, step=trainer.global_step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(
                key, f"```\n{_plain(rows).to_string(index=False)}\n```", trainer.global_step
            )
        elif isinstance(logger, CSVLogger):
            _plain(rows).to_csv(_file(trainer, key, "csv"), index=False)


def _file(trainer: pl.Trainer, key: str, suffix: str) -> Path:
    folder = Path(trainer.default_root_dir) / key
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"epoch_{trainer.current_epoch:03d}.{suffix}"


def _plain(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([{k: v for k, v in row.items() if not isinstance(v, np.ndarray)} for row in rows])


def _wandb() -> Any:
    import wandb

    return wandb


def _wandb_cell(value: Any) -> Any:
    return _wandb().Image(value) if isinstance(value, np.ndarray) else value


def _histograms(values: Mapping[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(2.2 * len(values), 2), layout="constrained")
    for axis, (name, array) in zip(
        np.atleast_1d(figure.subplots(1, len(values), sharey=True)), values.items(), strict=True
    ):
        axis.hist(array, bins=20, range=(0, 1), color="#4477aa")
        axis.set_title(f"{name}, mean {np.mean(array):.2f}", fontsize=8)
    return figure
