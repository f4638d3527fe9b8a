"""Bring your own classifier: a network of the user's, loaded, checked and put into the form of this project's."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from cycle_am.errors import UserError
from cycle_am.model.adapter import adapted
from cycle_am.model.logits import no_logits
from cycle_am.runs.checkpoints import read_checkpoint
from cycle_am.task import CT, Task

LARGEST = 64  # images of the largest batch that is tried
EXPECTED = "finite logits, (N, 2) for {} and {}, or (N, 1) or (N,) for {}"


class Logits(nn.Module):
    """A network behind two logits, held in evaluation mode; hooks see its modules as they are.

    `single`: the network gives one logit z of the second class, (N, 1) or (N,). It becomes [-z/2, z/2], whose softmax
    is sigmoid(z) and whose first logit can be explained too. Two logits pass untouched. A network that squeezes leaves
    out the axis of a single image; here it is put back.
    """

    def __init__(self, net: nn.Module, single: bool) -> None:
        super().__init__()
        self.net = net
        self.single = single
        self.training = False

    def forward(self, image: Tensor) -> Tensor:
        """image (N,C,H,W) in [0,1] -> logits (N,2)."""
        logits = self.net(image)
        if self.single:
            return linear(logits.reshape(-1, 1), logits.new_tensor([[-0.5], [0.5]]))
        return logits if logits.ndim > 1 else logits[None]

    def train(self, mode: bool = True) -> Logits:
        """Nothing: it was loaded in evaluation mode and stays there (`torch.export` programs have no `train`)."""
        return self


class Custom(nn.Module):
    """A user's network in the form of a ClassifierModule: `net` gives the two logits; `name` is for people."""

    foreign = True  # which patients it was trained on is not known here

    def __init__(self, net: Logits, name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name

    def forward(self, image: Tensor) -> Tensor:
        """image (N,C,H,W) in [0,1] -> logits (N,2)."""
        return self.net(image).float()

    def probability(self, image: Tensor) -> Tensor:
        """image (N,C,H,W) in [0,1] -> p of the second class (N,)."""
        return self(image).softmax(dim=1)[:, 1]


def load_custom(
    target: str | None,
    weights: str | None,
    task: Task = CT,
    arguments: Mapping[str, Any] | None = None,
    input: Mapping[str, Any] | None = None,
    outputs: Sequence[int] | None = None,
) -> Custom:
    """What `target(**arguments)` builds, filled with the state dict `weights`; without a target, the program `weights`.

    task: whose images and classes it is tried with. input, outputs: what lies between them and the network's own, as
    `adapter.adapted` takes it.
    Raises UserError, one line, where there is nothing to load or it does not do what a classifier must do here.
    """
    if not target and not weights:
        raise UserError(
            "classifier=custom needs classifier.target=PACKAGE.MODULE.FUNCTION, classifier.weights=FILE, or both"
        )
    path = Path(str(weights)) if weights else None
    if path and not path.is_file():
        raise UserError(f"classifier.weights: {path} does not exist; give the path of a file")
    if arguments and not target:
        raise UserError("classifier.arguments are the target's; give classifier.target, or leave them out")
    net = _build(str(target), path, arguments or {}) if target else _load_program(path)
    name = " with ".join(str(part) for part in (target, path) if part)
    return _checked(adapted(net, input, outputs), name, task)


def wrap(net: nn.Module, name: str = "your network", task: Task = CT) -> Custom:
    """A copy of a network that is at hand, in evaluation mode on the CPU. Raises UserError as `load_custom`."""
    if not isinstance(net, nn.Module):
        raise UserError(f"the classifier is {type(net).__name__}; give a torch.nn.Module")
    return _checked(deepcopy(net).cpu().float().eval(), name, task)


def _checked(net: nn.Module, name: str, task: Task) -> Custom:
    return Custom(Logits(net, single=_is_single(net, task)), name)


def _build(target: str, path: Path | None, arguments: Mapping[str, Any]) -> nn.Module:
    """The network of the user's own code, in evaluation mode."""
    if path and _program(path):
        raise UserError(f"classifier.weights: {path} is a whole program; leave classifier.target out")
    try:
        module, _, name = target.rpartition(".")
        build = getattr(import_module(module), name)
    except Exception as error:
        raise UserError(
            f"classifier.target={target} cannot be imported ({_line(error)}); check the name and PYTHONPATH"
        ) from error
    try:
        net = build(**arguments)
    except Exception as error:
        called = f"with {dict(arguments)}" if arguments else "without arguments (classifier.arguments)"
        raise UserError(
            f"classifier.target: {target}() fails ({_line(error)}); it is called {called}"
        ) from error
    if not isinstance(net, nn.Module):
        raise UserError(
            f"classifier.target: {target}() gives {type(net).__name__}; it must return a torch.nn.Module"
        )
    if path:
        _fill(net, path)
    return net.eval()


def _fill(net: nn.Module, path: Path) -> None:
    """Load a state dict, wherever in the file it lies (under `state_dict`, `model`, ...), its names with or without a
    prefix.

    Read with `weights_only=True`: such a file is data and runs nothing.
    """
    try:
        state = read_checkpoint(path)
    except UserError as error:
        raise UserError(
            f"classifier.weights: {path} is broken or holds more than tensors; save net.state_dict()"
        ) from error
    if not isinstance(state, Mapping):
        raise UserError(f"classifier.weights: {path} holds {type(state).__name__}; save net.state_dict()")
    fitting = _own_part(_flat(state), list(net.state_dict()), path)
    try:
        missing, unexpected = net.load_state_dict(fitting, strict=False)
    except Exception as error:
        raise UserError(
            f"classifier.weights: {path} does not fit ({_line(error, 1)}); give the target it was saved from"
        ) from error
    for kind, keys in (("lacks", missing), ("has in excess", unexpected)):
        if keys:
            held = f" (it holds {_contents(state)})" if kind == "lacks" else ""
            raise UserError(
                f"classifier.weights: {path} {kind} the key {keys[0]}{held}; give the target it was saved from"
            )


def _flat(state: Mapping[Any, Any], place: str = "") -> dict[str, Any]:
    """All values of a file, however deep: their names joined by dots, as a network's own names are."""
    tensors: dict[str, Any] = {}
    for key, value in state.items():
        inner = isinstance(value, Mapping)
        tensors |= _flat(value, f"{place}{key}.") if inner else {f"{place}{key}": value}
    return tensors


def _own_part(state: Mapping[str, Any], own: list[str], path: Path) -> dict[str, Any]:
    """The part of `state` that has the network's keys behind a prefix (`net.`, `model_state_dict.module.`, none, ...),
    without it; all of `state` where they stand nowhere. Raises UserError where several prefixes fit.
    """
    prefixes = [key.removesuffix(own[0]) for key in state if own and f".{key}".endswith("." + own[0])]
    fitting = [prefix for prefix in prefixes if all(prefix + key in state for key in own)]
    if len(fitting) > 1:
        names = ", ".join(prefix.rstrip(".") or "at its top" for prefix in fitting)
        raise UserError(
            f"classifier.weights: {path} holds the network {len(fitting)} times ({names}); save one alone"
        )
    prefix = (fitting or prefixes or [""])[0]
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _contents(state: Mapping[Any, Any], most: int = 6) -> str:
    """What a file holds, for people: its first names, and the first name within each."""
    names = [
        f"{key} with {next(iter(_flat(value)), 'nothing')}" if isinstance(value, Mapping) else str(key)
        for key, value in state.items()
    ]
    return (
        ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "nothing"
    )


def _load_program(path: Path) -> nn.Module:
    """A TorchScript file or a `torch.export` program, in evaluation mode on the CPU.

    Both are programs, and loading or calling one runs what it says: TorchScript within its own operators (which can
    write files); of a `torch.export` program torch evaluates expressions and guards as Python. Pickles in it
    may hold tensors only.
    """
    load = _program(path)
    if load is None:
        raise UserError(
            f"classifier.weights: {path} is neither TorchScript nor a torch.export program; "
            "weights alone need classifier.target"
        )
    try:
        return load(path)
    except UserError as error:
        raise UserError(f"classifier.weights: {path} cannot be used: {error}") from error
    except Exception as error:
        raise UserError(
            f"classifier.weights: {path} cannot be loaded ({_line(error)}); save it again with this torch"
        ) from error


def _program(path: Path) -> Callable[[Path], nn.Module] | None:
    """What loads the program in a file, by its content; None where it holds none."""
    names = _records(path)
    if any("/code/" in name for name in names):
        return _load_torchscript
    if any(name.endswith(("models/model.json", "serialized_exported_program.json")) for name in names):
        return _load_exported
    return None


def _records(path: Path) -> list[str]:
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def _load_torchscript(path: Path) -> nn.Module:
    net = torch.jit.load(str(path), map_location="cpu").eval()
    if not net.state_dict():  # its weights are constants, which stay on the CPU and in no checkpoint
        raise UserError("it is frozen; save it as it was before torch.jit.freeze")
    return net


def _load_exported(path: Path) -> nn.Module:
    if any(name.rpartition("/")[2].startswith(("opaque_obj", "custom_obj")) for name in _records(path)):
        raise UserError("it holds pickled objects; export the network alone")
    with patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):  # torch itself would unpickle anything
        return torch.export.load(str(path)).module()


def _is_single(net: nn.Module, task: Task) -> bool:
    """Whether the network gives one logit instead of two.

    Raises UserError where it does not take images as the data gives them, in batches of any size, gives no finite
    logits or probabilities in their place, lets an image's neighbours or chance decide, or passes no gradient.
    """
    image = torch.linspace(0, 1, 2 * math.prod(task.shape)).view(2, *task.shape).requires_grad_()
    expected = EXPECTED.format(*task.classes, task.classes[1])
    logits = _call(net, image)
    _check_shape(logits, expected)
    logits = logits.reshape(2, -1)
    with torch.no_grad():
        for count in (1, LARGEST):
            images = image[:1] if count == 1 else image.repeat(count // 2, 1, 1, 1)
            if not _same(_call(net, images), logits[:count], count):
                raise UserError(
                    f"the classifier answers otherwise in a batch of {count}; save it in evaluation mode (net.eval())"
                )
        came, mend = no_logits(
            lambda images: net(images).reshape(len(images), -1).float(), task.channels, task.size
        )
    if came:
        raise UserError(f"the classifier gives {came}; expected {expected}: {mend}")
    try:
        torch.autograd.grad(logits.sum(), image)
    except RuntimeError as error:
        raise UserError(
            f"no gradient passes through the classifier ({_line(error)}); generators cannot learn from it"
        ) from error
    return logits.shape[1] == 1


def _same(answer: Any, before: Tensor, count: int) -> bool:
    """Whether the answer to `count` images begins as the one `before`, (1 or 2, K), to the same images."""
    if not isinstance(answer, Tensor) or answer.numel() != count * before.shape[1]:
        return False
    return torch.allclose(answer.reshape(count, -1)[: len(before)], before, rtol=1e-3, atol=1e-3)


def _call(net: nn.Module, image: Tensor) -> Any:
    """The network's answer. Raises UserError where images of this number or shape make it fail."""
    try:
        return net(image)
    except Exception as error:
        fixed = any(text in str(error) for text in ("size()[0]", "shape[0]"))  # torch.export's words
        advice = (
            "export it with a dynamic batch size (torch.export.Dim)"
            if fixed
            else "that is what the data gives"
        )
        raise UserError(
            f"the classifier fails on images {tuple(image.shape)}, float32 in [0, 1] ({_line(error)}); {advice}"
        ) from error


def _check_shape(logits: Any, expected: str) -> None:
    """Raise UserError, saying what came out and what is expected, unless these may be logits of two images."""
    if not isinstance(logits, Tensor):
        came = type(logits).__name__
    elif tuple(logits.shape) not in ((2, 2), (2, 1), (2,)) or not logits.is_floating_point():
        came = f"{tuple(logits.shape)} {str(logits.dtype).removeprefix('torch.')} for two images"
    elif not logits.isfinite().all():
        came = "values that are not finite"
    else:
        return
    many = isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[1] > 2
    choose = "; of more logits choose the two: classifier.outputs=[FIRST,SECOND]" if many else ""
    raise UserError(f"the classifier gives {came}; expected {expected}{choose}")


def _line(error: Exception, number: int = 0) -> str:
    """One line of an error, cut; where it has several, the one with `number`."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[min(number, len(lines) - 1)][:160]}"
