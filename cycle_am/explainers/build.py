"""Explainers by name: `conf/explainer/<id>.yaml` names a class and its settings, the context gives it the rest.

A new explainer is one file with a class and one yaml file. What it needs of the context it declares as arguments of
its constructor: `classifier`, `background`, `gan`, `pixel_mm`, `seed`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor, nn

from cycle_am import settings
from cycle_am.arguments import check_arguments, locate
from cycle_am.errors import UserError
from cycle_am.explainers.base import Explainer

CONF = settings.folder("explainer")


@dataclass(frozen=True)
class Context:
    """What there is to explain, and to explain with.

    Attributes:
        classifier: images (N, 1, H, W) in [0, 1] -> logits (N, 2).
        background: (M, 1, H, W) training images in [0, 1], where there are.
        gan: has `generate(x) -> Changed`, where one was trained for this classifier.
        pixel_mm: side of a pixel.
        seed: of every random number of the explainers.
    """

    classifier: nn.Module
    background: Tensor | None = None
    gan: Any = None
    pixel_mm: float = 45 / 64
    seed: int = 0


def available() -> list[str]:
    """Ids of all explainers, sorted."""
    return sorted(path.stem for path in CONF.glob("*.yaml"))


def build(id: str, context: Context, overrides: Mapping[str, Any] | None = None) -> Explainer:
    """The explainer `id`, its settings replaced by `overrides` where given.

    Raises UserError for an unknown id, a setting that it does not have, or something missing that it needs.
    """
    node = _settings(id, overrides or {})
    target = locate(id, node.pop("_target_"))
    return target(**node, **_needed(id, target, context))


def _settings(id: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The file's settings and `_target_`, replaced by `overrides` where given."""
    if id not in available():
        raise UserError(f"there is no explainer '{id}'; there are {', '.join(available())}")
    merged = OmegaConf.merge(OmegaConf.load(CONF / f"{id}.yaml"), OmegaConf.create(dict(overrides)))
    node = OmegaConf.to_container(merged, resolve=True)  # PyYAML alone takes 1e-3 for a text
    check_arguments(id, node)
    return node


def _needed(id: str, target: type, context: Context) -> dict[str, Any]:
    """The parts of the context that the constructor asks for."""
    wanted = inspect.signature(target).parameters
    parts = {field.name: getattr(context, field.name) for field in fields(context) if field.name in wanted}
    if parts.get("gan", ...) is None:
        raise UserError(
            f"{id} needs generators trained for this classifier; train them with "
            "`python train.py experiment=cycle_am` and the same data"
        )
    return parts
