"""Relevance, layer by layer from a logit to the image: the walk and the rules of LRP and deep Taylor.

Every rule hands the relevance R_j of a layer's output to its inputs in proportion to their contributions,
R_i = sum_j z_ij / (sum_i z_ij + offset_j) R_j. The rules differ in what z_ij is:

| rule | z_ij | offset_j | source |
|---|---|---|---|
| epsilon | x_i w_ij | b_j + epsilon sign(z_j + b_j) | Bach et al. 2015, eq. 58 |
| alpha1beta0 | (x_i w_ij)+ | b_j+ | Bach et al. 2015, eq. 60 |
| z-plus | (x_i w_ij)+ | 0 | Montavon et al. 2017 |
| flat | 1 | 0 | Lapuschkin et al. 2017 |
| z-box | x_i w_ij - l w_ij+ - h w_ij- | 0 | Montavon et al. 2017, for inputs in [l, h] |

Each z is a sum of terms f(x) linear in x, so that one gradient gives all contributions: x * df/dx(R / z). A layer whose
z is 0 passes nothing on. ReLU passes relevance unchanged, max-pooling to the winners, reshaping moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cycle_am.explainers.graph import Kernel, Step

Term = tuple[Callable[[Tensor], Tensor], Tensor]  # f, linear without a constant, and its x
Rule = Callable[
    [Step, Tensor, Tensor], Tensor
]  # layer with weights, its input, R of its output -> R of its input


def propagate(
    steps: Sequence[Step], values: Sequence[Tensor], relevance: Tensor, rule: Rule, positive: bool
) -> Tensor:
    """Relevance of the image (N, 1, H, W), from that of the logits (N, 2).

    values: of every step (`graph.run`). positive: additions and mean pooling count positive parts only (z-plus; their
    weights are positive), else all (z).
    """
    waiting = {len(steps) - 1: relevance}
    for number in range(len(steps) - 1, 0, -1):
        if number not in waiting:
            continue
        step, arriving = steps[number], waiting.pop(number)
        inputs = [values[source] for source in step.inputs]
        for source, part in zip(step.inputs, _back(step, inputs, arriving, rule, positive), strict=True):
            waiting[source] = waiting[source] + part if source in waiting else part
    return waiting[0]


def _back(step: Step, inputs: list[Tensor], relevance: Tensor, rule: Rule, positive: bool) -> list[Tensor]:
    if step.kind == "kernel":
        return [rule(step, inputs[0], relevance)]
    if step.kind == "pass":
        return [relevance]
    leaves = [(x.clamp_min(0) if positive and step.kind == "sum" else x).detach() for x in inputs]
    leaves = [x.requires_grad_() for x in leaves]
    with torch.enable_grad():
        result = step.function(*leaves)
    if not result.requires_grad:  # a constant, such as the zeros beside a single logit
        return [torch.zeros_like(x) for x in inputs]
    arriving = divided(relevance, result.detach()) if step.kind == "sum" else relevance
    gradients = torch.autograd.grad(result, leaves, arriving, allow_unused=True, materialize_grads=True)
    scaled = zip(leaves, gradients, strict=True)
    return [(x * g).detach() for x, g in scaled] if step.kind == "sum" else list(gradients)


# ------------------------------------------------------------------------------------------------ the rules
def epsilon_rule(kernel: Kernel, x: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
    """Signed contributions; the bias and epsilon take their share and keep it. epsilon 0: LRP-z."""

    def stabilised(z: Tensor) -> Tensor:
        z = z if kernel.bias is None else z + _broadcast(kernel.bias, z)
        return z + torch.where(z >= 0, epsilon, -epsilon)

    return share([(_map(kernel, kernel.weight), x)], relevance, stabilised)


def plus_rule(kernel: Kernel, x: Tensor, relevance: Tensor, with_bias: bool) -> Tensor:
    """Positive contributions only: z-plus, or alpha1beta0 where the bias's positive part counts."""
    terms = [(_map(kernel, kernel.weight.clamp_min(0)), x.clamp_min(0))]
    if (x < 0).any():
        terms.append((_map(kernel, kernel.weight.clamp_max(0)), x.clamp_max(0)))
    offset = kernel.bias.clamp_min(0) if with_bias and kernel.bias is not None else None
    return share(terms, relevance, lambda z: z if offset is None else z + _broadcast(offset, z))


def flat_rule(kernel: Kernel, x: Tensor, relevance: Tensor) -> Tensor:
    """The same to every input."""
    return share([(_map(kernel, torch.ones_like(kernel.weight)), torch.ones_like(x))], relevance)


def box_rule(kernel: Kernel, x: Tensor, relevance: Tensor, low: float, high: float) -> Tensor:
    """For inputs that lie in [low, high]."""
    below, above = torch.full_like(x, low), torch.full_like(x, high)
    terms = [
        (_map(kernel, kernel.weight), x),
        (_map(kernel, -kernel.weight.clamp_min(0)), below),
        (_map(kernel, -kernel.weight.clamp_max(0)), above),
    ]
    return share(terms, relevance)


def share(
    terms: Sequence[Term], relevance: Tensor, denominator: Callable[[Tensor], Tensor] = lambda z: z
) -> Tensor:
    """sum_k x_k * df_k/dx_k(R / denominator(z)), z = sum_k f_k(x_k). All x have one shape."""
    leaves = [x.detach().requires_grad_() for _, x in terms]
    with torch.enable_grad():
        z = sum(f(x) for (f, _), x in zip(terms, leaves, strict=True))
    quotient = divided(relevance, denominator(z.detach()))
    gradients = torch.autograd.grad(z, leaves, quotient)
    return sum(x.detach() * gradient for x, gradient in zip(leaves, gradients, strict=True))


def divided(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0."""
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def _map(kernel: Kernel, weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: kernel.apply(x, weight, None)


def _broadcast(bias: Tensor, z: Tensor) -> Tensor:
    return bias.reshape(1, -1, *[1] * (z.ndim - 2))
