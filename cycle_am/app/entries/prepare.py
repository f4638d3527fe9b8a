"""Prepare data before the first training; LIDC also in shares, one a job.

    python prepare.py data=phantom
    python prepare.py data=manifest data.csv=cases.csv
    python prepare.py data=lidc data.dicom_root=FOLDER shard=3 shards=16
    python prepare.py data=lidc data.dicom_root=FOLDER       (then the rest)

Give the same data settings as for the training.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from cycle_am import settings
from cycle_am.app import console, entry
from cycle_am.app.config import register

register()


@hydra.main(version_base="1.3", config_path=str(settings.folder()), config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Prepare; print what there is."""
    from cycle_am.app.tasks.prepare import (
        prepare,  # heavy imports come after --help and the check of the configuration
    )

    print(entry.run(prepare, cfg), flush=True)


def start() -> None:
    """Run the command with the arguments it was given."""
    console.start(main, "prepare", __doc__)


if __name__ == "__main__":
    start()
