"""Stand-ins that cost nothing: blobs instead of nodules, in the form of a real data module."""

from __future__ import annotations

import numpy as np

from datamodules.base import NoduleDataModule
from datamodules.cases import Cases
from datamodules.contract import IMAGE_SIZE


class BlobDataModule(NoduleDataModule):
    """Round blobs on noise, `count` patients with one case each; the malignant ones are larger and fainter
    at the rim.
    """

    def __init__(self, *, count: int = 80, **arguments) -> None:
        super().__init__(**arguments)
        self.count = count

    def build_cases(self) -> Cases:
        """All cases, the same for every call."""
        random = np.random.default_rng(0)
        size = IMAGE_SIZE + 2 * self.margin
        label = np.arange(self.count) % 2
        radius = np.where(label == 1, 12.0, 6.0) + random.uniform(-2, 2, self.count)
        rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
        distance = np.hypot(rows, columns)[None] - radius[:, None, None]
        mask = (distance <= 0).astype(np.float32)
        blob = 0.6 / (1 + np.exp(distance / (1 + label[:, None, None])))
        image = np.clip(0.1 + blob + 0.05 * random.standard_normal(blob.shape), 0, 1).astype(np.float32)
        names = np.array([f"case-{i:03d}" for i in range(self.count)])
        return Cases(
            image=image,
            mask=mask,
            has_mask=np.ones(self.count, dtype=bool),
            label=label.astype(np.int64),
            case_id=names,
            patient_id=np.array([f"patient-{i:03d}" for i in range(self.count)]),
            margin=np.full(self.count, self.margin, dtype=np.int64),
            diameter_mm=(2 * radius * self.fov_mm / IMAGE_SIZE).astype(np.float32),
            pixel_mm=self.fov_mm / IMAGE_SIZE,
        )
