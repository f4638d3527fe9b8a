"""Evaluate what an experiment trained: tables, figures and one HTML report.

    python evaluate.py experiment=classifier
    python evaluate.py experiment=cycle_am_small data=phantom
    python evaluate.py experiment=cycle_am run=runs/cycle_am/phantom/2026-01-31_12-00-00
    python evaluate.py experiment=cycle_am_small evaluation=aggregate  (newest multirun)
    python evaluate.py evaluation=runs out_dir=results              (a page of all runs)

Give the same data settings as for the training: a run is not evaluated on patients that it was
trained on.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from utils import conf, console, entry
from utils.config import register

register()


@hydra.main(version_base="1.3", config_path=str(conf.folder()), config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate; print the folder of the results last."""
    from utils.evaluating import (
        evaluate,
    )  # heavy imports come after --help and the check of the configuration

    print(entry.run(evaluate, cfg), flush=True)


if __name__ == "__main__":
    console.start(main, "evaluate", __doc__)
