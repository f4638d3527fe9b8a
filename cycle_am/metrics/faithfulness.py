"""Is the map what the classifier decides by? Pixels are taken away in the map's order, and the classifier answers.

Maps are signed evidence for a class, `target`: positive where the pixel speaks for it. `predict` turns images
(M, C, H, W) into scores (M, K), one column a class, probabilities or logits as the caller likes. A pixel is
"taken away" by an infill that makes up what might stand there instead; a result that holds for one infill only
is a result about that infill, so there are several.

Deletion and insertion: Petsiuk et al. 2018 (RISE). Sensitivity-n: Ancona et al. 2018. Infidelity: Yeh et al. 2019.

Ties: pixels of equal relevance are ordered at random, per case, by a generator that never sees the map. So a
constant map deletes in a random order, the chance level, and not row by row. A map with a value that is not
finite gives NaN.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from cycle_am.errors import UserError

Predict = Callable[[Tensor], Tensor]
Infill = Callable[[Tensor, Tensor], Tensor]

#: Quadratic, since a nodule covers about a twentieth of the window: even steps would take it away in one go.
FRACTIONS = tuple((step / 16) ** 2 for step in range(17))
BLUR_SIGMA = 8.0  # pixels; leaves about a quarter of the contrast of a 13-pixel (9 mm) nodule's centre
MEAN_WINDOW = 21  # pixels, 15 mm
FLIP_FRACTION = 0.05  # share of the window, about the size of a nodule
SUBSET_SHARE, SUBSET_PATCH, SUBSETS = 0.1, 4, 64
BATCH_CPU, BATCH_GPU = 16, 512  # on a CPU activations that stay in the cache halve the time


def blur(images: Tensor, removed: Tensor, sigma: float = BLUR_SIGMA) -> Tensor:
    """Gaussian blur of the whole image (M, C, H, W), renormalised at the border; what was removed takes part."""
    return _smooth(images, lambda distance: torch.exp(-(distance**2) / (2 * sigma**2)))


def local_mean(images: Tensor, removed: Tensor, window: int = MEAN_WINDOW) -> Tensor:
    """Mean of the `window` x `window` pixels around (odd), cut at the border; what was removed takes part."""
    return _smooth(images, lambda distance: (distance <= window // 2).float())


def neighbour(images: Tensor, removed: Tensor) -> Tensor:
    """Neighbouring tissue: a smooth continuation of the pixels that remain, of which nothing removed takes part.

    Pull-push (Gortler et al. 1996): means of the remaining pixels on ever coarser grids, then each gap is filled
    from the next coarser grid. Where nothing remains: the mean of the image.
    """
    kept = (~removed).to(images.dtype)
    grids = [(images * kept, kept)]
    while max(grids[-1][0].shape[-2:]) > 1:
        grids.append(tuple(avg_pool2d(part, 2, ceil_mode=True) for part in grids[-1]))
    filled = images.mean((2, 3), keepdim=True)
    for total, weight in reversed(grids):
        coarse = interpolate(filled, total.shape[-2:], mode="bilinear", align_corners=False)
        filled = torch.where(weight > 0, total / weight.clamp(min=1e-12), coarse)
    return filled


#: (images (M, C, H, W), removed (M, 1, H, W) bool) -> images; only the removed pixels of the answer are used.
INFILLS: Mapping[str, Infill] = {"blur": blur, "local_mean": local_mean, "neighbour": neighbour}


def _smooth(images: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """Separable mean with weights `kernel(distance in pixels)`, as products with two matrices."""
    rows, columns = (_rows_sum_to_one(kernel(_distance(size))) for size in images.shape[-2:])
    return rows.to(images) @ images @ columns.to(images).T


def _rows_sum_to_one(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(1, keepdim=True)


@lru_cache(maxsize=8)
def _distance(size: int) -> Tensor:
    place = torch.arange(size, dtype=torch.float32)
    return (place[:, None] - place[None]).abs()


@torch.no_grad()
def scores(predict: Predict, images: Tensor, removed: Tensor, infill: Infill) -> np.ndarray:
    """Scores (N, S, K) float64 of N images in S states each, with the pixels `removed` (N, S, H, W) filled in."""
    n, states = removed.shape[:2]
    answers = []
    for index in torch.arange(n * states).split(batch_size(images)):
        image = images[index // states]
        gone = removed[index // states, index % states][:, None].to(image.device)
        answers.append(predict(torch.where(gone, infill(image, gone), image)).double().cpu())
    return torch.cat(answers).reshape(n, states, -1).numpy()


def batch_size(images: Tensor) -> int:
    """How many images to classify at once where they lie."""
    return BATCH_CPU if images.device.type == "cpu" else BATCH_GPU


def of_class(answers: np.ndarray, target: int | np.ndarray) -> np.ndarray:
    """Scores (N, S, K) of one class for all, or of one class for each of N cases -> (N, S)."""
    column = np.broadcast_to(np.asarray(target), len(answers))[:, None, None]
    return np.take_along_axis(answers, column, 2)[:, :, 0]


def relevance_ranks(maps: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N, H, W) int64: 0 for the most relevant pixel of each map, H * W - 1 for the least; ties by `seed`.

    Case i has the same tie order in every map and whatever number of cases follows it.
    """
    flat = np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)
    shuffle = np.random.default_rng(seed).random(flat.shape).argsort(1)
    falling = np.take_along_axis(-flat, shuffle, 1).argsort(1, kind="stable")
    ranks = np.empty(flat.shape, dtype=np.int64)
    np.put_along_axis(ranks, np.take_along_axis(shuffle, falling, 1), np.arange(flat.shape[1])[None], 1)
    return ranks.reshape(np.shape(maps))


def deletion(
    predict: Predict,
    images: Tensor,
    maps: np.ndarray,
    target: int | np.ndarray,
    infill: Infill = blur,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> np.ndarray:
    """(N, S) score of `target` after the most relevant `fractions` of the pixels were filled in.

    The sooner it falls, the better the map: a small area is good.
    """
    return _curve(predict, images, maps, target, infill, fractions, seed, inserted=False)


def insertion(
    predict: Predict,
    images: Tensor,
    maps: np.ndarray,
    target: int | np.ndarray,
    infill: Infill = blur,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> np.ndarray:
    """(N, S) score of `target` when only the most relevant `fractions` of the pixels are real, the rest filled in.

    The sooner it rises, the better the map: a large area is good.
    """
    return _curve(predict, images, maps, target, infill, fractions, seed, inserted=True)


def _curve(predict, images, maps, target, infill, fractions, seed, *, inserted: bool) -> np.ndarray:
    check_fractions(fractions)
    ranks = torch.from_numpy(relevance_ranks(maps, seed))[:, None]
    count = np.rint(np.asarray(fractions) * ranks[0].numel()).astype(np.int64)
    first = ranks < torch.from_numpy(count)[:, None, None]
    curve = of_class(scores(predict, images, ~first if inserted else first, infill), target)
    return np.where(_finite(maps)[:, None], curve, np.nan)


def check_fractions(fractions: Sequence[float]) -> None:
    """
    Raises:
        UserError: unless there are at least two, rising, in [0, 1].
    """
    steps = np.asarray(fractions, dtype=np.float64)
    if len(steps) < 2 or (np.diff(steps) <= 0).any() or steps[0] < 0 or steps[-1] > 1:
        raise UserError(
            f"fractions of pixels must rise within [0, 1], at least two of them; got {list(fractions)}"
        )


def curve_area(curve: np.ndarray, fractions: Sequence[float] = FRACTIONS) -> np.ndarray:
    """(N,) mean height of each curve (N, S) between the first and the last fraction, by the trapezoidal rule."""
    return np.trapezoid(curve, fractions, axis=1) / (fractions[-1] - fractions[0])


def curves(
    predict: Predict,
    images: Tensor,
    maps: np.ndarray,
    target: int | np.ndarray,
    infills: Mapping[str, Infill] = INFILLS,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Curves (N, S) by name: `deletion_<infill>` and `insertion_<infill>` for each infill."""
    return {
        f"{kind.__name__}_{name}": kind(predict, images, maps, target, infill, fractions, seed)
        for kind in (deletion, insertion)
        for name, infill in infills.items()
    }


def areas(curves: Mapping[str, np.ndarray], fractions: Sequence[float] = FRACTIONS) -> dict[str, np.ndarray]:
    """Areas (N,) of what `curves` gave, by the same names; `deletion`, `insertion`: their means over the infills."""
    single = {name: curve_area(curve, fractions) for name, curve in curves.items()}
    return single | {
        kind: np.mean([area for name, area in single.items() if name.startswith(f"{kind}_")], axis=0)
        for kind in ("deletion", "insertion")
    }


def signed_flips(
    predict: Predict,
    images: Tensor,
    maps: np.ndarray,
    target: int | np.ndarray,
    infill: Infill = blur,
    fraction: float = FLIP_FRACTION,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Does replacing the top relevance for one of two classes raise the other? Signs are tested, not sizes.

    `flip_for` (N,): rise of the other class when the top `fraction` of evidence for `target` is filled in.
    `flip_against` (N,): rise of `target` when the top `fraction` of evidence for the other class, the lowest of
    the map, is. `flip`: their mean. All should be positive. Every map gives up the same number of pixels: one
    without negative values gives its `flip_against` the smallest ones, at random among zeros.
    """
    ranks = torch.from_numpy(relevance_ranks(maps, seed))
    pixels = ranks[0].numel()
    count = max(1, round(fraction * pixels))
    removed = torch.stack(
        [torch.zeros_like(ranks, dtype=torch.bool), ranks < count, ranks >= pixels - count], 1
    )
    answers = scores(predict, images, removed, infill)
    answers[~_finite(maps)] = np.nan
    own, other = of_class(answers, target), of_class(answers, 1 - np.asarray(target))
    flips = {"flip_for": other[:, 1] - other[:, 0], "flip_against": own[:, 2] - own[:, 0]}
    return flips | {"flip": (flips["flip_for"] + flips["flip_against"]) / 2}


def random_subsets(
    shape: tuple[int, int],
    share: float = SUBSET_SHARE,
    patch: int = SUBSET_PATCH,
    draws: int = SUBSETS,
    seed: int = 0,
) -> np.ndarray:
    """(draws, H, W) bool: each a random `share` of the window's `patch` x `patch` squares, all of equal number.

    Patches, since a network hardly notices scattered single pixels; `patch=1` gives those.
    """
    rows, columns = (-(-size // patch) for size in shape)
    order = np.random.default_rng(seed).random((draws, rows * columns)).argsort(1).argsort(1)
    cells = (order < max(1, round(share * rows * columns))).reshape(draws, rows, columns)
    return cells.repeat(patch, 1).repeat(patch, 2)[:, : shape[0], : shape[1]]


def removal_drops(
    predict: Predict, images: Tensor, target: int | np.ndarray, subsets: np.ndarray, infill: Infill = blur
) -> np.ndarray:
    """(N, D) fall of the score of `target` (best a logit) when each of D subsets (D, H, W) is filled in.

    Knows no map: computed once, it serves every explainer, and all see the same subsets.
    """
    removed = torch.from_numpy(np.concatenate([np.zeros_like(subsets[:1]), subsets]))
    answers = of_class(scores(predict, images, removed.expand(len(images), *removed.shape), infill), target)
    return answers[:, :1] - answers[:, 1:]


def subset_sums(maps: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """(N, D) sum of the relevance (N, H, W) in each of D subsets (D, H, W)."""
    return np.asarray(maps, dtype=np.float64).reshape(len(maps), -1) @ subsets.reshape(len(subsets), -1).T


def sensitivity_n(sums: np.ndarray, drops: np.ndarray) -> np.ndarray:
    """(N,) correlation over subsets of summed relevance and fall of the score, both (N, D): 1 perfect, 0 chance.

    A map that says the same of every subset has 0. NaN where the score never changes: nothing to explain.
    """
    sums_off, drops_off = (part - part.mean(1, keepdims=True) for part in (sums, drops))
    size_sums, size_drops = (np.linalg.norm(part, axis=1) for part in (sums_off, drops_off))
    flat = size_sums <= 1e-9 * np.linalg.norm(sums, axis=1)
    still = size_drops <= 1e-9 * np.linalg.norm(drops, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (sums_off * drops_off).sum(1) / (size_sums * size_drops)
    return np.where(still | ~np.isfinite(sums).all(1), np.nan, np.where(flat, 0.0, correlation))


def infidelity(sums: np.ndarray, drops: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1]: squared error of the summed relevance as a forecast of the fall, both (N, D), relative to
    the forecast 0, after the best scaling of the map by a factor >= 0. 0 perfect, 1 no better than no map.

    Yeh et al. 2019 leave maps unscaled; maps of Grad-CAM or CycleAM have no unit, so the scale is not judged here.
    Unlike `sensitivity_n` it forgives no offset. NaN where the score never changes.
    """
    product = np.maximum((sums * drops).sum(1), 0.0)
    energy_sums, energy_drops = (sums**2).sum(1), (drops**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = np.where(energy_sums > 0, product**2 / (energy_sums * energy_drops), 0.0)
    known = (energy_drops > 0) & np.isfinite(energy_sums)
    return np.where(known, 1 - explained, np.nan)


def _finite(maps: np.ndarray) -> np.ndarray:
    return np.isfinite(maps).reshape(len(maps), -1).all(1)
