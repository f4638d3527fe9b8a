"""What a model takes and says: its images, their geometry and intensity, and the names of its classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cycle_am.contract import HU_MAX, HU_MIN, IMAGE_SIZE
from cycle_am.errors import UserError


@dataclass(frozen=True)
class Task:
    """Images of one channel, size x size pixels over fov_mm x fov_mm, [low, high] Hounsfield units scaled to [0, 1].

    classes: names of what the classifier's two logits stand for; the second is what p is the probability of.
    """

    fov_mm: float = 45.0
    size: int = IMAGE_SIZE
    low: float = HU_MIN
    high: float = HU_MAX
    classes: tuple[str, str] = ("benign", "malignant")

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel of the window."""
        return self.fov_mm / self.size

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Task:
        """From JSON. Raises UserError where this version cannot serve it."""
        try:
            task = cls(
                fov_mm=float(facts["fov_mm"]),
                size=int(facts["size"]),
                low=float(facts["low"]),
                high=float(facts["high"]),
                classes=tuple(map(str, facts["classes"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"the model's task is incomplete ({error}); pack the model again") from error
        if (
            task.size != IMAGE_SIZE
            or len(task.classes) != 2
            or not task.low < task.high
            or not task.fov_mm > 0
        ):
            raise UserError(
                f"the model is for other images ({task}) than this version explains; update cycle-am"
            )
        return task

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"classes": list(self.classes)}

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Hounsfield units of any shape -> float32 in [0, 1], clipped."""
        scaled = (np.asarray(values, np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)
        return np.clip(scaled, 0.0, 1.0)
