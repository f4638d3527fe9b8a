"""Synthetic readers: a model of how a rating comes about, drawn for many studies at once.

    impression = what there is to see (method, label, lesion, lesion x method)   the same for every reader
               + what the reader makes of it (severity, reader x method, reader x lesion x method)
               + noise, new at every look, + order effect
    rating     = impression, rounded to a whole number from -4 to 4

Each part is Gaussian, with a standard deviation of its own; the criteria of one part correlate, as one picture makes
one impression. Arrays have the axes (studies S, readers R, cases C, methods M, criteria K).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

#: Part -> the axes along which it is drawn anew, of (readers, cases, methods).
PARTS = {
    "case": (False, True, False),
    "item": (False, True, True),
    "severity": (True, False, False),
    "preference": (True, False, True),
    "opinion": (True, True, True),
    "noise": (True, True, True),
}
SEEN = ("case", "item")
OWN = ("severity", "preference", "opinion")


class Ability(NamedTuple):
    """What sets one reader apart.

    Attributes:
        noise: factor on the noise; 0: the same answer at every look.
        discrimination: factor on all differences there are to see; 0: the reader sees none.
        random: share of answers drawn evenly from the scale, 0 to 1.
        constant: the one value that the reader always gives, or None.
        halo: 0 to 1, how far the criteria are drawn to their common mean; 1: one value for all criteria.
        scale: factor on the whole impression: below 1, only the middle of the scale is used.
        severity: points added to every impression; negative is severe.
        missing: share of answers not given, 0 to 1.
    """

    noise: float = 1.0
    discrimination: float = 1.0
    random: float = 0.0
    constant: float | None = None
    halo: float = 0.0
    scale: float = 1.0
    severity: float = 0.0
    missing: float = 0.0


@dataclass(frozen=True)
class Model:
    """How ratings come about, in points of the scale before rounding.

    Attributes:
        methods, criteria: names of the axes M and K.
        means: (M, K) impression that a method makes in the mean.
        sd: part -> (K,) standard deviation; see PARTS.
        correlation: (K, K) of the criteria within a part.
        label: (M, K) how much better malignant lesions are rated than benign ones.
        order: points gained from the first to the last item of a questionnaire (fatigue: negative).
        low, high: ends of the scale.
        whole: whether ratings are rounded and clipped to the scale; without, they are Gaussian.
    """

    methods: tuple[str, ...]
    criteria: tuple[str, ...]
    means: np.ndarray
    sd: Mapping[str, np.ndarray]
    correlation: np.ndarray
    label: np.ndarray | float = 0.0
    order: float = 0.0
    low: int = -4
    high: int = 4
    whole: bool = True

    @property
    def spread(self) -> np.ndarray:
        """(K,) standard deviation of the impressions that one method makes."""
        return np.sqrt(sum(self.sd[part] ** 2 for part in PARTS))

    def expecting(self, ratings: np.ndarray) -> Model:
        """The same with mean *ratings* (M, K) as given. Rounding and clipping draw means to the middle."""
        ratings = np.asarray(ratings, dtype=np.float64)
        return replace(self, means=impression(ratings, self.spread, self.low, self.high))

    def only(self, *criteria: str) -> Model:
        """Some of the criteria, in the given order."""
        k = [self.criteria.index(criterion) for criterion in criteria]
        return replace(
            self,
            criteria=criteria,
            means=self.means[:, k],
            sd={part: sd[k] for part, sd in self.sd.items()},
            correlation=self.correlation[np.ix_(k, k)],
            label=np.broadcast_to(self.label, self.means.shape)[:, k],
        )


@dataclass(frozen=True)
class Panel:
    """The readers of one study, and each ability as an array along them."""

    readers: Sequence[Ability]

    @classmethod
    def of(cls, readers: int) -> Panel:
        """So many readers of ordinary ability."""
        return cls([Ability()] * readers)

    def __len__(self) -> int:
        return len(self.readers)

    def column(self, ability: str, dims: int) -> np.ndarray:
        """(R, 1, ..., 1), to be spread over an array of `dims` axes with the readers second; None is NaN."""
        values = np.array([getattr(reader, ability) for reader in self.readers], dtype=np.float64)
        return values.reshape(-1, *[1] * (dims - 2))


def expected_rating(means: np.ndarray, spread: np.ndarray, low: int = -4, high: int = 4) -> np.ndarray:
    """Mean of a Gaussian impression after rounding and clipping to whole numbers from `low` to `high`.

    A rating is `low` plus the number of steps it has passed, so its mean is `low` plus the chances of passing each.
    """
    steps = np.arange(low, high) + 0.5
    return low + norm.cdf((np.asarray(means)[..., None] - steps) / np.asarray(spread)[..., None]).sum(-1)


def impression(ratings: np.ndarray, spread: np.ndarray, low: int = -4, high: int = 4) -> np.ndarray:
    """Mean impression behind a mean rating: the inverse of :func:`expected_rating`, by bisection.

    Raises ValueError where a mean rating is not strictly inside the scale.
    """
    if np.any(ratings <= low) or np.any(ratings >= high):
        raise ValueError(f"mean ratings must lie between {low} and {high}, not on or beyond an end")
    reach = 10 * np.max(spread) + high - low
    below, above = np.full(ratings.shape, low - reach), np.full(ratings.shape, high + reach)
    for _ in range(60):
        middle = (below + above) / 2
        small = expected_rating(middle, spread, low, high) < ratings
        below, above = np.where(small, middle, below), np.where(small, above, middle)
    return (below + above) / 2


def opinions(
    model: Model, rng: np.random.Generator, studies: int, panel: Panel, labels: np.ndarray
) -> np.ndarray:
    """What each reader thinks of each item, at every look: impressions (S, R, C, M, K) without noise.

    Args:
        labels: (C,) 0 benign, 1 malignant.
    """
    shape = (studies, len(panel), len(labels), *model.means.shape)
    drawn = {part: _draw(model, part, rng, shape) for part in (*SEEN, *OWN)}
    by_label = (np.asarray(labels) - 0.5)[:, None, None] * model.label
    seen = model.means + by_label + sum(drawn[part] for part in SEEN)
    middle = model.means.mean(0)
    seen = middle + panel.column("discrimination", 5) * (seen - middle)
    return seen + panel.column("severity", 5) + sum(drawn[part] for part in OWN)


def rate(
    model: Model,
    rng: np.random.Generator,
    thought: np.ndarray,
    panel: Panel,
    position: np.ndarray | None = None,
) -> np.ndarray:
    """One look: ratings for opinions (S, R, ..., K). Two calls on the same opinions are a repeated questionnaire.

    Args:
        position: (R, ...) place of each answer in the reader's order, 0 first to 1 last; None: no order effect.
    """
    dims = thought.ndim
    noise = _normal(model, "noise", rng, thought.shape[:-1])
    impressed = thought + panel.column("noise", dims) * noise
    if position is not None:
        impressed = impressed + model.order * (position[..., None] - 0.5)
    halo = panel.column("halo", dims)
    impressed = (1 - halo) * impressed + halo * impressed.mean(-1, keepdims=True)
    impressed = panel.column("scale", dims) * impressed
    if not model.whole:
        return impressed
    ratings = np.clip(np.rint(impressed), model.low, model.high)
    chance = panel.column("random", dims)
    if chance.any():
        thrown = rng.integers(model.low, model.high + 1, ratings.shape)
        ratings = np.where(rng.random(ratings.shape) < chance, thrown, ratings)
    constant = panel.column("constant", dims)
    return np.where(np.isnan(constant), ratings, constant)


def ratings(
    model: Model, rng: np.random.Generator, studies: int, panel: Panel, labels: np.ndarray
) -> np.ndarray:
    """Complete studies: ratings (S, R, C, M, K), each item seen once."""
    return rate(model, rng, opinions(model, rng, studies, panel, labels), panel)


def balanced(cases: int) -> np.ndarray:
    """(C,) labels in turn, so that every beginning of the list is balanced as well: 0, 1, 0, 1, ..."""
    return np.arange(cases) % 2


def _draw(model: Model, part: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One part, with an axis of length 1 where it does not differ."""
    drawn_along = (True, *PARTS[part])
    return _normal(
        model, part, rng, tuple(n if along else 1 for n, along in zip(shape, drawn_along, strict=False))
    )


def _normal(model: Model, part: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """(..., K) Gaussian, correlated between the criteria."""
    mixing = np.linalg.cholesky(model.correlation) * model.sd[part][:, None]
    return rng.standard_normal((*shape, len(model.criteria))) @ mixing.T
