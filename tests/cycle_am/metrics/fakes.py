"""Small stand-ins for trained models and for a test set, each with an answer known beforehand."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from cycle_am.contract import Changed
from cycle_am.task import CT, Task

SIZE = 64


@dataclass(frozen=True)
class FakeCases:
    """The part of `cycle_am.data.cases.Cases` that evaluation uses."""

    image: np.ndarray
    mask: np.ndarray | None
    has_mask: np.ndarray
    label: np.ndarray
    case_id: np.ndarray
    patient_id: np.ndarray
    margin: np.ndarray
    diameter_mm: np.ndarray
    pixel_mm: float = 45 / SIZE
    task: Task = CT

    def __len__(self):
        return len(self.label)

    def select(self, index):
        changed = {k: getattr(self, k)[index] for k in ARRAYS if getattr(self, k) is not None}
        return replace(self, **changed)

    def window(self, shift=(0, 0)):
        shifts = np.broadcast_to(np.asarray(shift), (len(self), 2))
        start = (self.image.shape[1] - SIZE) // 2 - shifts

        def cut(stack):
            parts = [one[r : r + SIZE, c : c + SIZE] for one, (r, c) in zip(stack, start, strict=True)]
            return torch.from_numpy(np.stack(parts))[:, None]

        return cut(self.image), None if self.mask is None else cut(self.mask)


ARRAYS = ("image", "mask", "has_mask", "label", "case_id", "patient_id", "margin", "diameter_mm")


def make_cases(n=24, margin=8, seed=0, masks=True, diameters=True) -> FakeCases:
    """Bright discs on dark noise: small ones benign, large ones malignant, never exactly in the middle; 2
    cases a patient."""
    rng = np.random.default_rng(seed)
    side = SIZE + 2 * margin
    label = (np.arange(n) % 2).astype(np.int64)
    radius = np.where(label == 1, 6.0, 3.5) + rng.uniform(-1.5, 1.5, n)
    centre = side / 2 - 0.5 + rng.uniform(-2, 2, (n, 2))
    grid = np.indices((side, side)).transpose(1, 2, 0)
    disc = np.stack(
        [np.hypot(*(grid - c).transpose(2, 0, 1)) <= r for c, r in zip(centre, radius, strict=True)]
    )
    image = np.clip(0.15 + 0.55 * disc + rng.normal(0, 0.02, disc.shape), 0, 1).astype(np.float32)
    return FakeCases(
        image=image,
        mask=disc.astype(np.float32) if masks else None,
        has_mask=np.full(n, masks),
        label=label,
        case_id=np.array([f"case{i:03d}" for i in range(n)]),
        patient_id=np.array([f"patient{i // 2:03d}" for i in range(n)]),
        margin=np.full(n, margin),
        diameter_mm=(2 * radius * 45 / SIZE if diameters else np.full(n, np.nan)).astype(np.float32),
    )


class BrightnessClassifier:
    """p(malignant) rises with the bright area near the middle; `bias` makes it another classifier."""

    def __init__(self, bias=0.0):
        self.bias = bias

    def probability(self, image):
        bright = (image[:, 0, 16:48, 16:48] - 0.4).clamp(min=0).sum((1, 2))
        return torch.sigmoid((bright - 17) / 4 + self.bias)


class SwappedClassifier(BrightnessClassifier):
    """Its classes are in the other order."""

    def probability(self, image):
        return 1 - super().probability(image)


class OracleGan:
    """Changes only what decides: dims the bright disc for G-, brightens it for G+."""

    def generate(self, x):
        disc = (x > 0.4).float()
        return Changed(x - 0.3 * disc, (x + 0.25 * disc).clamp(0, 1))

    def cycle(self, x):
        return Changed(x.clone(), x.clone())


class FixedPatternGan:
    """Paints the same ring into every image, whatever it shows."""

    def __init__(self):
        grid = torch.arange(SIZE) - SIZE // 2
        distance = torch.hypot(grid[:, None].float(), grid[None, :].float())
        self.pattern = 0.04 * ((distance > 6) & (distance < 9)).float()
        self.pattern[32, 32] = 0.06

    def generate(self, x):
        return Changed((x - self.pattern).clamp(0, 1), (x + self.pattern).clamp(0, 1))

    def cycle(self, x):
        return self.generate(x)
