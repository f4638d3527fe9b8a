"""The search space of a study in Hydra's own grammar."""

from __future__ import annotations

from collections.abc import Iterable

from hydra.core.override_parser.types import Override
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from cycle_am.errors import UserError

Space = dict[str, BaseDistribution]


def split(overrides: Iterable[Override]) -> tuple[list[str], Space]:
    """Overrides that all trials share, and distributions by key; of several for one key the last one holds.

    `choice(a,b)` and `a,b` are categories, `range(1,4)` is 1, 2 or 3 as in a grid, `interval(0.1,1)` real numbers,
    `int(interval(1,8))` whole ones; `tag(log,interval(1e-4,1e-2))` is searched by orders of magnitude.
    """
    fixed: dict[str, str] = {}
    space: Space = {}
    for override in overrides:
        key = override.get_key_element()
        fixed.pop(key, None)
        space.pop(key, None)
        if override.is_sweep_override():
            space[key] = distribution(override)
        else:
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
    return list(fixed.values()), space


def distribution(override: Override) -> BaseDistribution:
    """Optuna's distribution for one parameter. Raises UserError for an empty or unordered one."""
    value = override.value()
    try:
        if override.is_interval_sweep():
            whole = isinstance(value.start, int) and isinstance(value.end, int)
            kind = IntDistribution if whole else FloatDistribution
            return kind(value.start, value.end, log="log" in value.tags)
        if override.is_range_sweep() and not value.shuffle:
            values = list(value.range())
            whole = all(isinstance(number, int) for number in values)
            return (IntDistribution if whole else FloatDistribution)(values[0], values[-1], step=value.step)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        raise UserError(f"{override.input_line}: {error}; give e.g. interval(0.1,1)") from error
