"""All runs below a folder, as their files tell: settings, state, figures, curves, pictures.

A folder counts as a run where it holds what a training writes first (`.hydra/config.yaml` or `environment.json`) or
last (`finished.json`); what lies inside a run (companions, sanity checks) belongs to it. A file that is cut short or
of another form is named in `Entry.problems` and ends nothing.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cycle_am.runs.failures import FAILED
from cycle_am.progress import steps
from cycle_am.runs.provenance import ENVIRONMENT, REPEAT, command, nameless
from cycle_am.runs.run import CONFIG, FINISHED, MULTIRUN, Run

MARKS = (CONFIG, Path(ENVIRONMENT), Path(FINISHED))
RESULTS = ("evaluation", "compare")  # inside a run; elsewhere (`out_dir=`) config.yaml names the run
ELSEWHERE = {
    "name",
    "data_name",
    "task",
    "ckpt_path",
    "publish",
    "data.cache_dir",
}  # settings that are shown apart, or
ELSEWHERE_BELOW = ("paths.", "logger.", "trial.")  # only say where files lie, or which job of a study this is
EPOCH = re.compile(r"epoch_(\d+)\.png")
T = TypeVar("T")


@dataclass
class Entry:
    """One run, as the index shows it.

    folder: where it lies; name: the same below the folder of all runs. status: `finished`, `failed` (an error ended
    it: `error`) or `unfinished` (it runs, or was killed). group: the multirun that it is a job of, else empty.
    settings: dotted key -> plain value. started: ISO date, UTC. seconds: of the training, NaN where unknown.
    score: the best value of `monitor`, NaN where there is none. curves: metric -> (N, 3) steps, epochs, values.
    last: metric -> its last value. figures: evaluation's key -> (value, low, high), NaN where undefined.
    pictures: label -> [(epoch or None, file)]. reports: pages of its evaluations. repeat: the line that repeats it.
    problems: files that could not be read, and why.
    """

    folder: Path
    name: str
    group: str = ""
    status: str = "unfinished"
    error: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    experiment: str = ""
    data: str = ""
    started: str = ""
    seconds: float = math.nan
    epochs: int | None = None
    monitor: str = ""
    score: float = math.nan
    commit: str = ""
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    figures: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    pictures: dict[str, list[tuple[int | None, Path]]] = field(default_factory=dict)
    reports: list[Path] = field(default_factory=list)
    repeat: str = ""
    problems: list[str] = field(default_factory=list)

    def read(self, file: Path, reader: Callable[[Path], T]) -> T | None:
        """What `reader` makes of a file; None where it is absent, None and a problem where it cannot be read."""
        if not file.is_file():
            return None
        try:
            return reader(file)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            YAMLError,
            OmegaConfBaseException,
        ) as error:
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            self.problems.append(f"{os.path.relpath(file, self.folder)}: {nameless(reason)}")
            return None


def collect(runs_dir: str | Path) -> list[Entry]:
    """All runs below `runs_dir`, the newest first. Evaluations that lie beside them are given to their runs."""
    root = Path(runs_dir).resolve()
    runs, elsewhere = {}, []
    for folder in steps(_folders(root), "runs", unit="folders"):
        if is_run(folder):
            runs[folder] = read_run(folder, root)
        elif (folder / "metrics.json").is_file():
            elsewhere.append(folder)
    for folder in elsewhere:
        owner = runs.get(_evaluated(folder))
        if owner:
            _read_results(owner, folder)
    return sorted(runs.values(), key=lambda run: run.started, reverse=True)


def is_run(folder: Path) -> bool:
    """Whether a training has begun in a folder."""
    return any((folder / mark).is_file() for mark in MARKS)


def _folders(root: Path) -> Iterator[Path]:
    """Folders below `root`; links (`latest`) are not followed, and what lies inside a run is left out."""
    for path, names, _ in os.walk(root):
        folder = Path(path)
        yield folder
        names[:] = [] if is_run(folder) else sorted(name for name in names if not name.startswith("."))


def read_run(folder: Path, root: Path) -> Entry:
    """One run from its folder below `root`."""
    run = Entry(folder, folder.relative_to(root).as_posix())
    parts = folder.relative_to(root).parts
    run.group = "/".join(parts[:-1]) if MULTIRUN in parts[:-1] else ""
    _read_settings(run)
    _read_state(run)
    _read_curves(run)
    _read_end(run)
    for name in RESULTS:
        _read_results(run, folder / name)
    _find_pictures(run)
    return run


def _read_settings(run: Entry) -> None:
    """The configuration, without what only says where the run lies."""
    environment = run.read(run.folder / ENVIRONMENT, _json) or {}
    config = environment.get("config") or run.read(run.folder / CONFIG, _resolved) or {}
    flat = flatten(config)
    run.experiment, run.data = (str(flat.get(key, "")) for key in ("name", "data_name"))
    run.monitor = str(flat.get("callbacks.best.monitor") or "")
    own = (str(run.folder), nameless(str(run.folder)), str(flat.get("paths.run_dir")), "${paths.run_dir}")
    run.settings = {
        key: value
        for key, value in flat.items()
        if key not in ELSEWHERE and not key.startswith(ELSEWHERE_BELOW) and not str(value).startswith(own)
    }
    git = environment.get("git")
    if isinstance(git, dict):
        run.commit = git.get("commit", "")[:9] + ("+" if git.get("dirty") else "")
    run.started = (environment.get("earlier") or [environment])[-1].get("started") or _time(run)
    run.repeat = command(run.folder) if (run.folder / REPEAT).is_file() else ""


def _time(run: Entry) -> str:
    """When a run without `environment.json` began: the age of its oldest mark."""
    seconds = min((run.folder / mark).stat().st_mtime for mark in MARKS if (run.folder / mark).is_file())
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _read_state(run: Entry) -> None:
    """Finished, failed or neither."""
    failed = run.read(run.folder / FAILED, _json)
    if failed:
        run.status, run.error = "failed", nameless(str(failed.get("error", "")))
    finished = run.read(run.folder / FINISHED, _json)
    if finished:
        run.status = run.status if Run(run.folder).lacking(finished) else "finished"
        run.seconds, run.epochs = _number(finished.get("seconds")), finished.get("epochs")
        run.score = _number(finished.get("score"))
        run.last = {key: _number(value) for key, value in finished.get("metrics", {}).items()}


def _read_curves(run: Entry) -> None:
    """Lightning's `metrics.csv`; a resumed run has several, of which a later one replaces what it repeats."""
    files = sorted(
        run.folder.glob("csv/version_*/metrics.csv"), key=lambda f: int(f.parent.name.split("_")[1])
    )
    frames: list[pd.DataFrame] = []
    for file in files:
        frame = run.read(
            file, lambda path: pd.read_csv(path, on_bad_lines="skip").dropna(subset=["step", "epoch"])
        )
        if frame is not None and len(frame):
            frames = [earlier[earlier["step"] < frame["step"].min()] for earlier in frames] + [frame]
    if frames:
        run.curves = curves(pd.concat(frames))


def curves(log: pd.DataFrame) -> dict[str, np.ndarray]:
    """A log with columns `step`, `epoch` and one a metric -> metric -> (N, 3) steps, epochs, values.

    Epochs count those that are done: a value logged at the end of the first lies at 1, one in the middle of it at .5.
    """
    ends = log.groupby("epoch")["step"].max()
    begin = min(0.0, float(log["step"].min()))
    steps, epochs = np.r_[begin, ends.to_numpy() + 1.0], np.r_[ends.index.min(), ends.index.to_numpy() + 1.0]
    curves_of = {}
    for name in log.columns.difference(["step", "epoch"]):
        values = pd.to_numeric(log[name], errors="coerce")
        step = log["step"][values.notna()].to_numpy(float)
        if len(step):
            curves_of[name] = np.column_stack([step, np.interp(step + 1, steps, epochs), values.dropna()])
    return curves_of


def _read_end(run: Entry) -> None:
    """Of a run that has not finished: what its curves say so far."""
    if run.status == "finished" or not run.curves:
        return
    run.last = {name: float(curve[-1, 2]) for name, curve in run.curves.items()}
    run.epochs = int(max(curve[-1, 1] for curve in run.curves.values()))
    if run.monitor in run.curves:
        best = np.nanmax if run.settings.get("callbacks.best.mode") == "max" else np.nanmin
        run.score = float(best(run.curves[run.monitor][:, 2]))


def _read_results(run: Entry, folder: Path) -> None:
    """The figures and the page of an evaluation."""
    metrics = run.read(folder / "metrics.json", _json) or {}
    for key, figure in metrics.items():
        if isinstance(figure, dict):
            run.figures[key] = tuple(_number(figure.get(part)) for part in ("value", "ci_low", "ci_high"))
    if (folder / "report.html").is_file():
        run.reports.append(folder / "report.html")
    for file in sorted(folder.glob("figures/*.png")):
        run.pictures[f"{folder.name}: {file.stem}"] = [(None, file)]


def _evaluated(folder: Path) -> Path | None:
    """The run that an evaluation's `config.yaml` names."""
    try:
        run = OmegaConf.load(folder / "config.yaml").get("run")
    except (OSError, YAMLError, AttributeError, OmegaConfBaseException):
        return None
    return Path(run).resolve() if run else None


def _find_pictures(run: Entry) -> None:
    """What was drawn while training: `<label>/epoch_000.png`, and single files; panels come first."""
    pictures: dict[str, list[tuple[int | None, Path]]] = {}
    for file in sorted(run.folder.glob("*/epoch_*.png")):
        epoch = EPOCH.fullmatch(file.name)
        if epoch:
            pictures.setdefault(file.parent.name, []).append((int(epoch[1]) + 1, file))
    pictures |= {file.stem: [(None, file)] for file in sorted(run.folder.glob("*.png"))}
    first = {label: pictures.pop(label) for label in ("panels", "score") if label in pictures}
    run.pictures = first | pictures | run.pictures


def flatten(node: Any, path: str = "") -> dict[str, Any]:
    """Nested settings -> dotted key -> plain value; lists become their text."""
    if isinstance(node, dict) and node:
        return {
            k: v
            for key, child in node.items()
            for k, v in flatten(child, f"{path}.{key}".lstrip(".")).items()
        }
    return {path: json.dumps(node) if isinstance(node, (list, dict)) else node}


def _resolved(file: Path) -> Any:
    """Hydra's record of a run's configuration; what this process cannot resolve stays as it is written."""
    config = OmegaConf.load(file)
    if "paths" in config:
        # It is written as ${hydra:...}, which here would be this process's own.
        config.paths.run_dir = str(file.parents[1])
    return nameless(_plain(config))


def _plain(node: Any) -> Any:
    if not isinstance(node, (DictConfig, ListConfig)):
        return node
    keys = list(node.keys()) if isinstance(node, DictConfig) else range(len(node))
    values = {}
    for key in keys:
        try:
            values[key] = _plain(node[key])
        except OmegaConfBaseException:
            values[key] = str(OmegaConf.to_container(node, resolve=False)[key])
    return values if isinstance(node, DictConfig) else list(values.values())


def _json(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _number(value: Any) -> float:
    """A number; NaN for anything else."""
    return float(value) if isinstance(value, (int, float)) else math.nan
