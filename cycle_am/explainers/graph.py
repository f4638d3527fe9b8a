"""A network as a list of elementary steps, whatever it is written in: modules, functions, TorchScript, torch.export.

The network is run once on an example and its operations are recorded (`make_fx`); methods that redistribute relevance
layer by layer walk that record, and methods that rely on hooks compare it with the modules that their hooks see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from cycle_am.explainers.base import Unsupported

SAME = {"dropout", "feature_dropout", "clone", "contiguous", "alias", "detach", "to", "_to_copy"}
RESHAPE = {"view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"}
ROUTE = {"max_pool2d", "constant_pad_nd", "pad", "reflection_pad2d", "replication_pad2d", "cat", "zeros_like"}
SUM = {"add", "mean", "avg_pool2d", "adaptive_avg_pool2d"}
KERNEL = {"conv2d", "_convolution", "convolution", "linear", "batch_norm"}
LINEAR = ((SAME | RESHAPE | ROUTE | SUM | KERNEL) - {"max_pool2d"}) | {
    *("sub", "rsub", "neg", "slice", "select", "permute", "transpose", "expand", "sum", "addmm", "t"),
    *("conv1d", "conv3d", "conv_transpose2d", "upsample_bilinear2d", "upsample_nearest2d", "stack"),
}
RECORDED = 2  # images while recording; with one alone `squeeze` would take the batch away
SCALED = {"mul", "div"}  # linear where they scale by something that does not depend on the image


@dataclass(frozen=True)
class Kernel:
    """A layer with weights: `apply(x, weight, bias)` is a convolution or a linear map. bias may be None."""

    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Step:
    """One step, `function(*inputs)`; `inputs` are numbers of earlier steps, 0 is the image.

    kind: `pass` (ReLU: relevance goes through unchanged), `route` (values are moved, not mixed), `sum` (a linear map
    with positive weights), `kernel` (a layer with weights, in `kernel`). first: the image reaches it unmixed.
    """

    kind: str
    inputs: tuple[int, ...]
    function: Callable[..., Tensor]
    kernel: Kernel | None = None
    first: bool = False


def record(method: str, classifier: nn.Module, image: Tensor) -> fx.GraphModule:
    """The operations of the classifier on an image (1, 1, H, W). Raises Unsupported where it cannot be recorded."""
    try:
        with torch.no_grad():
            return make_fx(classifier, pre_dispatch=True)(image[:1].expand(RECORDED, -1, -1, -1).contiguous())
    except Exception as error:  # whatever a user's network raises
        line = next(iter(str(error).splitlines()), "")
        raise Unsupported(method, f"its operations cannot be recorded ({line[:160]})") from error


def dependent(graph: fx.GraphModule) -> list[fx.Node]:
    """The operations whose tensor results depend on the image, in order."""
    nodes: dict[fx.Node, None] = {}
    for node in graph.graph.nodes:
        from_image = node.op == "placeholder" or any(source in nodes for source in node.all_input_nodes)
        if from_image and node.op != "output" and isinstance(node.meta.get("val"), Tensor):
            nodes[node] = None
    return list(nodes)


def operation(node: fx.Node) -> str:
    """Its name, the same in place and out of place: `aten::relu_` is `relu`."""
    name = node.target._schema.name if hasattr(node.target, "_schema") else str(node.target)
    return name.rpartition("::")[2].rstrip("_")


def nonlinear(graph: fx.GraphModule) -> list[str]:
    """Names of the operations that are not linear (or affine) in the image, in order."""
    nodes = dependent(graph)
    names = []
    for node in nodes[1:]:
        name = operation(node)
        scaling = name in SCALED and sum(source in nodes for source in node.all_input_nodes) == 1
        if not scaling and name not in LINEAR:
            names.append(name)
    return names


# ----------------------------------------------------------------------------------------------- the steps
def steps(method: str, classifier: nn.Module, image: Tensor) -> list[Step]:
    """The classifier as steps, batch normalisation merged into the layer before it; step 0 is the image.

    Also two linear layers without anything between them become one. Raises Unsupported for a step that no rule is
    defined for, and where the steps do not give the classifier's logits.
    """
    graph = record(method, classifier, image)
    program = _Steps(method, graph).steps
    with torch.no_grad():
        ours, theirs = run(program, image[:1])[-1], classifier(image[:1])
    if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3):
        raise Unsupported(method, "its recorded steps do not give its logits")
    return program


def run(program: Sequence[Step], image: Tensor) -> list[Tensor]:
    """The value of each step; the last one is the logits (N, 2)."""
    values = [image]
    for step in program[1:]:
        values.append(step.function(*(values[number] for number in step.inputs)))
    return values


class _Steps:
    """Turns a recorded graph into `steps`, node by node."""

    def __init__(self, method: str, graph: fx.GraphModule) -> None:
        self.method, self.graph = method, graph
        self.nodes = set(dependent(graph))
        self.number: dict[fx.Node, int] = {}
        self.steps: list[Step] = []
        for node in graph.graph.nodes:
            if node in self.nodes:
                self._add(node)
        result = graph.graph.output_node().args[0]
        self.steps = self.steps[: self.number[result] + 1]

    def _add(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.number[node] = self._append(Step("pass", (), lambda: None, first=True))
            return
        name, data = operation(node), [source for source in node.all_input_nodes if source in self.nodes]
        if name in KERNEL and len(data) == 1:
            self._add_kernel(node, name, data[0])
        elif name in SAME:
            self.number[node] = self.number[data[0]]
        elif name == "relu":
            self._append_for(node, "pass", data, functional.relu)
        elif name in RESHAPE:
            self._add_reshape(node, data[0])
        elif name in ROUTE or (name in SUM and (name != "add" or len(data) == 2)):
            self._append_for(node, "route" if name in ROUTE else "sum", data, self._call(node, data))
        else:
            raise Unsupported(self.method, f"no rule is defined for its step {name}")

    def _add_reshape(self, node: fx.Node, source: fx.Node) -> None:
        """Nothing, where it only undoes reshapes before it: what it is behind can then be merged with what follows."""
        shape = node.meta["val"].shape
        if shape[:1] != (RECORDED,):
            raise Unsupported(self.method, "a reshape of it mixes the images of a batch")
        while source.op == "call_function" and operation(source) in RESHAPE:
            source = next(before for before in source.all_input_nodes if before in self.nodes)
        if source.meta["val"].shape == shape:
            self.number[node] = self.number[source]
        else:
            self._append_for(node, "route", [source], partial(_reshape, shape=shape[1:]))

    def _users(self, number: int) -> int:
        """How many operations use the result of a step, under whichever name."""
        names = [node for node, index in self.number.items() if index == number]
        return sum(len(node.users) for node in names) - (len(names) - 1)

    def _append_for(self, node: fx.Node, kind: str, data: list[fx.Node], function: Callable, **more) -> None:
        inputs = tuple(self.number[source] for source in data)
        source = self.steps[inputs[0]]
        first = source.first and source.kernel is None and kind != "sum" and len(inputs) == 1
        self.number[node] = self._append(Step(kind, inputs, function, first=first, **more))

    def _append(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _value(self, argument: Any) -> Any:
        """A constant of the graph as it is."""
        if isinstance(argument, fx.Node):
            if argument.op != "get_attr":
                raise Unsupported(self.method, f"its weights are computed ({operation(argument)})")
            return getattr(self.graph, str(argument.target)).detach()
        return argument

    def _call(self, node: fx.Node, data: list[fx.Node]) -> Callable[..., Tensor]:
        """The node's operation as a function of its data alone."""

        def function(*inputs: Tensor) -> Tensor:
            values = dict(zip(data, inputs, strict=True))
            look_up = lambda source: values[source] if source in values else self._value(source)  # noqa: E731
            return target(*fx.map_arg(node.args, look_up), **fx.map_arg(node.kwargs, look_up))

        # Out of place: relevance needs the values as they were.
        target = getattr(torch.ops.aten, operation(node))
        return function

    def _add_kernel(self, node: fx.Node, name: str, source: fx.Node) -> None:
        arguments = [self._value(argument) for argument in node.args[1:]]
        before = self.steps[self.number[source]]
        alone = before.kernel is not None and self._users(self.number[source]) == 1
        if name == "batch_norm":
            if not alone:
                raise Unsupported(
                    self.method, "a BatchNorm of it does not follow a layer that it can be merged into"
                )
            self._replace(node, source, _normalised(before.kernel, *arguments))
        elif name == "linear" and alone and before.kernel.apply is functional.linear:
            self._replace(node, source, _merged(before.kernel, *arguments))
        else:
            apply = functional.linear if name == "linear" else self._convolution(name, arguments)
            kernel = Kernel(apply, arguments[0], arguments[1] if len(arguments) > 1 else None)
            self._append_for(node, "kernel", [source], _function(kernel), kernel=kernel)

    def _convolution(self, name: str, arguments: list[Any]) -> Callable:
        defaults = [1, 0, 1, 1]
        if name == "conv2d":
            options = arguments[2:] + defaults[len(arguments) - 2 :]
        else:
            stride, padding, dilation, transposed, _, groups = arguments[2:8]
            if transposed:
                raise Unsupported(self.method, "no rule is defined for its transposed convolution")
            options = [stride, padding, dilation, groups]
        stride, padding, dilation, groups = options
        return partial(functional.conv2d, stride=stride, padding=padding, dilation=dilation, groups=groups)

    def _replace(self, node: fx.Node, source: fx.Node, kernel: Kernel) -> None:
        number = self.number[node] = self.number[source]
        old = self.steps[number]
        self.steps[number] = Step("kernel", old.inputs, _function(kernel), kernel, old.first)


def _reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    return x.reshape(len(x), *shape)


def _function(kernel: Kernel) -> Callable[[Tensor], Tensor]:
    return lambda x: kernel.apply(x, kernel.weight, kernel.bias)


def _normalised(kernel: Kernel, weight, bias, mean, variance, _, __, epsilon, *___) -> Kernel:
    """The layer and the normalisation after it as one layer."""
    fuse = fuse_linear_bn_weights if kernel.apply is functional.linear else fuse_conv_bn_weights
    fused = fuse(kernel.weight, kernel.bias, mean, variance, epsilon, weight, bias)
    return Kernel(kernel.apply, *(part.detach() for part in fused))


def _merged(kernel: Kernel, weight: Tensor, bias: Tensor | None = None) -> Kernel:
    """Two linear layers as one: W2 (W1 x + b1) + b2."""
    parts = [
        part for part in (None if kernel.bias is None else weight @ kernel.bias, bias) if part is not None
    ]
    return Kernel(kernel.apply, weight @ kernel.weight, sum(parts) if parts else None)
