"""Tables for documents, as Markdown, from the metrics.json of evaluations.

python -m cycle_am.reports.markdown figures NAME=metrics.json ...      several evaluations side by side
python -m cycle_am.reports.markdown comparison metrics.json            evaluation=compare: methods and figures
python -m cycle_am.reports.markdown cues CUE=metrics.json ...          how well each method shows planted cues
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cycle_am import measures
from cycle_am.console import asks_for_help, tolerate_streams
from cycle_am.errors import UserError
from cycle_am.reports.comparison_figures import CONTROL
from cycle_am.reports.page import decimals

CUE_METRICS = (
    "pointing_dilated_shifted",
    "relevance_mass_dilated_shifted",
    "relevance_rank_dilated_shifted",
)
UNKNOWN = "–"


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit status."""
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    if len(arguments) < 2 or arguments[0] not in TABLES:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(TABLES[arguments[0]](dict(map(read, arguments[1:]))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def read(argument: str) -> tuple[str, dict]:
    """NAME=PATH, or a path alone, to a name and its figures. Raises UserError for a file that is none."""
    name, equals, path = argument.partition("=")
    try:
        return name, json.loads(Path(path if equals else name).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{argument}: no metrics.json there ({error}); give NAME=path/to/metrics.json"
        ) from error


def figures(columns: Mapping[str, Mapping[str, dict]]) -> str:
    """One row per measure that any evaluation has, with its interval; the paper's value in the last column."""
    rows = {}
    for key, measure in measures.table(measures.EVALUATION).items():
        if any(key in column for column in columns.values()):
            cells = [with_interval(column.get(key)) for column in columns.values()]
            rows[measure.label] = [*cells, short(measure.paper["value"]) if measure.paper else ""]
    return table(["", *columns, "paper"], rows)


def comparison(columns: Mapping[str, Mapping[str, dict]]) -> str:
    """One row per method, a column per figure that any method has; the best value of a column is bold, controls aside.

    Raises UserError for several evaluations.
    """
    if len(columns) != 1:
        raise UserError("give one metrics.json of evaluate.py evaluation=compare")
    (content,) = columns.values()
    known = measures.table(measures.COMPARISON)
    values: dict[str, dict[str, float]] = {}
    for key, figure in content.items():
        section, *names = key.split("/")
        if section == "compare" and names[1] in known and figure["value"] is not None:
            values.setdefault(names[0], {})[names[1]] = figure["value"]
    shown = [metric for metric in known if any(metric in row for row in values.values())]
    own = {method: row for method, row in values.items() if not is_control(method)}
    best = {metric: _best(own, metric) for metric in shown}
    rows = {
        f"`{method}`": [_value(row, metric, best[metric] if method in own else None) for metric in shown]
        for method, row in values.items()
    }
    return table(["", *(f"{known[m].label} {measures.SIGNS[known[m].better]}" for m in shown)], rows)


def cues(columns: Mapping[str, Mapping[str, dict]]) -> str:
    """One row per method, a column per cue and the mean of all; peak / mass / rank in the truth + 3 mm, images moved.

    The best method of a column is bold in each of the three, controls aside. A method without a figure for every
    cue has no mean.
    """
    values = {name: _of_cue(content) for name, content in columns.items()}
    methods = list(dict.fromkeys(method for column in values.values() for method in column))
    unknown = np.full(len(CUE_METRICS), np.nan)
    cells = {m: [column.get(m, unknown) for column in values.values()] for m in methods}
    means = {m: np.array([*row, np.mean(row, axis=0)]) for m, row in cells.items()}  # (cues + 1, metrics)
    own = [row for method, row in means.items() if not is_control(method)]
    best = np.nanmax(np.where(np.isnan(own), -np.inf, own), axis=0) if own else None
    rows = {}
    for method, row in means.items():
        marks = np.zeros_like(row, bool) if is_control(method) else row == best
        rows[f"`{method}`"] = [_triple(*pair) for pair in zip(row, marks, strict=True)]
    return table(["", *columns, "mean"], rows)


def table(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A Markdown table: `rows` by their first cells."""
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    return "\n".join("|" + "|".join(_padded(cell) for cell in line) + "|" for line in lines)


def _padded(cell: str) -> str:
    return cell if cell == "---" else f" {cell} " if cell else " "


def with_interval(figure: dict | None) -> str:
    """Value and interval, e.g. `.912 [.871, .948]`; a dash where undefined."""
    if figure is None or not _known(figure["value"]):
        return "-"
    if not _known(figure["ci_low"]):
        return short(figure["value"])
    return f"{short(figure['value'])} [{short(figure['ci_low'])}, {short(figure['ci_high'])}]"


def _known(value: float | None) -> bool:
    """Whether there is one: undefined is NaN in memory, null in JSON."""
    return value is not None and math.isfinite(value)


def short(value: float, digits: int = 3) -> str:
    """A number with so many decimals, without the leading zero."""
    text = decimals(value, digits)
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def is_control(method: str) -> bool:
    """Whether a method only controls the others."""
    return method.startswith(CONTROL)


def _best(rows: Mapping[str, Mapping[str, float]], metric: str) -> float | None:
    known = [row[metric] for row in rows.values() if metric in row]
    return (min if measures.lower_is_better(metric) else max)(known, default=None)


def _value(row: Mapping[str, float], metric: str, best: float | None) -> str:
    if metric not in row:
        return UNKNOWN
    text = f"{row[metric]:.0f}" if metric == "ms_per_case" else short(row[metric], 2)
    return f"**{text}**" if row[metric] == best else text


def _of_cue(content: Mapping[str, dict]) -> dict[str, np.ndarray]:
    """Method -> (metrics,) of one cue, NaN unknown."""
    methods = dict.fromkeys(key.split("/")[1] for key in content if key.startswith("compare/"))
    rows = {
        method: [(content.get(f"compare/{method}/{metric}") or {}).get("value") for metric in CUE_METRICS]
        for method in methods
    }
    return {method: np.array(row, dtype=float) for method, row in rows.items()}


def _triple(values: Sequence[float], marks: Sequence[bool]) -> str:
    texts = [UNKNOWN if np.isnan(value) else short(value, 2) for value in values]
    return " / ".join(f"**{text}**" if mark else text for text, mark in zip(texts, marks, strict=True))


TABLES = {"figures": figures, "comparison": comparison, "cues": cues}


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main(sys.argv[1:]))
