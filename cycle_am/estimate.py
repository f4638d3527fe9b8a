"""A number with its interval: what every measure, table and report speaks of."""

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
