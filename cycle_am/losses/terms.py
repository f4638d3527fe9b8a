"""The terms of the generators' loss (paper, sec. 2, eq. 1-4), one function each.

Every term takes the :class:`GeneratorStep` of a batch and gives one number, the sum over G+ and G-. A new term
is one more function of this form and one entry under ``terms`` of the model's configuration.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cycle_am.losses.augment import Augment, Uniform
from cycle_am.losses.ssim import STANDARD, dssim
from cycle_am.networks.discriminator import FAKE, REAL

FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class GeneratorStep:
    """What the generators made of one batch, in the paper's names; images (N, C, H, W) in [0, 1].

    Attributes:
        x_a: the images that are changed.
        x_neg, x_pos: G-(x_a) and G+(x_a).
        cycle_neg, cycle_pos: G+(x_neg) and G-(x_pos), which should be x_a again.
        answer_neg, answer_pos: what D- and D+ say of (x_neg, x_b) and (x_pos, x_b): logits (N, 2, h, w) a scale.
        classifier: image to logits (N, K); frozen.
        uniform: gives (N, ...) random numbers in [0, 1).
        to_neg, to_pos: the classes that x_neg and x_pos are to be of: of two the first and the second, of more (N,)
            int64, two different ones drawn for each image.
    """

    x_a: Tensor
    x_neg: Tensor
    x_pos: Tensor
    cycle_neg: Tensor
    cycle_pos: Tensor
    answer_neg: Sequence[Tensor]
    answer_pos: Sequence[Tensor]
    classifier: Callable[[Tensor], Tensor]
    uniform: Uniform
    to_neg: int | Tensor = FIRST
    to_pos: int | Tensor = SECOND


def cycle(step: GeneratorStep, constants: Sequence[float] = STANDARD) -> Tensor:
    """(|x - x''| + DSSIM(x, x'')) / 2 for both orders (eq. 2)."""
    return sum(
        (l1(step.x_a, again) + dssim(step.x_a, again, constants).mean()) / 2
        for again in (step.cycle_neg, step.cycle_pos)
    )


def similarity(step: GeneratorStep, constants: Sequence[float] = STANDARD, l1_weight: float = 0.0) -> Tensor:
    """DSSIM(x, G(x)) for both (sec. 2.2), plus ``l1_weight`` times the mean change (not in the paper: 0)."""
    return sum(
        dssim(step.x_a, changed, constants).mean() + l1_weight * l1(step.x_a, changed)
        for changed in (step.x_neg, step.x_pos)
    )


def adversarial(step: GeneratorStep) -> Tensor:
    """Cross entropy of the discriminators' answers with inverted labels (eq. 3, 4)."""
    return answer_loss(step.answer_neg, FAKE) + answer_loss(step.answer_pos, FAKE)


def activation(step: GeneratorStep, smoothing: float = 0.0, augment: Augment | None = None) -> Tensor:
    """Cross entropy of C(G(x)) with the label that the generator is to maximise (sec. 2.4).

    Eq. (4) prints C(x_a), which has no gradient to G; the text means C(G(x_a)).

    Args:
        smoothing: label smoothing; with 0.1 nothing is gained beyond a probability of .95 (paper: 0).
        augment: the classifier sees randomly changed copies (paper: none).
    """
    return _activation(step, step.x_pos, step.to_pos, smoothing, augment) + _activation(
        step, step.x_neg, step.to_neg, smoothing, augment
    )


def discriminator(answer_neg: Sequence[Tensor], answer_pos: Sequence[Tensor]) -> Tensor:
    """Cross entropy of both discriminators' answers with the true labels (eq. 3)."""
    return answer_loss(answer_neg, REAL) + answer_loss(answer_pos, REAL)


def answer_loss(answer: Sequence[Tensor], label: int) -> Tensor:
    """Cross entropy of logits (N, 2, h, w) with one label, mean over positions, then over scales."""
    return torch.stack(
        [cross_entropy(a, a.new_full(a[:, 0].shape, label, dtype=torch.long)) for a in answer]
    ).mean()


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (x - y).abs().mean()


def _activation(
    step: GeneratorStep, image: Tensor, label: int | Tensor, smoothing: float, augment: Augment | None
) -> Tensor:
    logits = step.classifier(augment(image, step.uniform) if augment else image).float()
    labels = torch.as_tensor(label, device=logits.device).expand(len(logits))
    return cross_entropy(logits, labels, label_smoothing=smoothing)
