"""How far an explanation may be trusted: did it convince, is the image like the training's, is R stable.

(a) both transfers must flip the explained classifier and the judge; (b) the image must be like those that the model was
trained on, by its distance in a network's features; (c) R must follow a shift of one pixel and stay under noise that
does not move p. Limits are quantiles over validation cases, kept in the model file: nothing is tuned on test cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from networks import ConvNet

if TYPE_CHECKING:
    from cycle_am.explanation import Probabilities
    from cycle_am.model import Changed, Model

USABLE, DOUBTFUL, REFUSED = "usable", "doubtful", "refused"
NOISE = 0.01  # standard deviation of the noise that must not change R: 14 HU
DIMENSIONS = 20  # directions in which the training features vary most
QUANTILE = 0.99  # of validation cases that lie within a limit
TEXTS = {
    "unlike": "not like the training images",
    "explained": "the explained classifier does not change its answer",
    "judge": "the judge disagrees",
    "shift": "R does not follow a shift of one pixel",
    "noise": "R changes under noise that does not change the answer",
}


@dataclass(frozen=True)
class Trust:
    """A verdict in words with its reasons, and the figures that it rests on."""

    verdict: str
    reasons: tuple[str, ...]
    figures: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.verdict}: {'; '.join(self.reasons)}" if self.reasons else self.verdict


class Likeness:
    """Distance of images to the training images in a network's features.

    tensors: `mean`, `scale` (D,) of the features, `axes` (K, D), `spread` (K,) variances along them, `rest` () mean
    squared distance from what the axes span.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    @classmethod
    def fit(cls, network: ConvNet, images: Tensor) -> Likeness:
        """Of training images (N, 1, H, W) in [0, 1]."""
        values = features(network, images).double()
        mean, scale = values.mean(0), values.std(0).clamp_min(1e-6)
        z = (values - mean) / scale
        _, singular, axes = torch.linalg.svd(z, full_matrices=False)
        axes, spread = axes[:DIMENSIONS], singular[:DIMENSIONS] ** 2 / len(z)
        rest = (z - z @ axes.T @ axes).square().sum(1).mean()
        tensors = {"mean": mean, "scale": scale, "axes": axes, "spread": spread, "rest": rest}
        return cls({name: tensor.float() for name, tensor in tensors.items()})

    def distance(self, network: ConvNet, images: Tensor) -> Tensor:
        """(N,) about 1 for images like those of the training: the larger of the distances along and off the axes."""
        t = self.tensors
        z = (features(network, images) - t["mean"]) / t["scale"]
        along = z @ t["axes"].T
        within = (along.square() / t["spread"]).mean(1)
        off = (z - along @ t["axes"]).square().sum(1) / t["rest"]
        return torch.maximum(within, off).sqrt()


def features(network: ConvNet, images: Tensor) -> Tensor:
    """(N, D): mean, deviation and mean of the middle of every feature map of each block."""
    found, x = [], images
    for block in network.blocks:
        x = block(x)
        edge = x.shape[-1] // 4
        found += [x.mean((2, 3)), x.std((2, 3)), x[..., edge:-edge, edge:-edge].mean((2, 3))]
    return torch.cat(found, 1)


class Assessor:
    """Gives the verdicts. limits: largest likeness distance, smallest agreement of R under shift and noise."""

    def __init__(self, likeness: Likeness, limits: Mapping[str, float]) -> None:
        self.likeness, self.limits = likeness, dict(limits)

    @classmethod
    def fit(cls, model: Model, training: Tensor, validation: Tensor) -> Assessor:
        """Features of the training images (N, 1, H, W), limits from the validation images."""
        assessor = cls(Likeness.fit(_feature_network(model), training), {})
        figures = [assessor.figures(model, part, model.generate(part)) for part in validation.split(64)]
        joined = {name: torch.cat([part[name] for part in figures]) for name in figures[0]}
        high = lambda name: float(joined[name].quantile(QUANTILE))  # noqa: E731
        low = lambda name: float(joined[name].quantile(1 - QUANTILE))  # noqa: E731
        assessor.limits = {"unlike": high("unlike"), "shift": low("shift"), "noise": low("noise")}
        return assessor

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Assessor:
        """From a model file."""
        return cls(Likeness(tensors), {name: float(value) for name, value in facts["limits"].items()})

    def facts(self) -> dict[str, Any]:
        """For a model file, as JSON."""
        return {"limits": self.limits, "quantile": QUANTILE}

    def tensors(self) -> dict[str, Tensor]:
        """For a model file."""
        return self.likeness.tensors

    @torch.inference_mode()
    def figures(self, model: Model, x: Tensor, changed: Changed) -> dict[str, Tensor]:
        """(N,) each: the distance to the training images, and how R agrees with itself under shift and noise."""
        relevance = changed.pos - changed.neg
        moved = _relevance(model, _shifted(x))
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * NOISE
        noisy = _relevance(model, (x + noise).clamp(0, 1))
        inner = (..., slice(2, -2), slice(2, -2))
        return {
            "unlike": self.likeness.distance(_feature_network(model), x),
            "shift": _agreement(_shifted(relevance)[inner], moved[inner]),
            "noise": _agreement(relevance, noisy),
        }

    def assess(
        self, model: Model, x: Tensor, changed: Changed, explained: Probabilities, judge: Probabilities
    ) -> list[Trust]:
        """A verdict for each image (N, 1, H, W)."""
        values = {name: column.tolist() for name, column in self.figures(model, x, changed).items()}
        verdicts = []
        for i in range(len(x)):
            one = {name: column[i] for name, column in values.items()}
            failed = [
                name
                for name, bad in (
                    ("unlike", one["unlike"] > self.limits["unlike"]),
                    ("explained", not flips(explained, i)),
                    ("judge", not flips(judge, i)),
                    ("shift", one["shift"] < self.limits["shift"]),
                    ("noise", one["noise"] < self.limits["noise"]),
                )
                if bad
            ]
            verdict = REFUSED if "unlike" in failed else DOUBTFUL if failed else USABLE
            verdicts.append(Trust(verdict, tuple(TEXTS[name] for name in failed), one))
        return verdicts


def flips(p: Probabilities, i: int) -> bool:
    """Whether G- makes the classifier say the first class of image i, and G+ the second."""
    return bool(p.neg[i] < 0.5 <= p.pos[i])


def _feature_network(model: Model) -> ConvNet:
    """The explained classifier where its blocks are known, else the judge."""
    own = model.networks["classifier"]
    return own if isinstance(own, ConvNet) else model.networks["judge"]


def _relevance(model: Model, x: Tensor) -> Tensor:
    changed = model.generate(x)
    return changed.pos - changed.neg


def _shifted(x: Tensor) -> Tensor:
    """Moved by one pixel down and right, the edge repeated."""
    return pad(x, (1, 0, 1, 0), mode="replicate")[..., :-1, :-1]


def _agreement(a: Tensor, b: Tensor) -> Tensor:
    """(N,) 1 minus the relative squared difference: 1 the same, 0 as far apart as two unrelated maps."""
    apart = (a - b).square().sum((1, 2, 3))
    return 1 - apart / (a.square().sum((1, 2, 3)) + b.square().sum((1, 2, 3))).clamp_min(1e-12)
