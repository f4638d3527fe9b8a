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

from sweeps import failures
from utils.config import expand_home
from utils.console import tolerate_streams
from utils.errors import UserError

WORTHLESS = {".hydra", "train.log", "evaluate.log", "split.json", failures.FAILED, failures.TRACEBACK}
WORTHLESS |= {"environment.json", "repeat.yaml", "git.diff"}  # utils.provenance, which imports torch
T = TypeVar("T")


def run(task: Callable[[DictConfig], T], cfg: DictConfig) -> T | None:
    """Call `task`; a UserError becomes one line on stderr and exit status 1.

    The error of a run is recorded in its folder. A multirun's job that fails, with whichever error, returns None: the
    other jobs go on, and `sweeps.failures.Summary` sets the exit status at the end.
    """
    tolerate_streams()  # once more: a launcher's job has begun elsewhere
    expand_home(cfg)
    folder = Path(cfg.paths.run_dir)
    try:
        if is_own(folder):
            failures.forget(folder)
        return task(cfg)
    except Exception as error:
        meant = user_error(error)
        message = " ".join((str(meant) if meant else f"{type(error).__name__}: {error}").split())
        if is_own(folder):
            failures.record(folder, error, message)
        if meant is None and not is_multirun():
            raise
        print(f"error: {message}", file=sys.stderr, flush=True)
        if is_multirun():
            return None
        discard(folder)
        sys.exit(1)


def user_error(error: BaseException | None) -> UserError | None:
    """The UserError that `error` is or was caused by (Hydra wraps what a constructor raises), or None."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def is_own(folder: Path) -> bool:
    """Whether Hydra made this folder for the run; an evaluation or a study runs in the user's own."""
    return (folder / ".hydra").is_dir()


def discard(run_dir: Path) -> None:
    """Remove the folder of a run that failed before it had anything worth keeping."""
    if is_own(run_dir) and all(entry.name in WORTHLESS for entry in run_dir.iterdir()):
        shutil.rmtree(run_dir, ignore_errors=True)


def is_multirun() -> bool:
    """Whether this is one job of several: it then leaves `latest` alone, unless asked to move it."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def settle(cfg: DictConfig) -> DictConfig:
    """The configuration as the task takes it: a multirun's job publishes only where publish=true was given, and
    goes on from what an earlier run of the same sweep left in its folder.
    """
    with open_dict(cfg):
        if cfg.publish is None:
            cfg.publish = not is_multirun()
        if cfg.ckpt_path is None and is_multirun():
            cfg.ckpt_path = "auto"
    return cfg
