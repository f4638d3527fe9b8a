"""Prepare data before the first training, so that many runs share it; LIDC also in shares, one a job.

    python prepare.py data=phantom
    python prepare.py data=manifest data.csv=cases.csv
    python prepare.py data=lidc data.dicom_root=/path/to/LIDC-IDRI shard=3 shards=16  (one of 16)
    python prepare.py data=lidc data.dicom_root=/path/to/LIDC-IDRI                (then the rest)

Give the same data settings as for the training.
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from utils import conf, console, entry
from utils.config import register

register()


@hydra.main(version_base="1.3", config_path=str(conf.folder()), config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Prepare; print what there is."""
    from utils.preparing import prepare  # heavy imports come after --help and the check of the configuration

    print(entry.run(prepare, cfg), flush=True)


if __name__ == "__main__":
    console.start(main, "prepare", __doc__)
