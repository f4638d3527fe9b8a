"""Evaluate what an experiment trained: tables, figures and one HTML report.

    python evaluate.py experiment=classifier
    python evaluate.py experiment=cycle_am_small data=phantom
    python evaluate.py experiment=cycle_am_small run=RUN_FOLDER out_dir=results
    python evaluate.py experiment=cycle_am_small evaluation=compare
    python evaluate.py experiment=cycle_am_small evaluation=aggregate  (a sweep)
    python evaluate.py evaluation=runs                    (a page of all runs)

Give the same data settings as for the training: a run is not evaluated on
patients that it was trained on.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from cycle_am import settings
from cycle_am.app import console, entry
from cycle_am.app.config import register

register()


@hydra.main(version_base="1.3", config_path=str(settings.folder()), config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate; print the folder of the results last."""
    from cycle_am.app.tasks.evaluate import (
        evaluate,
    )  # heavy imports come after --help and the check of the configuration

    print(entry.run(evaluate, cfg), flush=True)


def start() -> None:
    """Run the command with the arguments it was given."""
    console.start(main, "evaluate", __doc__)


if __name__ == "__main__":
    start()
