"""train.py with a task that takes no time: a parabola in log10(model.lr), least at 0.01.

Environment: STUB_LOG, a file to which every job adds a line (process, trial, folder, model.lr); STUB_SECONDS that a job
takes; STUB_WORKERS, how many processes must have begun before a job goes on.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

from cycle_am.app import entry
from cycle_am.app.config import register

register()


def jobs(log: Path) -> list[list[str]]:
    """The lines so far, in columns."""
    return [line.split() for line in log.read_text().splitlines()] if log.is_file() else []


def parabola(cfg: DictConfig) -> float:
    """The value of a trial."""
    log = Path(os.environ["STUB_LOG"])
    with log.open("a") as stream:
        print(os.getpid(), cfg.trial.number, Path(cfg.paths.run_dir).name, cfg.model.lr, file=stream)
    while len({process for process, *_ in jobs(log)}) < int(os.environ.get("STUB_WORKERS", 1)):
        time.sleep(0.05)
    time.sleep(float(os.environ.get("STUB_SECONDS", 0)))
    return (math.log10(cfg.model.lr) + 2) ** 2


@hydra.main(
    version_base="1.3", config_path=str(Path(__file__).resolve().parents[3] / "conf"), config_name="train"
)
def main(cfg: DictConfig) -> float | None:
    """One job."""
    return entry.run(parabola, entry.settle(cfg))


if __name__ == "__main__":
    main()
