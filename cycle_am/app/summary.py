"""The end of a multirun: which jobs failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from cycle_am.runs.failures import PATTERN, again, error_of, number, stamps
from cycle_am.runs.run import MULTIRUN


class Summary(Callback):
    """Hydra's callback that ends a multirun: lists the jobs that failed and sets exit status 1 for them.

    It also refuses a `hydra.sweep.dir` that holds another sweep, whose finished jobs would be taken for this one's.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Compare with the sweep that the folder holds already; remember its old failures."""
        folder = Path(config.hydra.sweep.dir)
        file = folder / "multirun.yaml"
        if file.is_file() and _asked(OmegaConf.load(file)) != _asked(config):
            sys.exit(
                f"error: hydra.sweep.dir={folder} holds another sweep, see {file}; give its command again, "
                "or another folder"
            )
        self.known = stamps(folder)
        if folder.parent.name == MULTIRUN:
            # trainer=ddp starts this command once more for each further process, by when the clock has moved on.
            sys.argv.append(f"hydra.sweep.dir='{PATTERN}/{folder.name}'")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print what failed in this run of the sweep. Hydra warns of an exception only, so this exits itself."""
        folder = Path(config.hydra.sweep.dir)
        new = [job for job, stamp in stamps(folder).items() if self.known.get(job) != stamp]
        lines = [f"  {job}: {error_of(job)}" for job in sorted(new, key=number)]
        if lines:
            sys.exit("\n".join([f"{len(lines)} jobs failed:", *lines, again(folder)]))


def _asked(config: DictConfig) -> tuple[Any, Any]:
    """What decides which job has which number: the overrides and the sweeper's own parameters."""
    container = OmegaConf.to_container(config.hydra, resolve=False)
    return container["overrides"]["task"], container["sweeper"].get("params")
