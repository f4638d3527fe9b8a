"""Whether settings suit what they are for: a `_target_` by its dotted name, and the arguments beside it."""

from __future__ import annotations

import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cycle_am.errors import UserError

SKIPPED = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}
SCALARS = (bool, int, float, str)


def check_arguments(path: str, node: Mapping[str, Any]) -> None:
    """Raise UserError for the first value of `node` that its `_target_` does not take; `path`, its name in words."""
    target = locate(path, node["_target_"])
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    hints = _hints(target)
    for key, value in node.items():
        if key in SKIPPED or (isinstance(value, Mapping) and "_target_" in value):
            continue
        if key not in parameters and not open_ended:
            raise UserError(
                f"{path}.{key}: {node['_target_']} has no argument '{key}'; it takes {', '.join(parameters)}"
            )
        if key in hints and not fits(value, hints[key]):
            raise UserError(f"{path}.{key}={value}: expected {_name(hints[key])}, not {type(value).__name__}")


def locate(path: str, target: str) -> Callable:
    """What a dotted name means. Raises UserError where there is nothing of that name."""
    try:
        return pkgutil.resolve_name(target)
    except Exception as error:
        raise UserError(f"{path}._target_={target} cannot be imported ({error}); check the name") from error


def _hints(target: Callable) -> dict[str, Any]:
    """The constructor's annotations; a class inherits those of its bases for what it passes on."""
    functions = [c.__init__ for c in reversed(target.__mro__)] if inspect.isclass(target) else [target]
    hints: dict[str, Any] = {}
    for function in functions:
        try:
            hints |= typing.get_type_hints(function)
        except (NameError, TypeError, AttributeError):  # builtins, and names for type checkers only
            continue
    return hints


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value agrees with an annotation. What cannot be judged (tensors, protocols, ...) is
    let through.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    if hint is type(None):
        return value is None
    if hint in SCALARS:
        return _fits_scalar(value, hint)
    if inspect.isclass(origin or hint) and issubclass(origin or hint, Mapping):
        return isinstance(value, Mapping)
    if inspect.isclass(origin or hint) and issubclass(origin or hint, Sequence):
        return isinstance(value, Sequence) and not isinstance(value, str)
    return True


def _fits_scalar(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)


def _name(hint: Any) -> str:
    plain = inspect.isclass(hint) and not typing.get_args(hint)
    return hint.__name__ if plain else str(hint).replace("typing.", "")
