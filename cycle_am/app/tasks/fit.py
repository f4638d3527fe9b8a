"""`cycle_am.fit`: selector, judge and generators for a network of the user's own, from arrays in memory.

The training is `train.py`'s, by its functions and its settings; what it leaves in the folder is a run like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from cycle_am import settings as conf
from cycle_am.app.config import check_config, register
from cycle_am.app.loading import load
from cycle_am.app.tasks.pack import of_run
from cycle_am.app.tasks.train import prepare, train_companions, train_cycle_am
from cycle_am.data.cases import Cases
from cycle_am.errors import UserError
from cycle_am.files import write_atomically
from cycle_am.model.custom import Custom, wrap
from cycle_am.model.explanation import channels_first
from cycle_am.model.file import SUFFIX, write
from cycle_am.model.model import Model
from cycle_am.runs.run import CONFIG
from cycle_am.task import Task
from datamodules.base import CasesDataModule

CASES, CLASSIFIERS = "cases.npz", "classifiers"
SHARED = (
    "seed",
    "data",
    "extras",
)  # settings of the generators' training that are those of the classifiers' too


class ArrayDataModule(CasesDataModule):
    """Cases from the file that `fit` wrote, with their task. Arguments: as of the base class, and cases: that file."""

    def __init__(self, *, cases: str | Path, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.file = Path(cases)

    @property
    def task(self) -> Task:
        """As it was given; of CT the pixels have the size that `fov_mm` says."""
        task = self._stored.task
        return replace(task, fov_mm=self.fov_mm) if task.is_hounsfield else task

    @cached_property
    def _stored(self) -> Cases:
        return Cases.load(self.file)

    def build_cases(self) -> Cases:
        """All of them."""
        return self._stored


def fit(
    classifier: nn.Module,
    images: Any,
    labels: Any,
    patients: Any = None,
    *,
    out: str | Path,
    classes: Sequence[str] | None = None,
    size: int | None = None,
    experiment: str = "cycle_am_small",
    independent: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Model:
    """Train a model that explains `classifier`, and return it; `out/model.cycleam` holds it without the classifier.

    Args:
        classifier: images (N, C, size, size) in [0, 1] to logits, (N, 2), or (N, 1) or (N,) of the second class. It is
            copied, and not trained; its own training patients must not be among the tested ones.
        images: (N, S, S), (N, 1, S, S), in colour (N, 3, S, S) or (N, S, S, 3), in [0, 1]. S = size + 2 rim: the rim
            lets windows move in training.
        labels: (N,) 0 or 1, -1 unknown.
        classes: names of the two labels, where the images are plain pictures; None: lung nodules in CT.
        size: side of the windows; None: of pictures the whole image, of CT 64.
        patients: (N,) ids; no patient is in two parts of the split. None: every image is a patient of its own.
        out: a new or empty folder: the run's.
        experiment: whose settings are the default (conf/experiment).
        independent: settings of the selector's and the judge's training, nested as in conf/train.yaml.
        settings: of the generators' training, nested alike: `seed=1, data={"fov_mm": 30}, trainer={"max_epochs": 20}`.
            Those of `seed`, `data` and `extras` count for all.

    Raises UserError, one line, for arrays, a network or a setting that will not do.
    """
    pixels = _pixels(images)
    task = _task(pixels, classes, size)
    task.check_pair("cycle_am.fit")
    own, folder = wrap(classifier, task=task), Path(out).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{out} holds something already; give a new folder, or load it: cycle_am.load")
    file = str(folder / CASES)
    shared = {key: settings[key] for key in SHARED if key in settings}
    first = _settings("classifier", folder / CLASSIFIERS, file, shared, independent or {})
    then = _settings(experiment, folder, file, settings, {}, classifier="custom", **_companions(folder))
    task = replace(task, fov_mm=then.data.fov_mm) if task.is_hounsfield else task
    _cases(pixels, labels, patients, task).save(file)
    _train(first, then, own)
    return load(
        write(folder / f"model{SUFFIX}", of_run(folder, classifier=classifier)), classifier=classifier
    )


def _train(first: DictConfig, then: DictConfig, own: Custom) -> None:
    prepare(then)
    train_companions(first)
    folder = Path(then.paths.run_dir)
    text = OmegaConf.to_yaml(then)
    write_atomically(folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))
    train_cycle_am(then, own)


def _companions(folder: Path) -> dict[str, str]:
    kept = folder / CLASSIFIERS
    return {f"classifier.{name}": str(kept / f"{name}.ckpt") for name in ("selector", "judge")}


def _settings(
    experiment: str, folder: Path, file: str, *changes: Mapping[str, Any], **choices: str
) -> DictConfig:
    """The composed configuration of a training. Raises UserError for what there is not."""
    register()
    chosen = {"experiment": experiment, "data": "arrays", "publish": "false"}
    chosen |= {key: value for key, value in choices.items() if "." not in key}
    try:
        with initialize_config_dir(str(conf.folder()), version_base="1.3"):
            cfg = compose("train", [f"{key}={value}" for key, value in chosen.items()])
        with open_dict(cfg.paths):
            cfg.paths.run_dir = str(folder)
        for key, value in choices.items():
            if "." in key:
                OmegaConf.update(cfg, key, value)
        cfg.data.cases = file
        cfg = OmegaConf.merge(cfg, *map(dict, changes))
    except Exception as error:
        if not isinstance(error, OmegaConfBaseException) and "hydra" not in type(error).__module__:
            raise
        raise UserError(f"settings: {' '.join(str(error).split())[:160]}; see conf/train.yaml") from error
    check_config(cfg)
    return cfg


def _pixels(images: Any) -> np.ndarray:
    """(N, S, S) of grey images, (N, 3, S, S) of colour. Raises UserError for arrays of another form."""
    array = np.asarray(images, dtype=np.float32)
    array = array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array
    array = channels_first(array)
    if array.ndim != 3 and (array.ndim != 4 or array.shape[1] != 3):
        raise UserError(
            f"images have shape {array.shape}; give (N, S, S), (N, 1, S, S) or in colour (N, 3, S, S)"
        )
    return np.ascontiguousarray(array)


def _task(pixels: np.ndarray, classes: Sequence[str] | None, size: int | None) -> Task:
    """Of CT unless the classes have names. Raises UserError where no such images can be explained."""
    channels = 1 if pixels.ndim == 3 else 3
    if classes is None:
        task = Task()
        if channels > 1 or (size or task.size) != task.size:
            raise UserError(
                f"pictures of {channels} x {size or pixels.shape[-1]} pixels need classes=(NAME, NAME)"
            )
        return task
    side = size or pixels.shape[-1]
    task = Task(None, side, 0.0, 1.0, tuple(map(str, classes)), channels, unit="", thing="object")
    task.check()
    return task


def _cases(array: np.ndarray, labels: Any, patients: Any, task: Task) -> Cases:
    """Arrays as cases. Raises UserError where they do not fit together."""
    count = len(array)
    label, who = _column("labels", labels, count), _column("patients", patients, count)
    if not np.array_equal(label, label.astype(np.int64)):
        raise UserError("labels must be 0, 1, or -1 where unknown")
    return Cases(
        image=array,
        mask=None,
        label=label.astype(np.int64),
        case_id=np.array([f"case-{i:06d}" for i in range(count)]),
        patient_id=np.array([str(patient) for patient in who]),
        margin=np.full(count, (array.shape[-1] - task.size) // 2, dtype=np.int64),
        diameter_mm=np.full(count, np.nan, dtype=np.float32),
        pixel_mm=task.pixel_mm,
        task=task,
    )


def _column(name: str, values: Any, count: int) -> np.ndarray:
    """(count,) as an array; without values, numbers that are all different."""
    column = np.arange(count) if values is None else np.asarray(values).reshape(-1)
    if len(column) != count:
        raise UserError(f"{name} are {len(column)} and images {count}; give one each")
    return column
