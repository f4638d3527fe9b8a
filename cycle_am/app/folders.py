"""The folder of a run: made before anything else, of its own, and writable."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from cycle_am.processes import is_first_process

CLOCK = "${now:"  # in the pattern of a folder that is named by the second, and so is meant to be a new one


class OwnFolder(Callback):
    """Hydra's callback that makes the folder of a run or of a sweep, where it is named by the clock, a new one.

    Of two runs that begin in the same second the later gets a suffix; of two sweeps it is refused, since its jobs name
    their folders by themselves. A folder that cannot be made or written ends the command with one line.
    """

    def on_run_start(self, config: DictConfig, **_: object) -> None:
        """Make the folder; `hydra.run.dir` names it from here on, also for the further processes of trainer=ddp."""
        folder, new = Path(config.hydra.run.dir), _named_by_the_clock(config.hydra.run)
        if new and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            sys.exit(
                "error: each of several processes would name the run's folder by its own clock; "
                "give all of them the same hydra.run.dir=FOLDER"
            )
        with read_write(config.hydra.run):
            config.hydra.run.dir = str(_made(folder, new and is_first_process()))

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Make the sweep's folder."""
        folder, new = Path(config.hydra.sweep.dir), _named_by_the_clock(config.hydra.sweep)
        made = _made(folder, new and is_first_process())
        if made != folder:
            made.rmdir()
            sys.exit(f"error: another sweep began in {folder} in the same second; start this one again")


def new_folder(folder: Path) -> Path:
    """Make `folder`, or where it is there already, the first of `folder`-2, `folder`-3, ... that is not."""
    number, candidate = 1, folder
    while True:
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            if not candidate.is_dir():
                raise
        else:
            return candidate
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")


def _made(folder: Path, new: bool) -> Path:
    """The folder, made and found writable; exits with one line where it is not."""
    try:
        if new:
            folder = new_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions do not tell: of root, of a read-only disk
            return folder
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        sys.exit(
            f"error: the folder {folder} cannot be written ({reason}); give another paths.runs or hydra.run.dir"
        )


def _named_by_the_clock(node: DictConfig) -> bool:
    return CLOCK in str(OmegaConf.to_container(node, resolve=False)["dir"])
