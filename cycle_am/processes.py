"""Which of a run's processes this is, known before torch is imported."""

from __future__ import annotations

import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the first of those that torchrun, srun or Lightning started."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)
