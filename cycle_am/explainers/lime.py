"""LIME (Ribeiro et al. 2016) with square superpixels, by captum."""

from __future__ import annotations

import math

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime as Captum
from torch import Tensor, nn

from cycle_am.explainers.base import BATCH, Explainer, chunks, joined
from cycle_am.explainers.infill import Infill, infill


class Lime(Explainer):
    """Coefficients of a linear model of the target's logit in "this square is there", fitted around the image.

    Every pixel of a square has the square's coefficient. Squares are kept or covered by the same coin flips in every
    case, seeded. The fit is local, so nothing is promised of the sum. Kernel and ridge are those of the authors'
    lime_image: weight exp(-d^2 / kernel^2 / 2), d the cosine distance of the kept squares to all squares.

    Args:
        window: side of a square in pixels.
        samples: covered copies of an image.
        kernel: width of the kernel.
        ridge: penalty on the squared coefficients.
        baseline: what covers (`cycle_am.explainers.infill`).
    """

    def __init__(
        self,
        classifier: nn.Module,
        background: Tensor | None = None,
        seed: int = 0,
        window: int = 8,
        samples: int = 512,
        kernel: float = 0.25,
        ridge: float = 1.0,
        baseline: Infill = "black",
    ) -> None:
        super().__init__(classifier)
        self.background, self.seed, self.window, self.samples = background, seed, window, samples
        self.kernel, self.ridge, self.baseline = kernel, ridge, baseline

    @torch.no_grad()
    def _explain(self, image: Tensor, target: Tensor) -> Tensor:
        baseline = infill(self.baseline, image, self.background)
        squares = superpixels(image.shape[-2:], self.window).to(image.device)
        return joined(self._fit(*case, squares) for case in chunks(1, image, baseline, target))

    def _fit(self, image: Tensor, baseline: Tensor, target: Tensor, squares: Tensor) -> Tensor:
        captum = Captum(
            self.classifier,
            interpretable_model=SkLearnRidge(alpha=self.ridge),
            similarity_func=self._similarity,
            perturb_func=Coins(self.seed),
        )
        with torch.random.fork_rng(devices=[]):  # captum's data loader draws a number for nothing
            return captum.attribute(
                image,
                baselines=baseline,
                target=target,
                feature_mask=squares,
                n_samples=self.samples,
                perturbations_per_eval=BATCH,
            )

    def _similarity(self, original: Tensor, perturbed: Tensor, kept: Tensor, **_) -> float:
        distance = 1 - math.sqrt(float(kept.float().mean()))  # cosine distance of 0/1 vectors to all ones
        return math.exp(-(distance**2) / self.kernel**2 / 2)


class Coins:
    """Draws which squares are kept: (1, F) of zeros and ones, each with probability 1/2; a sequence of its own."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, original: Tensor, **settings) -> Tensor:
        """The next draw, as captum asks for it."""
        draw = torch.rand(1, settings["num_interp_features"], generator=self.generator)
        return (draw < 0.5).to(original.device, torch.int64)


def superpixels(shape: tuple[int, int], window: int) -> Tensor:
    """(1, 1, H, W) int64: the number of the square that each pixel lies in; squares at the far edges may be cut."""
    row, column = (torch.arange(size) // window for size in shape)
    return (row[:, None] * (column[-1] + 1) + column)[None, None]
