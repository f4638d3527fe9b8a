"""How Lightning writes and reads checkpoints here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.io import TorchCheckpointIO

from cycle_am.runs import checkpoints


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written to a temporary file first and read with `weights_only=True`."""

    def save_checkpoint(self, checkpoint: dict, path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`; an interrupted write leaves the earlier file as it was."""
        checkpoints.save(checkpoint, path)

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", **_: Any) -> dict:
        """Read a checkpoint of tensors and plain values. Raises UserError as `read_checkpoint` does."""
        return checkpoints.read_checkpoint(path, map_location)
