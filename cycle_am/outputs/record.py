"""Every figure of one case as plain JSON: explanation.json. Nothing in it tells whose image it was, or where it lay."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from cycle_am.outputs import drawing
from cycle_am.reports.colours import RELEVANCE_SCALE

if TYPE_CHECKING:
    from cycle_am.model.explanation import Explanation
    from cycle_am.place import Place

KIND, FORMAT = "cycle-am explanation", 1
PACKAGES = ("cycle-am", "torch", "numpy", "pillow", "SimpleITK")


def of(explanation: Explanation) -> dict[str, Any]:
    """The record of one case (N = 1). What is unknown or undefined is null."""
    word, reasons = drawing.verdict(explanation)
    model = explanation.model
    return {
        "kind": KIND,
        "format": FORMAT,
        "name": drawing.plain(explanation.place[0].name) if explanation.place else "",
        "verdict": word,
        "reasons": list(reasons),
        "trust": _figures(explanation.trust[0].figures) if explanation.trust else None,
        "classes": list(model.task.classes),
        "probability": {
            by: {image: number(value[0]) for image, value in p._asdict().items()}
            for by, p in (("explained", explanation.explained), ("judge", explanation.judge))
        },
        "distance": number(explanation.distance()[0]),
        "change": _changes(explanation),
        "place": _place(explanation.place[0]) if explanation.place else None,
        "model": {"name": model.name, "digest": model.digest, "task": model.task.facts()},
        "settings": {"relevance_scale": RELEVANCE_SCALE, "attribution": bool(model.gradients)},
        "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
    }


def number(value: float) -> float | None:
    """A float for JSON, as it would be written in single precision; None where it is not finite."""
    value = float(value)
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _figure(value) for key, value in figures.items()}


def _figure(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _figures(value)
    return number(value) if isinstance(value, (int, float, np.number)) else str(value)


def _changes(explanation: Explanation) -> dict[str, Any]:
    """How much was changed: mean |G(x) - x|, mean and extremes of R; 1 is the whole range of brightness."""
    x, relevance = explanation.x, explanation.relevance
    return {
        "mean_abs_neg": number(np.abs(explanation.x_neg - x).mean()),
        "mean_abs_pos": number(np.abs(explanation.x_pos - x).mean()),
        "mean_abs_relevance": number(np.abs(relevance).mean()),
        "largest_relevance": number(relevance.max()),
        "smallest_relevance": number(relevance.min()),
    }


def _place(place: Place) -> dict[str, Any]:
    """The numbers alone: texts, such as the path of the source, may hold names."""
    return {key: value for key, value in asdict(place).items() if _numeric(value)}


def _numeric(value: Any) -> bool:
    values = value if isinstance(value, (tuple, list)) else (value,)
    return all(entry is None or isinstance(entry, (int, float)) for entry in values)


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # of a clone that was never installed
        return None
