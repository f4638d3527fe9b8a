"""Train a classifier or CycleAM.

    python train.py experiment=classifier     (first: the others explain it)
    python train.py experiment=cycle_am_small data=phantom seed=1
    python train.py experiment=cycle_am_small ckpt_path=RUN_FOLDER   (resume)
    python train.py -m experiment=classifier seed=0,1,2              (a sweep)

All settings of an experiment: python train.py experiment=classifier --cfg job
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from cycle_am import settings
from cycle_am.app import console, entry
from cycle_am.app.config import register

register()


@hydra.main(version_base="1.3", config_path=str(settings.folder()), config_name="train")
def main(cfg: DictConfig) -> float | list[float] | None:
    """Train; print the path of the best checkpoint last; return the objective to Hydra's sweepers."""
    # Heavy imports come after --help and the check of the configuration.
    from cycle_am.app.tasks.train import say, train

    result = entry.run(train, entry.settle(cfg))
    if result is None:
        return None
    say(result["best"] or "no checkpoint was written")
    return result["objective"]


def start() -> None:
    """Run the command with the arguments it was given."""
    console.start(main, "train", __doc__)


if __name__ == "__main__":
    start()
