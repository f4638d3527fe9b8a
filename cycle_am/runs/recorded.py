"""Settings as they were written down, in run folders and in files of the user's own, made ready for use here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# Where a `_target_` began -> where it begins now.
PREFIXES = {
    "callbacks.": "cycle_am.app.callbacks.",
    "cycle_am.fitting.": "cycle_am.app.tasks.fit.",
    "datamodules.augmentation.": "cycle_am.data.augmentation.",
    "explainers.": "cycle_am.explainers.",
    "losses.": "cycle_am.losses.",
    "networks.": "cycle_am.networks.",
    "utils.loggers.": "cycle_am.app.tracking.loggers.",
}


def read(file: Path) -> DictConfig:
    """A configuration that a training left, ready for use. Raises OSError where the file is absent."""
    cfg = OmegaConf.load(file)
    expand_home(cfg)
    update_targets(cfg)
    return cfg


def expand_home(node: DictConfig | ListConfig) -> None:
    """Replace a leading `~/` of every text, in place: no shell does so within a quoted value or a file."""
    for parent, key, text in _texts(node):
        if text.startswith(("~/", "~\\")):
            parent[key] = os.path.expanduser(text)


def update_targets(node: DictConfig | ListConfig) -> None:
    """Let every `_target_` of a configuration written for an earlier layout of the packages name what it meant, in place."""
    for parent, key, text in _texts(node):
        if key == "_target_" and (name := renamed(text)) != text:
            parent[key] = name


def _texts(node: DictConfig | ListConfig) -> Iterator[tuple[DictConfig | ListConfig, Any, str]]:
    """(parent, key, text) of every text below a node, however deep; interpolations are left out."""
    for key in list(node) if isinstance(node, DictConfig) else range(len(node)):
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        if OmegaConf.is_config(value := node[key]):
            yield from _texts(value)
        elif isinstance(value, str):
            yield node, key, value


def renamed(target: str) -> str:
    """The name of today for what a `_target_` names."""
    for old, new in PREFIXES.items():
        if target.startswith(old):
            return new + target.removeprefix(old)
    return target
