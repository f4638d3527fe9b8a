"""Images, histograms and tables to whichever logger is on: W&B, TensorBoard, MLflow, and files beside CSV logs.

Files lie in the run's folder as `<key>/epoch_000.png` and `.csv`, MLflow's likewise among its artifacts. Nothing here
names a case: ids may belong to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from cycle_am.app.tracking.loggers import forgiving, silent


def render(figure: Figure, dpi: int = 100) -> np.ndarray:
    """A matplotlib figure as pixels (H, W, 3) uint8, without pyplot's global state."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


class Stage(Protocol):
    """What is logged to and when: a trainer, or `Results`."""

    loggers: Sequence[Logger]
    global_step: int
    current_epoch: int
    default_root_dir: str


@dataclass(frozen=True)
class Results:
    """An evaluation as a stage: nothing in it goes by steps."""

    loggers: Sequence[Logger]
    default_root_dir: str
    global_step: int = 0
    current_epoch: int = 0


def log_image(stage: Stage, key: str, image: np.ndarray, caption: str = "") -> None:
    """One picture, (H, W, 3) uint8: W&B would cast floats in [0,1] to black."""
    if image.dtype != np.uint8:
        raise TypeError(f"{key}: render the picture to uint8 first, it is {image.dtype}")

    def send(logger: Logger) -> None:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [image], step=stage.global_step, caption=[caption])
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(key, image, stage.global_step, dataformats="HWC")
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, _name(stage, key, "png"))
        elif isinstance(logger, CSVLogger):
            Image.fromarray(image).save(_file(stage, key, "png"))

    _each(stage.loggers, send)


def log_histograms(stage: Stage, key: str, values: Mapping[str, np.ndarray]) -> None:
    """Distributions of values in [0,1], one a name; as one picture in files and for MLflow, which has no such thing."""

    def send(logger: Logger) -> None:
        if isinstance(logger, WandbLogger):
            histograms = {f"{key}/{name}": _wandb().Histogram(array) for name, array in values.items()}
            logger.log_metrics(histograms, stage.global_step)
        elif isinstance(logger, TensorBoardLogger):
            for name, array in values.items():
                logger.experiment.add_histogram(f"{key}/{name}", array, stage.global_step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, render(_histograms(values)), _name(stage, key, "png"))
        elif isinstance(logger, CSVLogger):
            Image.fromarray(render(_histograms(values))).save(_file(stage, key, "png"))

    _each(stage.loggers, send)


def log_table(stage: Stage, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of numbers, text and pictures ((H, W, 3) uint8); only W&B's tables hold the pictures too."""

    def send(logger: Logger) -> None:
        if isinstance(logger, WandbLogger):
            data = [[_wandb_cell(value) for value in row.values()] for row in rows]
            logger.log_table(key, columns=list(rows[0]), data=data, step=stage.global_step)
        elif isinstance(logger, TensorBoardLogger):
            text = f"```\n{_plain(rows).to_string(index=False)}\n```"
            logger.experiment.add_text(key, text, stage.global_step)
        elif isinstance(logger, MLFlowLogger):
            text = _plain(rows).to_csv(index=False)
            logger.experiment.log_text(logger.run_id, text, _name(stage, key, "csv"))
        elif isinstance(logger, CSVLogger):
            _plain(rows).to_csv(_file(stage, key, "csv"), index=False)

    _each(stage.loggers, send)


def _each(loggers: Sequence[Logger], send: Callable[[Logger], None]) -> None:
    """Send to the loggers that have not failed; one that does now is left out from here on."""
    for logger in loggers:
        if not silent(logger):
            with forgiving(logger):
                send(logger)


def _name(stage: Stage, key: str, suffix: str) -> str:
    return f"{key}/epoch_{stage.current_epoch:03d}.{suffix}"


def _file(stage: Stage, key: str, suffix: str) -> Path:
    file = Path(stage.default_root_dir) / _name(stage, key, suffix)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


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
