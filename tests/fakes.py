"""Stand-ins that cost nothing: blobs instead of nodules, a user's networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cycle_am.contract import IMAGE_SIZE
from cycle_am.data.cases import Cases
from datamodules.base import CasesDataModule


class BlobDataModule(CasesDataModule):
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


class Residual(nn.Module):
    """A network of a user's: functional ReLUs, a skip connection, BatchNorm and dropout; images (N,1,H,W) ->
    (N,outputs).
    """

    def __init__(self, outputs: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, stride=4)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(3, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """image (N,1,H,W) -> logits (N,outputs)."""
        x = torch.relu(self.norm(self.first(image)))
        x = torch.relu(x + self.second(x))
        return self.last(self.drop(x.mean(dim=(2, 3))))


def one_logit() -> nn.Module:
    """The residual network with one logit."""
    return Residual(outputs=1)


class TinyTransformer(nn.Module):
    """A small vision transformer: patches, one layer of attention with LayerNorm, a class token; `classes` logits of
    colour images `size` x `size`.
    """

    def __init__(self, classes: int = 5, size: int = 96, patch: int = 16, width: int = 16) -> None:
        super().__init__()
        self.size = size
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 1 + (size // patch) ** 2, width))
        self.layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """image (N,3,size,size) -> logits (N,classes)."""
        if tuple(image.shape[1:]) != (3, self.size, self.size):
            raise ValueError(f"images must be 3 x {self.size} x {self.size}, not {tuple(image.shape[1:])}")
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(image), -1, -1), patches], 1) + self.place
        return self.head(self.layer(tokens)[:, 0])
