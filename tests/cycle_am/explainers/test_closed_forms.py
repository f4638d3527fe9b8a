"""Each method against what it must be on a network that can be worked out by hand."""

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from cycle_am.contract import Changed
from cycle_am.explainers.activation_maximisation import ActivationMaximisation
from cycle_am.explainers.base import margin
from cycle_am.explainers.control_centre import ControlCentre
from cycle_am.explainers.control_edges import ControlEdges
from cycle_am.explainers.control_random import ControlRandom
from cycle_am.explainers.cycle_am import CycleAM
from cycle_am.explainers.cycle_am_attribution import CycleAMAttribution
from cycle_am.explainers.deep_shap import DeepShap
from cycle_am.explainers.grad_cam import GradCam
from cycle_am.explainers.grad_cam_pp import GradCamPlusPlus, combine
from cycle_am.explainers.infill import infill
from cycle_am.explainers.integrated_gradients import IntegratedGradients
from cycle_am.explainers.lime import Lime
from cycle_am.explainers.occlusion import Occlusion
from cycle_am.explainers.smoothgrad import SmoothGrad
from cycle_am.networks import ConvNet
from tests.cycle_am.explainers.fakes import Brightener, Linear, images, randomise

TARGET = torch.tensor([0, 1, 1])


@pytest.fixture
def linear() -> Linear:
    return Linear(8, bias=True)


@pytest.fixture
def x():
    return images(3, 8)


def stacked(linear: Linear, target=TARGET):
    """W of each case's target, (N, 1, H, W)."""
    return torch.stack([linear.weights(int(t)) for t in target])


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b.to(a), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("baseline", ["black", "background_mean"])
def test_integrated_gradients_are_weight_times_difference(linear, x, baseline):
    background = images(5, 8, seed=9)
    method = IntegratedGradients(linear, background, baseline)
    expected = torch.zeros(1) if baseline == "black" else background.mean(0)
    close(method.explain(x, TARGET), stacked(linear) * (x - expected))


@pytest.mark.parametrize("count", [5, 13])  # 13: parts of 10 and 3
def test_deep_shap_is_weight_times_difference_to_the_mean_background(linear, x, count):
    background = images(count, 8, seed=9)
    method = DeepShap(linear, background)
    relevance = method.explain(x, TARGET)
    close(relevance, stacked(linear) * (x - background.mean(0)))
    assert method.completeness(x, TARGET, relevance).max() < 1e-4


def test_deep_shap_draws_its_background_by_the_seed(linear):
    background = images(20, 8)
    drawn = [DeepShap(linear, background, seed, samples=4).background for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert all(any(torch.equal(one, other) for other in background) for one in drawn[2])


def test_deep_shap_of_a_relu_is_deep_lift(x):
    # One hidden ReLU: the multiplier is (change of its output) / (change of its input), for each background image.
    net = randomise(nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.ReLU(), nn.Linear(1, 2)))
    net[1].bias.data = -net[1](x.flatten(1)).mean(0).detach()
    background = images(13, 8, seed=3)  # explained in parts of 10 and 3
    hidden = [net[1](part.flatten(1)).detach()[:, 0].double() for part in (x, background)]
    slope = (hidden[0].relu()[:, None] - hidden[1].relu()) / (hidden[0][:, None] - hidden[1])
    difference = (x[:, None] - background).double()
    weight = net[1].weight.detach().double().reshape(1, 1, 1, 8, 8) * net[3].weight[1].double()
    expected = (weight * slope[..., None, None, None] * difference).mean(1)
    close(DeepShap(net, background).explain(x, 1), expected)


def test_smoothgrad_is_the_weight_and_times_input_the_product(linear, x):
    close(SmoothGrad(linear).explain(x, TARGET), stacked(linear))
    close(SmoothGrad(linear, times_input=True).explain(x, TARGET), stacked(linear) * x)
    assert not SmoothGrad(linear).evidence
    assert SmoothGrad(linear, times_input=True).evidence


def test_smoothgrad_averages_the_gradient_over_the_noise():
    # logit 1 is sum(x^2): the gradient 2 (x + noise) has mean 2 x and the noise's spread.
    class Square(nn.Module):
        def forward(self, image):
            return torch.stack([-image.square().sum((1, 2, 3)), image.square().sum((1, 2, 3))], 1)

    x = images(2, 32)
    found = SmoothGrad(Square(), samples=200, noise=0.5).explain(x, 1)
    residue = found - 2 * x
    spread = 0.5 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
    close(residue.std((1, 2, 3)), 2 * spread / 200**0.5, 0.01)
    assert residue.mean().abs() < 0.01


def test_occlusion_is_the_mean_over_the_squares_that_cover_a_pixel(linear, x):
    found = Occlusion(linear, window=4, stride=2).explain(x, TARGET)
    loss = (stacked(linear) * x).double()
    total, count = torch.zeros_like(loss), torch.zeros(8, 8)
    for row in (0, 2, 4):
        for column in (0, 2, 4):
            square = (..., slice(row, row + 4), slice(column, column + 4))
            total[square] += loss[square].sum((2, 3), keepdim=True)
            count[square] += 1
    close(found, total / count)


def test_lime_finds_the_linear_coefficients(linear, x):
    found = Lime(linear, window=2, samples=400, ridge=1e-6).explain(x, TARGET)
    squares = nn.functional.avg_pool2d(stacked(linear) * x, 2, divisor_override=1)
    close(found, squares.repeat_interleave(2, 2).repeat_interleave(2, 3), 1e-3)


def test_grad_cam_by_hand():
    # Two maps with known weights; the logit is a linear function of them, so its gradient is that function.
    net, x = ConvNet(1, image_size=16), images(2, 16)
    randomise(net).eval()
    features = net.blocks(x).detach()
    gradient = net.linear.weight[1].detach().reshape(1, 8, 2, 2)
    weighted = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).relu()
    expected = nn.functional.interpolate(weighted, (16, 16), mode="bilinear", align_corners=False)
    close(GradCam(net).explain(x, 1), expected)
    close(GradCam(net, layer="blocks.3.2").explain(x, 1), expected)
    small = combine(features, gradient.expand_as(features))
    expected = nn.functional.interpolate(small, (16, 16), mode="bilinear", align_corners=False)
    close(GradCamPlusPlus(net).explain(x, 1), expected)


def test_grad_cam_plus_plus_weights_by_hand():
    features = torch.tensor([[[[1.0, 0.0], [0.0, 3.0]]]])
    gradient = torch.tensor([[[[1.0, -1.0], [0.0, 2.0]]]])
    # sum(A) = 4: alpha = 1/(2+4), _, _, 4/(8+32); weight = 1/6 + 2/10
    close(combine(features, gradient), features * (1 / 6 + 0.2))


def test_cycle_am_is_the_difference_and_benign_negates_it(x):
    expected = torch.zeros_like(x)
    x = 0.3 + 0.4 * x
    expected[..., 2:5, 2:5] = 0.4
    close(
        CycleAM(Brightener()).explain(x, TARGET), expected * torch.tensor([-1.0, 1, 1])[:, None, None, None]
    )
    assert not CycleAM.evidence


class Setter:
    """Generators that leave 0.3 for benign and 0.8 for malignant in a square, whatever stood there."""

    def generate(self, x):
        x_neg, x_pos = x.clone(), x.clone()
        x_neg[..., 2:5, 2:5], x_pos[..., 2:5, 2:5] = 0.3, 0.8
        return Changed(x_neg, x_pos)


def test_cycle_am_attribution_is_what_the_image_has_minus_what_it_lacks(linear, x):
    x = 0.3 + 0.4 * x
    method = CycleAMAttribution(linear, Setter())
    found = method.explain(x, TARGET)
    expected = torch.zeros_like(x)
    square = x[..., 2:5, 2:5]
    expected[..., 2:5, 2:5] = (square - 0.3) - (0.8 - square)
    expected *= stacked(linear) - stacked(linear, 1 - TARGET)
    close(found, expected)
    assert method.completeness(x, TARGET, found).max() < 1e-4


def test_cycle_am_attribution_speaks_for_the_generator_that_leaves_the_image_alone(linear):
    speaks = (linear.weights(1) - linear.weights(0))[..., 2:5, 2:5]
    x = torch.full((2, 1, 8, 8), 0.3)  # as G- leaves it; then as G+ does
    x[1, :, 2:5, 2:5] = 0.8
    benign, malignant = CycleAMAttribution(linear, Setter()).explain(x, 1)[..., 2:5, 2:5]
    close(malignant, 0.5 * speaks.reshape(malignant.shape))
    close(benign, -malignant)


def test_cycle_am_attribution_sums_to_its_promise_for_a_deep_network():
    net = randomise(ConvNet(4)).eval()
    x = 0.3 + 0.4 * images(2)
    method = CycleAMAttribution(net, Setter(), steps=256)
    found = method.explain(x, 1)
    odds = [net(image).detach().diff(dim=1)[:, 0] for image in (x, *Setter().generate(x))]
    close(found.sum((1, 2, 3)), 2 * odds[0] - odds[1] - odds[2], 1e-3)
    close(method.explain(x, 0), -found)


def test_cycle_am_attribution_integrates_as_captum_does():
    net, target = randomise(ConvNet(4)).eval(), torch.tensor([1, 0, 1])
    x = 0.3 + 0.4 * images(3)
    neg, pos = Setter().generate(x)
    path = captum.attr.IntegratedGradients(lambda image, aim: margin(net, image, aim))
    options = {"n_steps": 16, "additional_forward_args": (target,)}
    expected = path.attribute(x, neg, **options) - path.attribute(pos, x, **options)
    close(CycleAMAttribution(net, Setter(), steps=16).explain(x, target), expected.float())


def test_activation_maximisation_stops_where_the_pull_balances_the_logit(linear):
    # logit w x - l2 d^2 is largest at d = w / (2 l2), far from the limits of [0, 1].
    x = torch.full((2, 1, 8, 8), 0.5)
    method = ActivationMaximisation(linear, steps=200, lr=0.02, l2=2.0, tv=0.0)
    close(method.ascend(x, torch.tensor([0, 1])) - x, stacked(linear, [0, 1]) / 4, 1e-4)
    found = method.explain(x, TARGET[:2])
    close(found[1], linear.weights(1) / 4 - linear.weights(0) / 4, 1e-4)
    close(found[0], -found[1], 1e-4)


def test_activation_maximisation_steps_by_the_largest_gradient(linear):
    x = torch.full((1, 1, 8, 8), 0.5)
    weight = linear.weights(1)
    found = ActivationMaximisation(linear, steps=3, lr=0.02, l2=0.0, tv=0.0).ascend(x, torch.tensor([1]))
    close(found - x, 0.02 * (1 + 2 / 3 + 1 / 3) * weight[None] / weight.abs().max())


def test_activation_maximisation_stays_in_range_and_pulls(linear):
    x, target = images(1, 8), torch.tensor([1])

    def change(**pull):
        return (
            ActivationMaximisation(linear, steps=100, **{"l2": 0.0, "tv": 0.0, **pull}).ascend(x, target) - x
        )

    free = change()
    assert (x + free).min() >= 0
    assert (x + free).max() <= 1
    assert free.abs().max() > 0.5
    assert change(l1=float(linear.weights(1).abs().max()) * 1.01).abs().max() == 0  # no weight is worth it
    half = change(l1=float(linear.weights(1).abs().median()))
    assert 0.3 < half.ne(0).float().mean() < 0.6
    assert change(tv=0.5).diff(dim=-1).abs().mean() < 0.2 * free.diff(dim=-1).abs().mean()


def test_control_centre_is_a_gaussian_in_the_middle():
    found = ControlCentre(pixel_mm=0.5, sigma_mm=5.0).explain(images(2), 1)
    assert found.shape == (2, 1, 64, 64)
    assert found[0, 0, 32, 32] == 1
    close(found[1, 0, 32, 42], torch.tensor(np.exp(-0.5)))  # 10 pixels are one sigma


def test_control_edges_is_the_slope_of_a_ramp():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 10
    close(ControlEdges().explain(ramp, 1)[..., 1:-1, 1:-1], torch.full((1, 1, 6, 6), 0.1))


def test_control_random_is_normal_and_its_own_for_each_image_and_seed():
    found = ControlRandom(0).explain(images(2), 1)
    assert abs(float(found.mean())) < 0.05
    assert abs(float(found.std()) - 1) < 0.05
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(ControlRandom(1).explain(images(2), 1), found)


def test_infills():
    x = images(2, 16)
    assert infill("black", x).abs().max() == 0
    assert torch.equal(infill("background_mean", x, x)[1], x.mean(0))
    flat = torch.full_like(x, 0.3)
    close(infill("blur", flat), flat)
    assert infill("blur", x).std() < 0.1 * x.std()
