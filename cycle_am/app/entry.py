"""What the entry points share: one clear line for a user's error, and where Hydra runs."""

from __future__ import annotations

import errno
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from cycle_am.console import tolerate_streams
from cycle_am.errors import UserError
from cycle_am.processes import is_first_process
from cycle_am.runs import failures
from cycle_am.runs.recorded import expand_home, update_targets

WORTHLESS = {".hydra", "train.log", "evaluate.log", "split.json", failures.FAILED, failures.TRACEBACK}
WORTHLESS |= {"environment.json", "repeat.yaml", "git.diff"}  # cycle_am.runs.provenance, which imports torch
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
ELSEWHERE = "give another folder (paths.runs, paths.cache, out_dir)"
# No room: which file it was is not always told.
REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"make room, or {ELSEWHERE}")
# No permission, a read-only disk, a file where a folder is meant.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
T = TypeVar("T")


def run(task: Callable[[DictConfig], T], cfg: DictConfig) -> T | None:
    """Call `task`; a UserError becomes one line on stderr and exit status 1.

    The error of a run is recorded in its folder. A signal (Ctrl-C, SIGTERM) ends it with one line and the status of
    shells, 130 or 143, a multirun at once. A multirun's job that fails, with whichever error, returns None: the
    other jobs go on, and `cycle_am.app.summary.Summary` sets the exit status at the end.
    """
    tolerate_streams()  # once more: a launcher's job has begun elsewhere
    expand_home(cfg)
    update_targets(cfg)
    folder = Path(cfg.paths.run_dir)
    try:
        with terminable(is_own(folder)):
            if is_own(folder):
                failures.forget(folder)
            return task(cfg)
    except KeyboardInterrupt:
        stopped(folder)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        if end.code in STOPPED:
            stopped(folder)
        raise
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


@contextmanager
def terminable(active: bool) -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, with SystemExit, unless something else waits for it (submitit)."""
    free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not (active and free and threading.current_thread() is threading.main_thread()):
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, _: object) -> None:
    if (
        signal.getsignal(number) is _terminate
    ):  # else a trainer has put its own before it, and ends after this batch
        raise SystemExit(128 + number)


def stopped(folder: Path) -> None:
    """Say on stderr how a run that a signal ended goes on; remove its folder where there is nothing to go on from."""
    if not is_first_process():
        return
    if is_multirun():
        line = failures.again(Path(HydraConfig.get().sweep.dir))
    elif (folder / "last.ckpt").is_file():
        line = f"go on with ckpt_path={folder}"
    else:
        line = "there is nothing to go on from"
        discard(folder)
    print(f"stopped; {line}", file=sys.stderr, flush=True)


def user_error(error: BaseException | None) -> UserError | None:
    """The UserError that `error` is or was caused by (Hydra wraps what a constructor raises), or None.

    A file or folder that cannot be written is the user's to mend, too.
    """
    while error is not None and not isinstance(error, UserError):
        if isinstance(error, OSError) and _is_of_the_disk(error):
            reason, path = (error.strerror or "").lower(), error.filename or "a file"
            return UserError(f"{path} cannot be written ({reason}); {REMEDIES.get(error.errno, ELSEWHERE)}")
        error = error.__cause__
    return error


def _is_of_the_disk(error: OSError) -> bool:
    return error.errno in REMEDIES or (error.errno in REFUSED and error.filename is not None)


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
