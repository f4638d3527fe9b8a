"""Does a map depend on the model and stay put where the model does? (Adebayo et al. 2018)

A method whose maps hardly change when the classifier's weights are replaced by random ones shows the image, not
the classifier. A method whose maps change under noise that the classifier does not notice shows the noise.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cycle_am.metrics.faithfulness import Predict, batch_size, of_class
from cycle_am.metrics.similarity import ssim_to

#: A method reacts where the mean Spearman correlation of |R| with the randomised model's falls below this: less
#: than a quarter (.5^2) of the variance of the ranks is then shared. A convention, stated beside every figure.
REACTS_BELOW = 0.5
NOISE, COPIES, TOLERANCE = 0.01, 8, 0.05  # .01 of the grey range is 14 HU, the noise of a good CT


@torch.no_grad()
def layer_order(module: nn.Module, example: Tensor) -> list[str]:
    """Names of all submodules with parameters of their own, in the order in which `example` (M, C, H, W) meets
    them; in the order of definition where no hook sees them (TorchScript, exported programs)."""
    own = {
        name: part
        for name, part in module.named_modules()
        if next(part.parameters(recurse=False), None) is not None
    }
    seen: list[str] = []
    handles = [
        part.register_forward_pre_hook(lambda *_, name=name: seen.append(name))
        for name, part in own.items()
        if not isinstance(part, torch.jit.ScriptModule)  # refuses hooks
    ]
    try:
        module(example)
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(seen)) or list(own)


def randomised(
    module: nn.Module, names: Sequence[str], seed: int = 0, images: Tensor | None = None
) -> nn.Module:
    """A copy of the module in which the named submodules are as before any training; the original stays as it is.

    Each is drawn anew from its own initial distribution (`reset_parameters`), or, where it has none (TorchScript,
    exported programs), from a normal distribution with each parameter's own spread. BatchNorm forgets weight, bias
    and statistics; with `images` (M, C, H, W) the statistics of the named ones are then estimated anew, without
    which a deep random network may answer all images alike. A layer's numbers depend on the seed and its name
    only, so that cascades are nested.
    """
    copy = deepcopy(module)
    parts = dict(copy.named_modules())
    for name in names:
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0]))
            _forget(parts[name])
    if images is not None:
        _estimate_statistics(copy, [parts[name] for name in names], images)
    return copy


@torch.no_grad()
def _forget(part: nn.Module) -> None:
    if hasattr(part, "reset_parameters"):
        part.reset_parameters()
        return
    for parameter in part.parameters(recurse=False):
        spread = parameter.std() if parameter.numel() > 1 else parameter.abs()
        parameter.copy_(torch.randn_like(parameter) * spread)


@torch.no_grad()
def _estimate_statistics(module: nn.Module, parts: Sequence[nn.Module], images: Tensor) -> None:
    """Set the running statistics of the BatchNorm layers among `parts` to those of one batch."""
    norms = [part for part in parts if isinstance(part, _BatchNorm) and part.track_running_stats]
    before = [(part.training, part.momentum) for part in norms]
    for part in norms:
        part.train()
        part.momentum = None  # a plain mean, of one batch
    if norms:
        module(images)
    for part, (training, momentum) in zip(norms, before, strict=True):
        part.train(training)
        part.momentum = momentum


def cascade(
    module: nn.Module, order: Sequence[str], seed: int = 0, images: Tensor | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Randomise from the output towards the input: (name, copy in which this layer and all after it are random).

    `order` as `layer_order` gives it, input first. The first copy has a random last layer, the last is random
    throughout.
    """
    for start in reversed(range(len(order))):
        yield order[start], randomised(module, order[start:], seed, images)


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) rank correlation of maps (N, H, W), ties at their mean rank. 0 where one of the two is constant, 1
    where both are (the method did not change), NaN where a value is NaN."""
    return _correlation(*(_ranks(part) for part in (first, second)))


def pearson(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) correlation of maps (N, H, W). 0 where one of the two is constant, 1 where both are."""
    return _correlation(
        *(np.asarray(part, dtype=np.float64).reshape(len(part), -1) for part in (first, second))
    )


def map_ssim(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) SSIM of |R| (N, H, W), each map scaled to a maximum of 1; maps that are zero everywhere stay so.

    Two maps that are empty almost everywhere are similar by this measure wherever their peaks lie.
    """
    unit = []
    for part in (first, second):
        magnitude = np.abs(part).astype(np.float64)
        peak = magnitude.max((1, 2), keepdims=True)
        unit.append(torch.from_numpy(magnitude / np.where(peak > 0, peak, 1))[:, None])
    return ssim_to(*unit)


def map_similarity(first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """How alike maps (N, H, W) of two models are, each (N,): `spearman` of |R|, `spearman_signed` of R, `ssim`."""
    return {
        "spearman": spearman(np.abs(first), np.abs(second)),
        "spearman_signed": spearman(first, second),
        "ssim": map_ssim(first, second),
    }


def reacts(similarity: np.ndarray, threshold: float = REACTS_BELOW) -> bool:
    """Does a method react to a changed model? (N,) `spearman` of |R| before and after; unknown cases left out.

    Raises:
        ValueError: if no case is known.
    """
    if not np.isfinite(similarity).any():
        raise ValueError("no case with a known similarity; nothing can be said about a reaction")
    return bool(np.nanmean(similarity) < threshold)


def agreement(maps: np.ndarray) -> dict[str, np.ndarray]:
    """Mean `map_similarity` (N,) over all pairs of S models of different seeds; maps (S, N, H, W), S >= 2."""
    pairs = [map_similarity(first, second) for first, second in combinations(maps, 2)]
    return {name: np.mean([pair[name] for pair in pairs], axis=0) for name in pairs[0]}


@dataclass(frozen=True)
class Copies:
    """Noisy copies (N, K, C, H, W) of N images in [0, 1]; `keep` (N, K) bool: the classifier did not notice."""

    images: Tensor
    keep: np.ndarray

    @property
    def kept(self) -> Tensor:
        """The copies that count, (keep.sum(), C, H, W), case by case: what is to be explained."""
        return self.images[torch.from_numpy(self.keep)]

    @property
    def case(self) -> np.ndarray:
        """The case of each copy that counts, (keep.sum(),)."""
        return self.keep.nonzero()[0]


@torch.no_grad()
def noisy_copies(
    predict: Predict,
    images: Tensor,
    target: int | np.ndarray = 1,
    *,
    sigma: float = NOISE,
    copies: int = COPIES,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Copies:
    """Seeded Gaussian noise on images (N, C, H, W), clipped to [0, 1]; knows no map, so it serves all explainers.

    A copy counts if its predicted class is the image's and its probability of `target` within `tolerance` of it.

    Args:
        predict: images to probabilities (M, K); logits would need another tolerance.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(images), copies, *images.shape[1:], generator=generator).to(images)
    noisy = (images[:, None] + sigma * noise).clamp(0, 1)
    everything = torch.cat([images[:, None], noisy], 1).flatten(0, 1)
    answers = torch.cat([predict(part).double().cpu() for part in everything.split(batch_size(images))])
    answers = answers.reshape(len(images), copies + 1, -1).numpy()
    p, chosen = of_class(answers, target), answers.argmax(2)
    return Copies(noisy, (np.abs(p[:, 1:] - p[:, :1]) <= tolerance) & (chosen[:, 1:] == chosen[:, :1]))


def stability(maps: np.ndarray, kept_maps: np.ndarray, keep: np.ndarray) -> dict[str, np.ndarray]:
    """How far maps (N, H, W) move under noise that the classifier does not notice.

    Args:
        kept_maps: (keep.sum(), H, W) maps of `Copies.kept`.
        keep: (N, K) bool.

    Returns:
        `stability` (N,): mean correlation with the copies' maps, 1 best. `max_change` (N,): the largest
        ||R' - R|| / ||R||, 0 best. `copies` (N,): how many counted. NaN where none did; where R is zero everywhere,
        the change is NaN, too, unless no copy has a map either.
    """
    case = keep.nonzero()[0]
    first, second = (
        np.asarray(part, dtype=np.float64).reshape(len(part), -1) for part in (maps[case], kept_maps)
    )
    length, moved = np.linalg.norm(first, axis=1), np.linalg.norm(second - first, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.where(moved == 0, 0.0, np.where(length > 0, moved / length, np.nan))
    correlation = _correlation(first, second)
    figures = {
        "copies": keep.sum(1),
        "stability": np.full(len(maps), np.nan),
        "max_change": np.full(len(maps), np.nan),
    }
    for i in np.unique(case):
        figures["stability"][i] = correlation[case == i].mean()
        figures["max_change"][i] = change[case == i].max()
    return figures


def _ranks(maps: np.ndarray) -> np.ndarray:
    return rankdata(np.asarray(maps).reshape(len(maps), -1), axis=1)


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) Pearson correlation of rows (N, P); 0 where one row is constant, 1 where both are."""
    flat = [np.ptp(part, 1) == 0 for part in (first, second)]
    first, second = (part - part.mean(1, keepdims=True) for part in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (first * second).sum(1) / (
            np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        )
    return np.where(flat[0] & flat[1], 1.0, np.where(flat[0] | flat[1], 0.0, correlation))
