"""One HTML page of all runs: a table to filter and sort, curves, pictures and settings side by side.

It needs no server and loads nothing but the runs' own pictures, by relative addresses: it stays beside them. What comes
from data reaches the page as JSON that cannot end its element, and only as text; a content security policy refuses any
other script.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cycle_am.files import write_text
from cycle_am.runs.index import Entry

HERE = Path(__file__).parent
POINTS = 300  # of a curve, at most
FIXED = ("experiment", "data", "status", "score", "epochs", "seconds", "started", "commit", "group")
FIGURES = ("classifier/auc", "transfer/independent/neg", "transfer/independent/pos", "similarity/ssim_pos")
SHOWN = {*FIXED[:7], "settings seed", *(f"figures {key}" for key in FIGURES)}  # columns shown at first


def write_dashboard(path: Path, runs: Sequence[Entry]) -> Path:
    """Write the page; it appears whole or not at all."""
    return write_text(path, render(content(runs, path.parent.resolve())))


def render(data: dict[str, Any]) -> str:
    """The page as text."""
    script, style = (
        Markup((HERE / f"dashboard.{kind}").read_text(encoding="utf-8")) for kind in ("js", "css")
    )
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("dashboard.html.j2").render(
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
        data=Markup(embedded(data)),
    )


def embedded(data: Any) -> str:
    """JSON that HTML takes for text, whatever it holds: `</script>` and `<!--` cannot occur in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def content(runs: Sequence[Entry], beside: Path) -> dict[str, Any]:
    """What the page shows, as plain values. beside: the folder of the page, for the addresses of pictures."""
    varied = differing(runs)
    return {
        "made": datetime.now(UTC).isoformat(timespec="minutes"),
        "columns": columns(runs, varied),
        "runs": [_row(run, varied, beside) for run in runs],
    }


def differing(runs: Iterable[Entry]) -> list[str]:
    """The settings that not all runs have alike."""
    seen: dict[str, set[str]] = {}
    runs = list(runs)
    for key in {key for run in runs for key in run.settings}:
        seen[key] = {json.dumps(run.settings.get(key), default=str) for run in runs}
    return sorted(key for key, values in seen.items() if len(values) > 1)


def columns(runs: Sequence[Entry], varied: Sequence[str]) -> list[dict[str, Any]]:
    """Every column of the table: where its values lie in a run (`group`, `key`) and whether it is shown at first."""
    keys = [("run", key) for key in FIXED]
    keys += [("settings", key) for key in varied]
    keys += [("last", key) for key in sorted({key for run in runs for key in run.last})]
    keys += [("figures", key) for key in sorted({key for run in runs for key in run.figures})]
    shown = SHOWN | {f"settings {key}" for key in swept(runs)}
    return [
        {"group": group, "key": key, "shown": (key if group == "run" else f"{group} {key}") in shown}
        for group, key in keys
    ]


def swept(runs: Iterable[Entry]) -> set[str]:
    """The settings in which the jobs of a multirun differ."""
    multiruns: dict[str, list[Entry]] = {}
    for run in runs:
        if run.group:
            multiruns.setdefault(run.group, []).append(run)
    return {key for jobs in multiruns.values() for key in differing(jobs)}


def _row(run: Entry, varied: Sequence[str], beside: Path) -> dict[str, Any]:
    values = {key: getattr(run, key) for key in FIXED}
    return {
        **values,
        "name": run.name,
        "seconds": _short(run.seconds),
        "score": _short(run.score),
        "monitor": run.monitor,
        "error": run.error,
        "settings": {key: run.settings[key] for key in varied if key in run.settings},
        "last": {key: _short(value) for key, value in run.last.items()},
        "figures": {key: [_short(value) for value in figure] for key, figure in run.figures.items()},
        "curves": packed(run.curves),
        "pictures": {
            label: [[epoch, address(file, beside)] for epoch, file in files]
            for label, files in run.pictures.items()
        },
        "reports": [[file.parent.name, address(file, beside)] for file in run.reports],
        "repeat": run.repeat,
        "problems": run.problems,
    }


def packed(curves: dict[str, np.ndarray]) -> dict[str, Any]:
    """Curves with at most `POINTS` points each; metrics that were logged together share their steps and epochs.

    `x`: pairs of lists (steps, epochs); `y`: metric -> [index into x, values].
    """
    axes: dict[str, int] = {}
    plots: dict[str, list] = {"x": [], "y": {}}
    for name, curve in curves.items():
        thin = curve[np.unique(np.linspace(0, len(curve) - 1, min(len(curve), POINTS)).round().astype(int))]
        axis = [thin[:, 0].astype(int).tolist(), thin[:, 1].round(3).tolist()]
        index = axes.setdefault(json.dumps(axis), len(axes))
        if index == len(plots["x"]):
            plots["x"].append(axis)
        plots["y"][name] = [index, [_short(value) for value in thin[:, 2]]]
    return plots


def address(file: Path, beside: Path) -> str:
    """A file's address relative to the page's folder."""
    return quote(Path(os.path.relpath(file, beside)).as_posix())


def _short(value: float) -> float | None:
    """Five digits; None for what JSON does not have."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
