"""`python -m cycle_am.reports.cue_table CUE=metrics.json ...`: how well each method shows planted cues, as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from cycle_am.console import asks_for_help, tolerate_streams
from cycle_am.errors import UserError
from cycle_am.reports.comparison_table import is_control
from cycle_am.reports.table import read, short

METRICS = ("pointing_dilated_shifted", "relevance_mass_dilated_shifted", "relevance_rank_dilated_shifted")


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    if not arguments:
        print(
            "give CUE=metrics.json of evaluate.py evaluation=compare data=planted, once a cue",
            file=sys.stderr,
        )
        return 2
    try:
        print(markdown(dict(map(read, arguments))))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def markdown(cues: Mapping[str, Mapping[str, dict]]) -> str:
    """A row a method, a column a cue and the mean of all: peak / mass / rank in the truth + 3 mm, on moved images.

    The best method of a column is bold in each of the three, controls aside. A method without a figure for every
    cue has no mean.
    """
    values = {name: _values(figures) for name, figures in cues.items()}
    methods = list(dict.fromkeys(method for column in values.values() for method in column))
    unknown = np.full(len(METRICS), np.nan)
    table = {m: [column.get(m, unknown) for column in values.values()] for m in methods}
    table = {
        m: np.array([*cells, np.mean(cells, axis=0)]) for m, cells in table.items()
    }  # (cues + 1, metrics)
    own = [cells for method, cells in table.items() if not is_control(method)]
    best = np.nanmax(np.where(np.isnan(own), -np.inf, own), axis=0) if own else None
    lines = ["| | " + " | ".join([*cues, "mean"]) + " |", "|---" * (len(cues) + 2) + "|"]
    for method, cells in table.items():
        marks = np.zeros_like(cells, bool) if is_control(method) else cells == best
        lines.append(f"| `{method}` | " + " | ".join(map(_cell, cells, marks)) + " |")
    return "\n".join(lines)


def _values(figures: Mapping[str, dict]) -> dict[str, np.ndarray]:
    """Method -> (metrics,) of one cue, NaN unknown."""
    methods = dict.fromkeys(key.split("/")[1] for key in figures if key.startswith("compare/"))
    found = {
        m: [(figures.get(f"compare/{m}/{metric}") or {}).get("value") for metric in METRICS] for m in methods
    }
    return {method: np.array(row, dtype=float) for method, row in found.items()}


def _cell(values: Sequence[float], marks: Sequence[bool]) -> str:
    texts = ["–" if np.isnan(value) else short(value, 2) for value in values]
    return " / ".join(f"**{text}**" if mark else text for text, mark in zip(texts, marks, strict=True))


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main(sys.argv[1:]))
