"""How far an explanation may be trusted: did it convince, is the image like the training's, is R stable, where is it.

Every case is asked, in this order:
1. Is the image like those that the model was trained on? By its distance in a network's features, and by a network
   that knows mistakes (`cycle_am.model.mistakes`). Beside them it is doubted, far from them refused.
2. Do G- and G+ both change the answer of the explained classifier, and of the judge?
3. Does G- change anything where the lesion should be?
4. Does R follow a shift of one pixel, and stay under noise that does not move p?
5. Does R lie elsewhere than at the window's border?

Questions that only CT of lesions answers (known mistakes, 3. and 5.) are not asked of other images.

Limits come from those validation cases whose explanation convinces (2.), kept in the model file: neither the networks'
weights nor the distance were fitted to them. docs/trust.md says how well the verdicts hold on test cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from cycle_am.contract import Changed
from cycle_am.errors import UserError
from cycle_am.model.mistakes import MIDDLE, learn, network, suspicion
from cycle_am.networks import ConvNet

if TYPE_CHECKING:
    from cycle_am.model.explanation import Probabilities
    from cycle_am.model.model import Model

USABLE, DOUBTFUL, REFUSED = "usable", "doubtful", "refused"
# Share of good cases that may lie beyond each limit: 5 % together, where none lies beyond two.
ABOVE = {"distance": 0.01, "mistake": 0.03}
BELOW = {"taken": 0.01}
STABLE = 0.9  # agreement of R with itself; lower only where validation cases agree less
NOISE = 0.01  # standard deviation of the noise: 14 of 1400 Hounsfield units
MOVED = 0.05  # change of p above which noise says nothing of R
OUTSIDE = 0.5  # share of |R| at the border above which most of it lies there
BORDER = 4  # pixels
DIMENSIONS = 20  # directions in which the training features vary most
TEXTS = {
    "far": "not like the training images",
    "near": "not quite like the training images",
    "explained": "the explained classifier does not change its answer",
    "judge": "the judge disagrees",
    "taken": "G- changes hardly anything in the middle, as if there were no lesion",
    "shift": "R does not follow a shift of one pixel",
    "noise": "R changes under noise that does not change the answer",
    "border": "most of R lies at the border of the image",
}
LIMITS = ("distance", "shift", "noise", "far_distance")
OF_LESIONS = ("mistake", "taken", "far_mistake")
PART = 64  # images at once


@dataclass(frozen=True)
class Trust:
    """A verdict in words with its reasons, and the figures that it rests on.

    figures: `distance` to the training images (1: as far as they are on average), `mistake` (log odds), `taken`
    (mean |x - G-(x)| of the middle sixteenth), `shift` and `noise` (agreement of R with itself: 1 the same, 0
    unrelated), `noise_moves_p`, `middle` and `border` (shares of |R| in the middle quarter and in the outermost 4
    pixels), `mask` (share in the outline, where one was given). Of other images than lesions in CT without
    `mistake` and `taken`.
    """

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

    NAMES = ("mean", "scale", "axes", "spread", "rest")

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = {name: tensors[name] for name in self.NAMES}

    @classmethod
    def fit(cls, network: ConvNet, images: Tensor) -> Likeness:
        """Of training images (N, C, H, W) in [0, 1]."""
        values = torch.cat([features(network, part) for part in images.split(PART)]).double()
        mean, scale = values.mean(0), values.std(0).clamp_min(1e-6)
        z = (values - mean) / scale
        _, singular, axes = torch.linalg.svd(z, full_matrices=False)
        axes, spread = axes[:DIMENSIONS], (singular[:DIMENSIONS] ** 2 / len(z)).clamp_min(1e-6)
        rest = (z - z @ axes.T @ axes).square().sum(1).mean().clamp_min(1e-6)
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
    pooled, x = [], images
    for block in network.blocks:
        x = block(x)
        edge = x.shape[-1] // 4
        pooled += [x.mean((2, 3)), x.std((2, 3)), x[..., edge:-edge, edge:-edge].mean((2, 3))]
    return torch.cat(pooled, 1)


class Assessor:
    """Gives the verdicts.

    limits: by figure. Largest `distance` and `mistake` that are not doubted, with `far_` before the name not refused;
    smallest `taken` and agreement `shift` and `noise` that are not doubted. mistakes: None where the images are other
    ones than lesions in CT. seen: pixels of the middle that it sees.
    """

    def __init__(
        self, likeness: Likeness, mistakes: ConvNet | None, limits: Mapping[str, float], seen: int = MIDDLE
    ) -> None:
        self.likeness, self.mistakes, self.limits, self.seen = likeness, mistakes, dict(limits), seen

    @classmethod
    def fit(
        cls, model: Model, training: Tensor, validation: Tensor, around: Tensor | None = None
    ) -> Assessor:
        """Distance and known mistakes of the training images (N, C, S, S), limits of the validation images.

        around: training images with more around the window, as `mistakes.learn` takes them.
        """
        likeness = Likeness.fit(_feature_network(model), training)
        seen = MIDDLE if around is None else training.shape[-1]
        mistakes = learn(training, around) if model.task.is_nodule else None
        assessor = cls(likeness, mistakes, {}, seen)
        parts = [assessor._validated(model, part) for part in validation.split(PART)]
        figures = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        kept = figures.pop("convinces")
        if kept.any():
            figures = {name: column[kept] for name, column in figures.items()}
        assessor.limits = limits(figures)
        return assessor

    @torch.inference_mode()
    def _validated(self, model: Model, x: Tensor) -> dict[str, Tensor]:
        changed = model.generate(x)
        return self.figures(model, x, changed) | {"convinces": _convinces(model, changed)}

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], lesions: bool = True) -> Assessor:
        """From a model file; lesions: of lesions in CT. Raises UserError where it lacks something or holds what is no
        number.
        """
        try:
            names = LIMITS + OF_LESIONS if lesions else LIMITS
            limits = {name: float(facts["limits"][name]) for name in names}
            likeness = Likeness(_part(tensors, "distance."))
            seen, mistakes = int(facts.get("seen", MIDDLE)), None
            if lesions:
                with torch.device("meta"):
                    mistakes = network(seen)
                mistakes.load_state_dict(_part(tensors, "mistakes."), assign=True)
                mistakes.eval().requires_grad_(False)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise UserError(
                f"the model file's figures of trust are incomplete ({reason}); pack it again"
            ) from error
        if not all(map(math.isfinite, [*limits.values(), *(float(t.sum()) for t in tensors.values())])):
            raise UserError("the model file's figures of trust are not finite; pack it again")
        return cls(likeness, mistakes, limits, seen)

    def facts(self) -> dict[str, Any]:
        """For a model file, as JSON."""
        return {"limits": self.limits, "beyond": ABOVE | BELOW, "seen": self.seen}

    def tensors(self) -> dict[str, Tensor]:
        """For a model file."""
        parts = {"distance": self.likeness.tensors}
        if self.mistakes is not None:
            parts["mistakes"] = self.mistakes.state_dict()
        return {f"{part}.{name}": tensor for part, held in parts.items() for name, tensor in held.items()}

    @torch.inference_mode()
    def figures(
        self, model: Model, x: Tensor, changed: Changed, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """(N,) each: what `Trust.figures` names, of images (N, C, H, W) with outlines alike or None."""
        relevance = changed.pos - changed.neg
        noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(0)) * NOISE
        noisy = (x + noise).clamp(0, 1)
        inner = (..., slice(2, -2), slice(2, -2))
        shares = {
            "distance": self.likeness.distance(_feature_network(model), x),
            **self._of_lesions(x, changed),
            "shift": _agreement(_shifted(relevance)[inner], _relevance(model, _shifted(x))[inner]),
            "noise": _agreement(relevance, _relevance(model, noisy)),
            "noise_moves_p": (model.probability(noisy) - model.probability(x)).abs(),
            "middle": _share(relevance, _frame(relevance, relevance.shape[-1] // 4)),
            "border": _share(relevance, ~_frame(relevance, BORDER)),
        }
        return shares if mask is None else shares | {"mask": _share(relevance, mask >= 0.5)}

    def _of_lesions(self, x: Tensor, changed: Changed) -> dict[str, Tensor]:
        if self.mistakes is None:
            return {}
        taken = _mean(x - changed.neg, 3 * x.shape[-1] // 8)
        return {"mistake": suspicion(self.mistakes, x, self.seen), "taken": taken}

    def assess(
        self,
        model: Model,
        x: Tensor,
        changed: Changed,
        explained: Probabilities,
        judge: Probabilities,
        mask: Tensor | None = None,
    ) -> list[Trust]:
        """A verdict for each image (N, C, H, W); mask: outlines alike, only for the figure `mask`."""
        columns = {name: column.tolist() for name, column in self.figures(model, x, changed, mask).items()}
        rows = [{name: column[i] for name, column in columns.items()} for i in range(len(x))]
        return [self.verdict(figures, flips(explained, i), flips(judge, i)) for i, figures in enumerate(rows)]

    def verdict(self, figures: Mapping[str, float], explained: bool, judge: bool) -> Trust:
        """Of one image: its figures, and whether the explained classifier and the judge change their answers."""
        limits, lesions = self.limits, self.mistakes is not None
        unlike = ("distance", "mistake") if lesions else ("distance",)
        far = any(figures[name] > limits[f"far_{name}"] for name in unlike)
        failed = {
            "far": far,
            "near": not far and any(figures[name] > limits[name] for name in unlike),
            "explained": not explained,
            "judge": not judge,
            "taken": lesions and figures["taken"] < limits["taken"],
            "shift": figures["shift"] < limits["shift"],
            "noise": figures["noise"] < limits["noise"] and figures["noise_moves_p"] <= MOVED,
            "border": lesions and figures["border"] > OUTSIDE,
        }
        reasons = tuple(TEXTS[name] for name, bad in failed.items() if bad)
        return Trust(REFUSED if far else DOUBTFUL if reasons else USABLE, reasons, dict(figures))


def limits(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """From figures (N,) of validation cases. Far: twice as far from their median as the farthest of them."""
    above, below = (
        {name: share for name, share in given.items() if name in figures} for given in (ABOVE, BELOW)
    )
    drawn = {name: limit(figures[name], 1 - share) for name, share in above.items()}
    drawn |= {name: limit(figures[name], share) for name, share in below.items()}
    for name in above:
        drawn[f"far_{name}"] = float(2 * figures[name].max() - figures[name].median())
    return drawn | {name: min(STABLE, limit(figures[name], 0.01)) for name in ("shift", "noise")}


def limit(values: Tensor, share: float) -> float:
    """Of N values, what a new one stays below with probability `share`: the quantile at rank share (N + 1), which is
    right for few values too, at most the largest and at least the smallest."""
    ranked = values.double().sort().values
    rank = min(max(share * (len(ranked) + 1), 1), len(ranked)) - 1
    low, high = ranked[math.floor(rank)], ranked[math.ceil(rank)]
    return float(low + (rank - math.floor(rank)) * (high - low))


def flips(p: Probabilities, i: int) -> bool:
    """Whether G- makes the classifier say the first class of image i, and G+ the second."""
    return bool(p.neg[i] < 0.5 <= p.pos[i])


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _feature_network(model: Model) -> ConvNet:
    """The explained classifier where its blocks are known, else the judge."""
    own = model.networks["classifier"]
    return own if isinstance(own, ConvNet) else model.networks["judge"]


def _convinces(model: Model, changed: Changed) -> Tensor:
    """(N,) whether the explained classifier and the judge both change their answers, as `flips` of both."""
    low, high = (
        torch.stack([model.probability(image, by) for by in ("classifier", "judge")]) for image in changed
    )
    return ((low < 0.5) & (high >= 0.5)).all(0)


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


def _frame(x: Tensor, edge: int) -> Tensor:
    """(H, W): True further than `edge` pixels from the border."""
    inside = torch.zeros(x.shape[-2:], dtype=torch.bool)
    inside[edge:-edge, edge:-edge] = True
    return inside


def _mean(change: Tensor, edge: int) -> Tensor:
    """(N,) mean |change| further than `edge` pixels from the border."""
    return change.abs()[..., edge:-edge, edge:-edge].mean((1, 2, 3))


def _share(relevance: Tensor, region: Tensor) -> Tensor:
    """(N,) share of |R| that lies in the region."""
    size = relevance.abs()
    return (size * region).sum((1, 2, 3)) / size.sum((1, 2, 3)).clamp_min(1e-12)
