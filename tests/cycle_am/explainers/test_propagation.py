"""LRP and deep Taylor against their rules in matrix form, and the record of a network against the network."""

import numpy as np
import pytest
import torch
from torch import nn

from cycle_am.explainers import graph
from cycle_am.explainers.base import Unsupported
from cycle_am.explainers.deep_taylor import DeepTaylor
from cycle_am.explainers.graph import nonlinear, record
from cycle_am.explainers.lrp import LRP
from cycle_am.networks import ConvNet
from tests.cycle_am.explainers.fakes import Linear, Residual, images, randomise


def matrices(net: nn.Sequential, x: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """(W, b) of every convolution and linear layer, each as one dense matrix on the flattened input, in float64.

    The columns are what a layer makes of unit vectors, so nothing of the code under test is used.
    """
    found, shape = [], x.shape[1:]
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            unit = torch.eye(shape.numel()).reshape(-1, *shape)
            with torch.no_grad():
                offset = layer(torch.zeros(1, *shape)).flatten().double().numpy()
                columns = layer(unit).flatten(1).double().numpy()
            found.append(((columns - offset).T, offset))
        shape = layer(torch.zeros(1, *shape)).shape[1:]
    return found


def activations(layers, x: np.ndarray) -> list[np.ndarray]:
    """Input of every layer, and last the logits."""
    values = [x]
    for number, (weight, bias) in enumerate(layers, 1):
        z = weight @ values[-1] + bias
        values.append(z if number == len(layers) else np.maximum(z, 0))
    return values


def share(parts: np.ndarray, denominator: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """R_i = sum_j z_ij / denominator_j R_j, for z (J, I)."""
    quotient = np.divide(relevance, denominator, out=np.zeros_like(relevance), where=denominator != 0)
    return quotient @ parts


def positive(a):
    return np.maximum(a, 0)


@pytest.fixture
def net() -> nn.Sequential:
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, 2, padding=1), nn.ReLU()]
    return randomise(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 2)))


@pytest.fixture
def x() -> torch.Tensor:
    return images(3, 8)


def walk(net, x, target, rule) -> torch.Tensor:
    """The map by `rule(number of layer, W, b, input, R)`, in numpy."""
    layers = matrices(net, x)
    maps = []
    for case in x:
        values = activations(layers, case.flatten().double().numpy())
        relevance = np.eye(2)[target] * values[-1]
        for number in range(len(layers) - 1, -1, -1):
            relevance = rule(number, *layers[number], values[number], relevance)
        maps.append(relevance.reshape(1, *x.shape[-2:]))
    return torch.from_numpy(np.stack(maps)).float()


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_lrp_epsilon_in_matrix_form(net, x, epsilon):
    def rule(_, weight, bias, value, relevance):
        z = weight @ value + bias
        return share(weight * value, z + epsilon * np.where(z >= 0, 1, -1), relevance)

    found = LRP(net, "epsilon", epsilon).explain(x, 1)
    torch.testing.assert_close(found, walk(net, x, 1, rule), rtol=1e-3, atol=1e-5)


def test_lrp_preset_a_flat_in_matrix_form(net, x):
    def rule(number, weight, bias, value, relevance):
        if number == 0:  # flat
            reached = (weight != 0).astype(float)
            return share(reached, reached.sum(1), relevance)
        if number == 1:  # alpha1beta0
            parts = positive(weight * value)
            return share(parts, parts.sum(1) + positive(bias), relevance)
        z = weight @ value + bias
        return share(weight * value, z + 0.1 * np.where(z >= 0, 1, -1), relevance)

    torch.testing.assert_close(LRP(net).explain(x, 0), walk(net, x, 0, rule), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.5, 2.0)])
def test_deep_taylor_in_matrix_form(net, x, low, high):
    net[-1].bias.data = torch.tensor([1.0, 1.0])  # positive logits

    def rule(number, weight, bias, value, relevance):
        parts = positive(weight * value)
        if number == 0:
            parts = weight * value - low * positive(weight) + high * positive(-weight)
        return share(parts, parts.sum(1), relevance)

    found = DeepTaylor(net, low, high).explain(x, 1)
    torch.testing.assert_close(found, walk(net, x, 1, rule), rtol=1e-3, atol=1e-6)
    assert found.min() >= 0


def test_lrp_z_is_weight_times_input_without_bias_and_lrp_flat_is_flat():
    net, x = Linear(8), images(3, 8)
    torch.testing.assert_close(
        LRP(net, "epsilon", 0.0).explain(x, 1), net.weights(1) * x, rtol=1e-4, atol=1e-6
    )
    logit = net(x).detach()[:, 1].reshape(3, 1, 1, 1)
    torch.testing.assert_close(LRP(net).explain(x, 1), (logit / 64).expand_as(x))


def test_lrp_z_is_gradient_times_input_in_a_relu_network(net, x):
    randomise(net, bias=False)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[:, 1].sum(), x)
    torch.testing.assert_close(
        LRP(net, "epsilon", 0.0).explain(x, 1), (gradient * x).detach(), rtol=1e-3, atol=1e-6
    )


def test_deep_taylor_of_one_layer_is_the_z_box_share():
    net, x = Linear(8), images(3, 8)
    found = DeepTaylor(net).explain(x, 0)
    weight = net.weights(0)
    parts = weight * x - weight.clamp_max(0)
    logit = net(x).detach()[:, 0].clamp_min(0).reshape(3, 1, 1, 1)
    torch.testing.assert_close(found, parts / parts.sum((1, 2, 3), keepdim=True) * logit)


def test_deep_taylor_of_a_logit_that_is_not_positive_is_zero():
    net, x = Linear(8, bias=True), images(2, 8)
    net[1].bias.data = torch.tensor([-50.0, 50.0])
    found = DeepTaylor(net).explain(x, torch.tensor([0, 1]))
    assert found[0].abs().max() == 0
    assert found[1].sum() > 0
    assert DeepTaylor(net).completeness(x, torch.tensor([0, 1]), found).max() < 1e-5


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(
    "make", [lambda net: LRP(net, "epsilon", 0.0), lambda net: LRP(net, epsilon=0.0), DeepTaylor]
)
def test_relevance_is_conserved_without_biases(make, target):
    net = randomise(ConvNet(4), bias=False).eval()
    method, x = make(net), images(3)
    error = method.completeness(x, target, method.explain(x, target))
    assert error.max() < 1e-3


def test_biases_absorb_relevance_and_that_is_measured():
    net, x = randomise(ConvNet(4)).eval(), images(3)
    relevance = LRP(net).explain(x, 1)
    logit = net(x).detach()[:, 1].double()
    expected = (relevance.double().sum((1, 2, 3)) - logit).abs() / logit.abs().clamp_min(0.01)
    torch.testing.assert_close(LRP(net).completeness(x, 1, relevance), expected)
    assert expected.min() > 0.01


@pytest.mark.parametrize("make", [lambda: randomise(ConvNet(4)).eval(), Residual])
@pytest.mark.parametrize("form", ["module", "traced", "scripted", "exported"])
def test_steps_give_the_logits_whatever_the_network_is_written_in(make, form):
    net, x = make(), images(3)
    if form == "traced":
        net = torch.jit.trace(net, x)
    elif form == "scripted":
        net = torch.jit.script(net)
    elif form == "exported":
        net = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    steps = graph.steps("lrp", net, x)
    with torch.no_grad():
        torch.testing.assert_close(graph.run(steps, x)[-1], net(x), rtol=1e-4, atol=1e-5)
    kernels = [step for step in steps if step.kind == "kernel"]
    assert [step.first for step in kernels] == [True] + [False] * (len(kernels) - 1)
    assert len(kernels) == len(
        [part for part in make().modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    )


def test_deep_taylor_is_conserved_in_a_residual_network():
    net, x = Residual(), images(3)
    net.head.bias.data = torch.tensor([2.0, 2.0])
    method = DeepTaylor(net)
    found = method.explain(x, 1)
    assert found.min() >= 0
    assert method.completeness(x, 1, found).max() < 1e-4


@pytest.mark.parametrize("between", [[], [nn.Dropout()], [nn.Flatten(0), nn.Unflatten(0, (-1, 1))]])
def test_two_linear_layers_in_a_row_are_one(between):
    # As behind a network with one logit z that becomes (-z/2, z/2): the evidence for benign is what lowers z.
    first, second = nn.Linear(64, 1), nn.Linear(1, 2, bias=False)
    net, x = randomise(nn.Sequential(nn.Flatten(), first, *between, second)), images(2, 8)
    second.weight.data = torch.tensor([[-0.5], [0.5]])
    direct = Linear(8, bias=True)
    direct[1].weight.data = second.weight.data @ first.weight.data
    direct[1].bias.data = second.weight.data @ first.bias.data
    for target in (0, 1):
        found = DeepTaylor(net).explain(x, target)
        torch.testing.assert_close(found, DeepTaylor(direct).explain(x, target))


def test_a_single_logit_beside_a_zero():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = randomise(nn.Linear(64, 1))

        def forward(self, image):
            z = self.net(image.flatten(1))
            return torch.cat([torch.zeros_like(z), z], dim=1)

    net, x = Beside(), images(2, 8)
    weight = net.net.weight.detach().reshape(1, 8, 8)
    z = net(x).detach()[:, 1].reshape(2, 1, 1, 1)
    share = z / (z + 0.1 * z.sign())
    torch.testing.assert_close(LRP(net, "epsilon").explain(x, 1), weight * x * share, rtol=1e-4, atol=1e-6)
    assert LRP(net, "epsilon").explain(x, 0).abs().max() == 0


@pytest.mark.parametrize(
    ("layers", "word"),
    [
        ([nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(72, 2)], "silu"),
        ([nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 2)], "BatchNorm"),
        ([nn.Flatten(0), nn.Unflatten(0, (-1, 64)), nn.Linear(64, 2)], "mixes the images"),
        ([nn.ConvTranspose2d(1, 1, 1), nn.Flatten(), nn.Linear(64, 2)], "conv_transpose2d"),
    ],
)
@pytest.mark.parametrize("method", [LRP, DeepTaylor])
def test_a_step_without_a_rule_is_refused_by_name(layers, word, method):
    with pytest.raises(Unsupported, match=rf"(lrp|deep_taylor) cannot explain this classifier.*{word}"):
        method(nn.Sequential(*layers).eval()).explain(images(1, 8), 1)


def test_what_is_nonlinear():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    assert nonlinear(record("x", net.eval(), images(1, 8))) == ["relu", "max_pool2d"]

    class Gate(nn.Module):
        def forward(self, image):
            return (image * 2 - 0.5) * image.sigmoid()

    assert nonlinear(record("x", Gate(), images(1, 8))) == ["sigmoid", "mul"]
