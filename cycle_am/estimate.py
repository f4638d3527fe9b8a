"""A number with its interval: what every measure, table and report speaks of."""

from collections.abc import Mapping
from typing import TypedDict


class Estimate(TypedDict):
    """A number with its interval; `n` counts the cases (or pairs) behind it. NaN where undefined."""

    value: float
    ci_low: float
    ci_high: float
    n: int


def undefined(n: int = 0) -> Estimate:
    """The estimate of a question that this data cannot answer."""
    return Estimate(value=float("nan"), ci_low=float("nan"), ci_high=float("nan"), n=n)


def plain(value: float, n: int) -> Estimate:
    """An estimate without an interval, such as a test statistic."""
    return Estimate(value=float(value), ci_low=float("nan"), ci_high=float("nan"), n=n)


def prefixed(prefix: str, estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Put a section's name before each of its keys."""
    return {f"{prefix}/{name}": estimate for name, estimate in estimates.items()}
