"""Run folders and settings of an earlier layout of the packages."""

import importlib

import pytest
from omegaconf import OmegaConf

from cycle_am.runs.recorded import PREFIXES, renamed, update_targets

FORMER = [
    "callbacks.checkpoint.BestCheckpoint",
    "cycle_am.fitting.ArrayDataModule",
    "datamodules.augmentation.build_augmentation",
    "explainers.lrp.LRP",
    "losses.Augment",
    "networks.ConvNet",
    "utils.loggers.wandb_logger",
]


@pytest.mark.parametrize("former", FORMER)
def test_what_was_moved_is_found(former):
    module, _, name = renamed(former).rpartition(".")
    assert hasattr(importlib.import_module(module), name)


def test_every_prefix_is_tried():
    assert {old for old in PREFIXES for former in FORMER if former.startswith(old)} == set(PREFIXES)


def test_targets_at_every_depth_and_nothing_else():
    config = OmegaConf.create(
        {
            "name": "losses.Augment",
            "lists": [{"_target_": "losses.cycle"}, "losses.cycle"],
            "link": "${name}",
            "own": {"_target_": "mine.losses.Augment", "missing": "???"},
        }
    )
    update_targets(config)
    assert config.lists[0]._target_ == "cycle_am.losses.cycle"
    assert config.lists[1] == "losses.cycle"
    assert config.name == "losses.Augment"
    assert config.own._target_ == "mine.losses.Augment"
