"""Models at hand, and what each says of itself."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from cycle_am.app.loading import load
from cycle_am.app.tasks.explain import digest
from cycle_am.errors import UserError
from cycle_am.model import file as model_file
from cycle_am.model import loading
from cycle_am.task import Task


def found(here: Path = Path()) -> list[dict[str, str]]:
    """Shipped models, model files in a folder, and the newest finished CycleAM runs below its `runs`: what to give as
    --model, and what it is.
    """
    files = loading.models()
    files |= {str(path): path for path in sorted(here.glob(f"*{model_file.SUFFIX}"))}
    listed = [{"model": name, "path": str(path), "what": _what(path)} for name, path in files.items()]
    runs = sorted(path.parents[1] for path in here.glob("runs/**/latest/.hydra/config.yaml"))
    return listed + [row for run in runs if (row := _run(run))]


def _what(path: Path) -> str:
    try:
        facts = model_file.read(path).facts
    except UserError:
        return "damaged, or of another version"
    task = Task.of(facts["task"])
    return f"{facts.get('name')}: {' or '.join(task.classes)}, {task.side()}"


def _run(folder: Path) -> dict[str, str] | None:
    if not (folder / "best.ckpt").is_file():
        return None
    cfg = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
    if cfg.get("task") != "cycle_am":
        return None
    return {
        "model": str(folder),
        "path": str(folder),
        "what": f"a run: {cfg.get('name')} on {cfg.get('data_name')}",
    }


def described(source: str) -> tuple[dict[str, Any], str]:
    """What a model says of itself, as JSON, and its card. Raises UserError where there is no such model."""
    path = loading.models().get(source, Path(source))
    if path.is_file():
        content = model_file.read(path)
        facts, card, own = content.facts, content.card, model_file.digest(path)
    else:
        model = load(source)
        facts, card, own = model.facts, model.card, digest(model)
    return {**_plain(facts), "digest": own}, card


def _plain(value: Any) -> Any:
    """As JSON that every reader takes: an undefined number is null."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def run_name(run: Path) -> str:
    """Experiment and data of a run. Raises UserError where the folder is none."""
    file = run / ".hydra" / "config.yaml"
    if not file.is_file():
        raise UserError(f"{run} is no run; give the folder of a finished CycleAM run")
    cfg = yaml.safe_load(file.read_text(encoding="utf-8"))
    return f"{cfg.get('name')}_{cfg.get('data_name')}"


def file_name(name: str) -> str:
    """A model file's name for a model's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._") + model_file.SUFFIX
