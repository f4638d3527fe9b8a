"""A failed job of a multirun: recorded in its folder while the others go on, summed up when all are done."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from utils.files import write_atomically

FAILED = "failed.json"
TRACEBACK = "traceback.txt"


def record(folder: Path, error: Exception, message: str) -> None:
    """Write `failed.json` (`error`, one line) and `traceback.txt` into the job's folder."""
    trace = "".join(traceback.format_exception(error))
    facts = json.dumps({"error": message, "traceback": TRACEBACK}, indent=2) + "\n"
    for name, text in ((TRACEBACK, trace), (FAILED, facts)):
        write_atomically(folder / name, lambda path, text=text: path.write_text(text))


def forget(folder: Path) -> None:
    """Remove what an earlier attempt of this job recorded."""
    for name in (FAILED, TRACEBACK):
        (folder / name).unlink(missing_ok=True)


def failed(sweep_dir: str | Path) -> dict[str, str]:
    """Folder name of every failed job of a sweep -> its error in one line."""
    files = Path(sweep_dir).glob(f"*/{FAILED}")
    found = {file.parent.name: json.loads(file.read_text())["error"] for file in files}
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item)))


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
        self.known = _stamps(folder)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print what failed in this run of the sweep. Hydra warns of an exception only, so this exits itself."""
        folder = Path(config.hydra.sweep.dir)
        new = {name for name, stamp in _stamps(folder).items() if self.known.get(name) != stamp}
        lines = [f"  {folder / name}: {error}" for name, error in failed(folder).items() if name in new]
        if lines:
            again = f"the same command with hydra.sweep.dir={folder} runs only what is missing"
            sys.exit("\n".join([f"{len(lines)} jobs failed:", *lines, again]))


def _asked(config: DictConfig) -> tuple[Any, Any]:
    """What decides which job has which number: the overrides and the sweeper's own parameters."""
    container = OmegaConf.to_container(config.hydra, resolve=False)
    return container["overrides"]["task"], container["sweeper"].get("params")


def _stamps(folder: Path) -> dict[str, int]:
    """Folder name of every failed job -> when its failure was recorded."""
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.glob(f"*/{FAILED}")}
