"""Settings as they were written down, in run folders and in files of the user's own, made ready for use here."""

from __future__ import annotations

import os

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


def expand_home(node: DictConfig | ListConfig) -> None:
    """Replace a leading `~/` of every text, in place: no shell does so within a quoted value or a file."""
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        if OmegaConf.is_config(value := node[key]):
            expand_home(value)
        elif isinstance(value, str) and value.startswith(("~/", "~\\")):
            node[key] = os.path.expanduser(value)


def update_targets(node: DictConfig | ListConfig) -> DictConfig | ListConfig:
    """Let every `_target_`, however deep, of a configuration written for an earlier layout of the packages name what it
    meant; returns the configuration.
    """
    keys = node.keys() if OmegaConf.is_dict(node) else range(len(node))
    for key in list(keys):
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        value = node[key]
        if OmegaConf.is_config(value):
            update_targets(value)
        elif key == "_target_" and isinstance(value, str) and value != renamed(value):
            node[key] = renamed(value)
    return node


def renamed(target: str) -> str:
    """The name of today for what a `_target_` names."""
    for old, new in PREFIXES.items():
        if target.startswith(old):
            return new + target.removeprefix(old)
    return target
