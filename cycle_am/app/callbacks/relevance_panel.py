"""Pictures of a fixed set of validation cases while training: x, G-(x), G+(x), reconstruction and R (sec. 2,
fig. 6).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from cycle_am.app.callbacks.domain_transfer import classifiers, probability, relevance_of
from cycle_am.app.callbacks.log_media import log_image, log_table, render
from cycle_am.contract import one_map
from cycle_am.reports.colours import DIVERGING, RELEVANCE_SCALE, scale_words
from cycle_am.reports.draw import in_bytes, relevance_bar
from cycle_am.task import Task

TITLES = {"x": "x", "neg": "G-(x)", "pos": "G+(x)", "cycle": "G-(G+(x))", "relevance": "R = G+(x) - G-(x)"}
BAR = 0.55  # inches below the pictures, for the scale of R


class RelevancePanel(pl.Callback):
    """Logs a panel (`panels`) and a table (`panel_table`) of `cases` validation cases, the classes in
    turn.

    The same cases every `every_n_epochs` epochs; captions hold p of the second class of the classifiers on
    x, G-(x), G+(x).
    """

    def __init__(self, cases: int = 6, every_n_epochs: int = 1) -> None:
        self.cases, self.every_n_epochs = cases, every_n_epochs

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the pictures of this epoch."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not due or trainer.sanity_checking or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        cases = trainer.datamodule.val_cases
        cases = cases.select(choose(cases.label, self.cases))
        names = [cases.task.labels[int(label)] for label in cases.label]
        rows = self._rows(pl_module, cases.window()[0].to(pl_module.device), names)
        log_image(
            trainer,
            "panels",
            render(panel(rows, cases.task)),
            f"epoch {trainer.current_epoch}; R is {scale_words(cases.task)}",
        )
        log_table(trainer, "panel_table", [_table_row(row, titles(cases.task)) for row in rows])

    def _rows(self, module: Any, x: Tensor, labels: list[str]) -> list[dict[str, Any]]:
        """One dict a case: pictures as (C, S, S) arrays, label, and of two classes the probabilities."""
        changed = module.generate(x)
        relevance = relevance_of(module, x, changed)
        if len(changed) > 2:
            pictures = {"x": x, **{str(k): image for k, image in enumerate(changed)}}
            asked = ()
        else:
            pictures = {"x": x, **changed._asdict(), "cycle": module.cycle(x).pos}
            asked = ("x", "neg", "pos")
        pictures["relevance"] = relevance
        arrays = {key: value.float().cpu().numpy() for key, value in pictures.items()}
        probabilities = {
            f"{name}/{kind}": probability(classifier, pictures[kind]).cpu().numpy()
            for name, classifier in classifiers(module).items()
            for kind in asked
        }
        return [
            {
                "label": labels[i],
                "pictures": {key: array[i] for key, array in arrays.items()},
                "p": {key: float(array[i]) for key, array in probabilities.items()},
            }
            for i in range(len(x))
        ]


def titles(task: Task) -> dict[str, str]:
    """What stands above each picture of a row."""
    if task.is_pair:
        return TITLES
    return {"x": "x", **{str(k): name[:14] for k, name in enumerate(task.classes)}, "relevance": "R"}


def choose(label: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` cases: the first ones, the classes in turn; unknown ones where no others
    are left.
    """
    turn = np.empty(len(label), dtype=int)
    for value in np.unique(label):
        turn[label == value] = np.arange(np.sum(label == value))
    return np.lexsort((label, turn, label < 0))[:count]


def coloured(relevance: np.ndarray) -> np.ndarray:
    """R (H, W) -> (H, W, 3) uint8 on its one scale. Red: brighter in G+, blue: brighter in G-."""
    scaled = (relevance / RELEVANCE_SCALE).clip(-1, 1) / 2 + 0.5
    return (colormaps[DIVERGING](scaled)[..., :3] * 255).round().astype(np.uint8)


def picture(key: str, array: np.ndarray) -> np.ndarray:
    """One picture (C, H, W) of a row as uint8 colours."""
    return coloured(one_map(array[None])[0]) if key == "relevance" else in_bytes(array)


def caption(row: dict[str, Any]) -> str:
    """Label and p, e.g. `malignant; explained x .81 G- .06 G+ .97`."""
    names = dict.fromkeys(key.split("/")[0] for key in row["p"])
    value = {key: f"{p:.2f}" for key, p in row["p"].items()}
    texts = [f"{n} x {value[f'{n}/x']}  G- {value[f'{n}/neg']}  G+ {value[f'{n}/pos']}" for n in names]
    return "; ".join([row["label"], *texts])


def panel(rows: list[dict[str, Any]], task: Task) -> Figure:
    """The figure: a row a case, a column a picture, its caption above each row, the scale of R below. One axis a row
    is quick."""
    height = 1.9 * len(rows) + BAR
    above = titles(task)
    figure = Figure(figsize=(1.6 * len(above), height))
    axes = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw={"hspace": 0.25})[:, 0]
    figure.subplots_adjust(left=0.01, right=0.99, bottom=(BAR + 0.02) / height, top=1 - 0.4 / height)
    for axis, row in zip(axes, rows, strict=True):
        axis.imshow(strip([picture(key, row["pictures"][key]) for key in above]), interpolation="nearest")
        axis.set_axis_off()
        axis.set_title(caption(row), fontsize=8)
    for number, title in enumerate(above.values()):
        x, y = (number + 0.5) / len(above), 1 - 0.12 / height
        figure.text(x, y, title, ha="center", va="center", fontsize=8)
    scale = ScalarMappable(Normalize(-RELEVANCE_SCALE, RELEVANCE_SCALE), DIVERGING)
    place = figure.add_axes((0.6, (BAR - 0.12) / height, 0.38, 0.1 / height))
    relevance_bar(figure, scale, None, task, cax=place, orientation="horizontal")
    return figure


def strip(pictures: list[np.ndarray], gap: int = 3) -> np.ndarray:
    """Pictures (H, W, 3) uint8 side by side, with white gaps on both sides of each."""
    return np.concatenate(
        [np.pad(p, ((0, 0), (gap, gap), (0, 0)), constant_values=255) for p in pictures], axis=1
    )


def _table_row(row: dict[str, Any], titles: dict[str, str]) -> dict[str, Any]:
    pictures = {titles[key]: picture(key, array) for key, array in row["pictures"].items()}
    return {"label": row["label"], **pictures, **{f"p {key}": value for key, value in row["p"].items()}}
