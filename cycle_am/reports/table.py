"""`python -m cycle_am.reports.table NAME=metrics.json ...`: several evaluations side by side, as Markdown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cycle_am.console import asks_for_help, tolerate_streams
from cycle_am.errors import UserError
from cycle_am.reports.page import decimals

ROWS = {
    "classifier/auc": ("classifier: AUC", ".809"),
    "classifier/size_only_auc": ("AUC of size alone", ""),
    "classifier/auc_size_matched": ("AUC, pairs matched in size", ""),
    "transfer/explained/x": ("explained: p(malignant) of x", ".470"),
    "transfer/explained/neg": ("of G-(x)", ".289"),
    "transfer/explained/pos": ("of G+(x)", ".820"),
    "transfer/independent/x": ("judge: p(malignant) of x", ""),
    "transfer/independent/neg": ("of G-(x)", ""),
    "transfer/independent/pos": ("of G+(x)", ""),
    "similarity/ssim_neg": ("SSIM of G-(x) to x", ""),
    "similarity/ssim_pos": ("SSIM of G+(x) to x", ""),
    "cycle/l1": ("cycle: mean absolute error", ""),
    "localisation/peak_in_mask": ("peak of abs(R) in the outline", ""),
    "localisation/centre_prior_peak": ("(a central blob's peak)", ""),
    "localisation/peak_in_mask_shifted": ("the same, image shifted", ""),
    "localisation/centre_prior_peak_shifted": ("(a central blob's peak)", ""),
    "localisation/peak_in_dilated": ("peak in the outline + 3 mm", ""),
    "localisation/relevance_mass_dilated": ("share of abs(R) in the outline + 3 mm", ""),
    "localisation/dilated_area": ("(its share of the area)", ""),
    "localisation/shift_followed": ("R follows a shift", ""),
    "localisation/fixed_pattern": ("share of R that is one fixed pattern", ""),
    "realism/auc_neg": ("realism: AUC against G-(x)", ""),
    "realism/auc_unchanged_neg": ("(unchanged x against the same images)", ""),
    "realism/auc_pos": ("realism: AUC against G+(x)", ""),
    "realism/auc_unchanged_pos": ("(unchanged x against the same images)", ""),
    "realism/auc_real": ("control: real against real", ""),
    "realism/auc_planted": ("control: planted stripe", ""),
}


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit status."""
    if asks_for_help(arguments):
        print(__doc__)
        return 0
    try:
        print(markdown(dict(read(argument) for argument in arguments)))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def read(argument: str) -> tuple[str, dict]:
    """NAME=PATH to a name and its figures. Raises UserError for another form or a file that is none."""
    name, _, path = argument.partition("=")
    try:
        return name, json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{argument}: no metrics.json there ({error}); give NAME=path/to/metrics.json"
        ) from error


def markdown(columns: dict[str, dict]) -> str:
    """One row a figure that any evaluation has, with its interval; the paper's value in the last column."""
    lines = ["| | " + " | ".join([*columns, "paper"]) + " |", "|---" * (len(columns) + 2) + "|"]
    for key, (label, paper) in ROWS.items():
        if any(key in figures for figures in columns.values()):
            cells = [cell(figures.get(key)) for figures in columns.values()]
            lines.append("| " + " | ".join([label, *cells, paper]) + " |")
    return "\n".join(lines)


def cell(figure: dict | None) -> str:
    """Value and interval, e.g. `.912 [.871, .948]`; a dash where undefined."""
    if figure is None or figure["value"] is None:
        return "-"
    if figure["ci_low"] is None:
        return short(figure["value"])
    return f"{short(figure['value'])} [{short(figure['ci_low'])}, {short(figure['ci_high'])}]"


def short(value: float, digits: int = 3) -> str:
    """A number with so many decimals, without the leading zero."""
    text = decimals(value, digits)
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main(sys.argv[1:]))
