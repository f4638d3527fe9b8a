"""The actions of a reader study."""

from __future__ import annotations

import pkgutil
from typing import Any

from omegaconf import DictConfig

ACTIONS = {
    "create": "cycle_am.reader_study.design.create.create",
    "serve": "cycle_am.reader_study.web.serve.serve",
    "export": "cycle_am.reader_study.analysis.export.export",
    "analyse": "cycle_am.reader_study.analysis.analyse.analyse",
    "plan": "cycle_am.reader_study.planning.plan.plan",
    "simulate": "cycle_am.reader_study.planning.simulate.simulate",
}


def run(cfg: DictConfig) -> Any:
    """Run `cfg.action`; returns the folder or file of its results."""
    return pkgutil.resolve_name(ACTIONS[cfg.action.value])(cfg)  # heavy imports come with the action
