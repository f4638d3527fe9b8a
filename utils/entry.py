"""What the entry points share: one clear line for a user's error, and where Hydra runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from utils.errors import UserError

WORTHLESS = {".hydra", "train.log", "evaluate.log", "split.json", "failed.json"}
WORTHLESS |= {"environment.json", "repeat.yaml", "git.diff"}  # utils.provenance, which imports torch
T = TypeVar("T")


def run(task: Callable[[DictConfig], T], cfg: DictConfig) -> T:
    """Call `task`; a UserError becomes one line on stderr and exit status 1."""
    try:
        return task(cfg)
    except Exception as error:
        meant = user_error(error)
        if meant is None:
            raise
        print(f"error: {' '.join(str(meant).split())}", file=sys.stderr)
        discard(Path(cfg.paths.run_dir))
        sys.exit(1)


def user_error(error: BaseException | None) -> UserError | None:
    """The UserError that `error` is or was caused by (Hydra wraps what a constructor raises), or None."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def discard(run_dir: Path) -> None:
    """Remove the folder of a run that failed before it had anything worth keeping.

    Only a folder that Hydra made for the run (it holds `.hydra`): an evaluation runs in the user's own.
    """
    if (run_dir / ".hydra").is_dir() and all(entry.name in WORTHLESS for entry in run_dir.iterdir()):
        shutil.rmtree(run_dir, ignore_errors=True)


def is_multirun() -> bool:
    """Whether this is one job of several: it then leaves `latest` alone, unless asked to move it."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def settle(cfg: DictConfig) -> DictConfig:
    """The configuration as the task takes it: a multirun's job publishes only where publish=true was given."""
    if cfg.publish is None:
        with open_dict(cfg):
            cfg.publish = not is_multirun()
    return cfg
