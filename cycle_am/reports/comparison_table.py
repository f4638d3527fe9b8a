"""`python -m cycle_am.reports.comparison_table metrics.json`: its methods and figures as a Markdown table."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from cycle_am.console import asks_for_help, tolerate_streams
from cycle_am.errors import UserError
from cycle_am.metrics.paired import is_lower_better
from cycle_am.reports.comparison import NAMES
from cycle_am.reports.comparison_figures import CONTROL
from cycle_am.reports.table import read, short

COLUMNS = {**NAMES, "ms_per_case": "ms a case"}


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    if len(arguments) != 1:
        print("give one metrics.json of evaluate.py evaluation=compare", file=sys.stderr)
        return 2
    try:
        print(markdown(read(f"={arguments[0]}")[1]))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def markdown(figures: Mapping[str, dict]) -> str:
    """A row a method, a column a figure that any method has; the best value of a column is bold, controls aside."""
    values: dict[str, dict[str, float]] = {}
    for key, figure in figures.items():
        section, method, metric = key.split("/")
        if section == "compare" and metric in COLUMNS and figure["value"] is not None:
            values.setdefault(method, {})[metric] = figure["value"]
    shown = [metric for metric in COLUMNS if any(metric in row for row in values.values())]
    own = {method: row for method, row in values.items() if not is_control(method)}
    best = {metric: _best(own, metric) for metric in shown}
    head = [f"{COLUMNS[metric]} {'↓' if is_lower_better(metric) else '↑'}" for metric in shown]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(shown) + 1) + "|"]
    for method, row in values.items():
        cells = [_cell(row, metric, best[metric] if method in own else None) for metric in shown]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def is_control(method: str) -> bool:
    """Whether a method only controls the others."""
    return method.startswith(CONTROL)


def _best(rows: Mapping[str, Mapping[str, float]], metric: str) -> float | None:
    known = [row[metric] for row in rows.values() if metric in row]
    return (min if is_lower_better(metric) else max)(known, default=None)


def _cell(row: Mapping[str, float], metric: str, best: float | None) -> str:
    if metric not in row:
        return "–"
    text = f"{row[metric]:.0f}" if metric == "ms_per_case" else short(row[metric], 2)
    return f"**{text}**" if row[metric] == best else text


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main(sys.argv[1:]))
