"""Models by name or path: shipped with the package, or packed into a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cycle_am.errors import UserError
from cycle_am.model import file as model_file
from cycle_am.model.model import KINDS, NETWORKS, Model
from cycle_am.model.trust import Assessor
from cycle_am.task import Task

RANDOM = (Tensor.normal_, Tensor.uniform_)
SHIPPED = Path(__file__).resolve().parents[1] / "shipped"


def models() -> dict[str, Path]:
    """The models that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob(f"*{model_file.SUFFIX}"))}


def load(source: str | Path, classifier: nn.Module | None = None) -> Model:
    """A shipped name, or a model file; a run's folder too is taken by `cycle_am.load`.

    classifier: the user's own network, where the file says that it explains one that it could not hold.
    Raises UserError, one line, where there is no such model or it does not fit.
    """
    path = models().get(str(source), Path(source))
    if not path.is_file() and path.suffix != model_file.SUFFIX:
        raise UserError(
            f"there is no model {source}; shipped: {', '.join(models()) or 'none'}; or give a file or a run"
        )
    return assemble(model_file.read(path), model_file.digest(path), classifier)


def assemble(content: model_file.Content, digest: str, classifier: nn.Module | None = None) -> Model:
    """The model that a file's content describes. Raises UserError where its parts do not fit together."""
    facts = content.facts
    described = facts.get("networks")
    if not isinstance(described, Mapping) or set(described) != set(NETWORKS):
        raise UserError("the model file names other networks than a model has; pack it again")
    task = Task.of(facts.get("task", {}))
    networks = {
        name: _network(
            name, described[name], content.weights, task, classifier if name == "classifier" else None
        )
        for name in NETWORKS
    }
    assessor = Assessor.of(facts["trust"], content.features, task.is_nodule) if facts.get("trust") else None
    return Model(networks, task, assessor, facts, digest, content.card)


class Unfilled(TorchFunctionMode):
    """Leaves out random first weights, which the file's replace: on tensors without memory they cost a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in RANDOM else func(*args, **(kwargs or {}))


def _network(
    name: str, described: Mapping[str, Any], weights: Mapping[str, Tensor], task: Task, own: nn.Module | None
) -> nn.Module:
    """Built without memory of its own, then given the file's tensors: a file cannot ask for more than it holds."""
    if described.get("kind") == "external":
        if own is None:
            raise UserError(
                "this model explains a network of its owner, which no file can hold; give load(..., classifier=)"
            )
        from cycle_am.model.custom import wrap

        network = wrap(own, task=task).net
        if described.get("digest") != model_file.state_digest(network):
            raise UserError(
                "the network given is another classifier than this model explains; give the one it was trained for, "
                "with its weights"
            )
        return network
    if described.get("kind") not in KINDS:
        raise UserError(
            f"the model file's {name} is a {described.get('kind')}, which this version does not know"
        )
    state = {
        key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")
    }
    if not all(math.isfinite(float(value.sum())) for value in state.values() if value.is_floating_point()):
        raise UserError(f"the model file's {name} holds values that are not finite; pack it again")
    try:
        with torch.device("meta"), Unfilled():
            network = KINDS[described["kind"]](**described["arguments"])
        network.load_state_dict(state, assign=True)
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"the model file's {name} does not fit its description ({reason}); pack it again"
        ) from error
    return network
