"""What a model says of N images: changed images, probabilities, R, and how far each may be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cycle_am.contract import one_map
from cycle_am.place import Place

if TYPE_CHECKING:
    from cycle_am.model.trust import Trust


class Probabilities(NamedTuple):
    """p of the second class of each image, of its G-(x) and of its G+(x): (N,) float32 each."""

    x: np.ndarray
    neg: np.ndarray
    pos: np.ndarray


def held(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as an explanation holds images: (N, H, W) of one channel, else as it is."""
    return images[:, 0] if images.shape[1] == 1 else images


def layered(images: np.ndarray) -> np.ndarray:
    """What an explanation holds as (N, C, H, W)."""
    return images[:, None] if images.ndim == 3 else images


def channels_first(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) as (N, 3, H, W); other arrays as they are."""
    last = images.ndim == 4 and images.shape[-1] == 3 != images.shape[1]
    return np.moveaxis(images, -1, 1) if last else images


@dataclass(frozen=True, repr=False, eq=False)
class Explanation:
    """N images and what their model says of them; indexing gives a part, iterating single ones.

    x, x_neg, x_pos: (N, H, W) float32 in [0, 1], in colour (N, 3, H, W). explained, judge: probabilities by the
    explained classifier, and by one that the generators never saw. trust: a verdict each; empty where it was not asked
    for. place: one each, or empty.
    """

    x: np.ndarray
    x_neg: np.ndarray
    x_pos: np.ndarray
    explained: Probabilities
    judge: Probabilities
    trust: tuple[Trust, ...]
    place: tuple[Place, ...]
    model: Any

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int | slice) -> Explanation:
        part = slice(index, index + 1 or None) if isinstance(index, int) else index
        if isinstance(index, int) and not -len(self) <= index < len(self):
            raise IndexError(f"case {index} of {len(self)}")
        arrays = {name: getattr(self, name)[part] for name in ("x", "x_neg", "x_pos", "trust", "place")}
        both = {
            name: Probabilities(*(p[part] for p in getattr(self, name))) for name in ("explained", "judge")
        }
        return replace(self, **arrays, **both)

    def __iter__(self) -> Iterator[Explanation]:
        return (self[i] for i in range(len(self)))

    @property
    def relevance(self) -> np.ndarray:
        """R = G+(x) - G-(x) (eq. 6): (N, H, W) float32 in [-1, 1], signed brightness; of colour one number a pixel
        (`cycle_am.contract.one_map`), x_pos - x_neg being R of each channel."""
        change = self.x_pos - self.x_neg
        return change if change.ndim == 3 else one_map(change)

    def attribution(self) -> np.ndarray:
        """R as signed evidence (`cycle_am.explainers.cycle_am_attribution`): (N, H, W) float32 of log odds."""
        return self._attribution

    @cached_property
    def _attribution(self) -> np.ndarray:
        return self.model.attribution(self.x)

    def dial(self, positions: np.ndarray) -> np.ndarray:
        """(N, T, H, W), in colour (N, T, 3, H, W): the images at `positions`, (T,) or one row each (N, T), in [-1, 1]:
        -1 is G-(x), 0 is x, 1 is G+(x), linear between.
        """
        steps = np.atleast_2d(np.asarray(positions, np.float32))
        steps = steps.reshape(*steps.shape, *[1] * (self.x.ndim - 1))
        x, neg, pos = (image[:, None] for image in (self.x, self.x_neg, self.x_pos))
        return x + np.maximum(steps, 0) * (pos - x) + np.maximum(-steps, 0) * (neg - x)

    def distance(self) -> np.ndarray:
        """(N,) in [0, 1]: how far from x towards the image that is to answer otherwise (G-(x) where p >= .5, else
        G+(x)) the explained classifier's answer first flips; NaN: never.
        """
        return self._distance

    @cached_property
    def _distance(self) -> np.ndarray:
        return self.model.distance(self)

    def save(self, folder: str | Path) -> Path:
        """Write explanation.json, panel.png, dial.gif (dial.mp4 where ffmpeg is), relevance.nii.gz and
        attribution.nii.gz; of several cases a folder each, and index.html. Returns the folder.

        It appears whole or not at all. Raises UserError where `folder` holds anything but an earlier explanation, which
        is replaced.
        """
        from cycle_am.outputs.save import save

        return save(self, folder)

    def __repr__(self) -> str:
        return f"<cycle_am.Explanation of {len(self)} image{'s' * (len(self) != 1)}: {self._verdicts()}>"

    def _verdicts(self) -> str:
        """`66 usable, 4 refused`."""
        counts = Counter(trust.verdict for trust in self.trust)
        return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "not assessed"

    def _repr_html_(self) -> str:
        """For notebooks: the verdicts, then the panels of the first cases."""
        from cycle_am.outputs.page import inline

        return inline(self)
