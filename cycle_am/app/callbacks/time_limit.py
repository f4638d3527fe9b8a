"""The end of a training by the clock, between two epochs."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer


class TimeLimit(Timer):
    """Stops the training at the end of the epoch in which `duration` (DD:HH:MM:SS) has passed since its last start.

    Within an epoch Lightning's own timer would end it there, and `last.ckpt` would hold half of it, from which nothing
    goes on to the numbers of an uninterrupted run. `reached` says whether the time was over.
    """

    def __init__(self, duration: Any) -> None:
        super().__init__(duration, interval="epoch", verbose=False)
        self.reached = False

    def _check_time_remaining(self, trainer: pl.Trainer) -> None:
        self.reached = trainer.strategy.broadcast(self.time_remaining() <= 0)
        trainer.should_stop |= self.reached

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a resumed run has its time anew."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing, see `state_dict`."""
