"""Each term of the generators' loss against its formula."""

import math

import pytest
import torch
from torch import nn

from cycle_am.losses import (
    Augment,
    GeneratorStep,
    activation,
    adversarial,
    cycle,
    discriminator,
    dssim,
    similarity,
)
from cycle_am.losses.terms import answer_loss


@pytest.fixture
def step():
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 1, 64, 64, generator=generator) for _ in range(5)]
    answers = [[torch.randn(2, 2, k, k, generator=generator) for k in (16, 8)] for _ in range(2)]
    return GeneratorStep(
        *images,
        *answers,
        classifier=lambda x: torch.stack([-x.mean((1, 2, 3)), x.mean((1, 2, 3))], 1),
        uniform=torch.rand,
    )


def test_cycle_is_equation_2_for_both_orders(step):
    expected = 0.0
    for again in (step.cycle_pos, step.cycle_neg):
        expected += 0.5 * ((step.x_a - again).abs().mean() + dssim(step.x_a, again).mean())
    torch.testing.assert_close(cycle(step), expected)


def test_similarity_is_dssim_plus_weighted_l1(step):
    expected = dssim(step.x_a, step.x_pos).mean() + dssim(step.x_a, step.x_neg).mean()
    torch.testing.assert_close(similarity(step), expected)
    change = (step.x_a - step.x_pos).abs().mean() + (step.x_a - step.x_neg).abs().mean()
    torch.testing.assert_close(similarity(step, l1_weight=5.0), expected + 5 * change)


def test_adversarial_and_discriminator_take_opposite_labels(step):
    def by_hand(answers, channel):
        scales = [-a.log_softmax(1)[:, channel].mean() for a in answers]
        return sum(scales) / len(scales)

    torch.testing.assert_close(adversarial(step), by_hand(step.answer_pos, 0) + by_hand(step.answer_neg, 0))
    real = discriminator(step.answer_neg, step.answer_pos)
    torch.testing.assert_close(real, by_hand(step.answer_pos, 1) + by_hand(step.answer_neg, 1))


def test_a_guessing_discriminator_costs_log_2():
    assert answer_loss([torch.zeros(3, 2, 4, 4)] * 2, 1).item() == pytest.approx(math.log(2))


def test_activation_is_cross_entropy_with_the_generators_own_label(step):
    pos, neg = step.classifier(step.x_pos).softmax(1)[:, 1], step.classifier(step.x_neg).softmax(1)[:, 0]
    torch.testing.assert_close(activation(step), -pos.log().mean() - neg.log().mean())


def test_smoothing_makes_95_percent_the_best_probability():
    p = torch.linspace(0.5, 0.999, 500)
    logits = torch.stack([torch.zeros_like(p), (p / (1 - p)).log()], 1)
    loss = torch.nn.functional.cross_entropy(
        logits, torch.ones(500, dtype=torch.long), label_smoothing=0.1, reduction="none"
    )
    assert p[loss.argmin()].item() == pytest.approx(0.95, abs=2e-3)


def test_activation_passes_gradient_through_classifier_and_augmentation(step):
    image = step.x_pos.clone().requires_grad_()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 2)).requires_grad_(False)
    changed = GeneratorStep(**{**step.__dict__, "x_pos": image, "classifier": network})
    activation(changed, smoothing=0.1, augment=Augment(shift=3, turns=True)).backward()
    assert image.grad.abs().sum() > 0
