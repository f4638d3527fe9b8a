"""From the folder of a CycleAM run to a model file: the one place here that knows runs, Hydra and Lightning."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import get_class
from omegaconf import DictConfig
from torch import Tensor, nn

from cycle_am.app.classifiers import find_classifiers, load_classifier
from cycle_am.app.config import register
from cycle_am.app.tasks.train import build_data
from cycle_am.errors import UserError
from cycle_am.model.card import card
from cycle_am.model.custom import Custom, wrap
from cycle_am.model.file import Content, state_digest, write
from cycle_am.model.mistakes import AROUND
from cycle_am.model.model import Model
from cycle_am.model.trust import Assessor
from cycle_am.runs.checkpoints import load_module
from cycle_am.runs.run import Run

METRICS = "metrics.json"
PUBLIC = ("lidc", "phantom", "planted")  # sources whose patients' ids are public pseudonyms


def pack(
    run: str | Path, out: str | Path, name: str | None = None, metrics: str | Path | None = None
) -> Path:
    """Write the model file of a CycleAM run's folder; returns its path.

    metrics: the metrics.json of its evaluation, where that is not in the run's folder. Raises UserError where the run
    is none.
    """
    return write(out, of_run(Path(run), name, metrics))


def of_run(
    run_dir: Path,
    name: str | None = None,
    metrics: str | Path | None = None,
    classifier: nn.Module | None = None,
) -> Content:
    """What the model file of a run holds, as `pack`; its data are prepared again where their cache is gone.

    classifier: the user's own network, where the run explains one that its settings do not name.
    """
    run = Run(run_dir)
    best = run.checkpoint()
    if not best.is_file():
        raise UserError(f"{run_dir} has no best.ckpt; give the folder of a finished CycleAM run")
    register()
    cfg = run.settings
    if cfg.get("task") != "cycle_am":
        raise UserError(f"{run_dir} is a run of {cfg.get('name')}; give the folder of a CycleAM run")
    data = build_data(cfg)
    data.task.check_pair("a model file")
    run.check_test_part(data)
    own = None if classifier is None else wrap(classifier, task=data.task)
    classifiers = find_classifiers(cfg, data, best, own)
    gan = load_module(best, get_class(cfg.model._target_), **classifiers.networks())
    explained, judge = classifiers.load_explained(), load_classifier(classifiers.judge)
    g_neg, g_pos = gan.explaining_generators
    networks = {"classifier": explained.net, "judge": judge.net, "g_neg": g_neg, "g_pos": g_pos}
    generator = {"kind": "UNetGenerator", "arguments": dict(gan.hparams["generator"])}
    described = {
        "classifier": _external(explained) if isinstance(explained, Custom) else _convnet(explained),
        "judge": _convnet(judge),
        "g_neg": generator,
        "g_pos": generator,
    }
    task = data.task
    model = Model(networks, task)
    assessor = fit_assessor(model, data)
    facts = {
        "name": name or f"{cfg.name} on {cfg.data_name}",
        "task": task.facts(),
        "networks": described,
        "trust": assessor.facts(),
        "metrics": _metrics(run_dir, metrics),
        "patients": _patients(run, cfg, data),
        "data": {
            "name": str(cfg.data_name),
            "fingerprint": data.fingerprint,
            "cases": {
                "train": len(data.train_cases),
                "val": len(data.val_cases),
                "test": len(data.test_cases),
            },
        },
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "numpy")},
    }
    return Content(facts, _weights(networks, described), assessor.tensors(), card(facts))


def fit_assessor(model: Model, data: pl.LightningDataModule) -> Assessor:
    """What a model's verdicts rest on: training images, more around them where there is, validation images."""
    training, validation = data.train_cases.window()[0], data.val_cases.window()[0]
    return Assessor.fit(model, training, validation, data.surroundings(AROUND))


def _convnet(module: pl.LightningModule) -> dict[str, Any]:
    return {"kind": "ConvNet", "arguments": dict(module.hparams["net"])}


def _external(custom: Custom) -> dict[str, Any]:
    """A network of the user's own is code, which no model file holds; the digest of its weights says which it is."""
    return {"kind": "external", "arguments": {}, "digest": state_digest(custom.net)}


def _weights(networks: Mapping[str, nn.Module], described: Mapping[str, Any]) -> dict[str, Tensor]:
    held = [name for name in networks if described[name]["kind"] != "external"]
    return {f"{name}.{key}": value for name in held for key, value in networks[name].state_dict().items()}


def _metrics(run_dir: Path, file: str | Path | None) -> dict[str, Any]:
    """Figures of the run's evaluation, where it was evaluated; null where undefined."""
    files = [Path(file)] if file else [run_dir / "evaluation" / METRICS, run_dir / METRICS]
    source = next((place for place in files if place.is_file()), None)
    if file and not source:
        raise UserError(f"there is no evaluation {file}; give the metrics.json that evaluate.py wrote")
    return json.loads(source.read_text(encoding="utf-8")) if source else {}


def _patients(run: Run, cfg: DictConfig, data: pl.LightningDataModule) -> dict[str, Any]:
    """Whom the model saw: digests of ids, and the ids themselves where they are public."""
    parts = [*data.train_cases.patient_id, *data.val_cases.patient_id]
    public = sorted(set(map(str, parts))) if str(cfg.data_name).partition("_")[0] in PUBLIC else []
    return {"seen": run.split.get("seen", []), "public": public}
