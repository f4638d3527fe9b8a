"""CycleAM: what would have to change in an image for its classifier to answer otherwise.

    import cycle_am
    model = cycle_am.load("phantom")                 # a shipped name, a run's folder, or a model file
    explanation = model.explain(images)              # (H, W) or (N, 1, H, W)

Everything heavy is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cycle_am.threads import wait_asleep

wait_asleep()  # has no effect once torch is there

_HOMES = {
    "load": "cycle_am.app.loading",
    "models": "cycle_am.model.loading",
    "Model": "cycle_am.model.model",
    "fit": "cycle_am.app.tasks.fit",
    "Explanation": "cycle_am.model.explanation",
    "UserError": "cycle_am.errors",
}
_MODULES = ("onnx",)  # for those who have exported models and no torch
__all__ = sorted((*_HOMES, *_MODULES))


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"cycle_am.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'cycle_am' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
