"""`python -m benchmarks.data`: clustering and LIDC preparation, each timed beside pylidc in the same run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from cycle_am.console import tolerate_streams
from cycle_am.data.dicom import index_series
from cycle_am.data.lidc.annotations import Scan, import_pylidc, load_scans
from cycle_am.data.lidc.clustering import cluster_annotations
from cycle_am.data.lidc.lesions import find_lesions
from cycle_am.data.lidc.pieces import Job, Window, prepare_scan
from cycle_am.errors import UserError
from cycle_am.progress import steps

SAMPLE = 40  # scans that pylidc clusters; all 1018 take it minutes
REPEATS = 5
ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("runs/bench_data.json"))
    parser.add_argument("--sample", type=int, default=SAMPLE, help="scans that pylidc clusters")
    parser.add_argument(
        "--dicom-root", type=Path, default=default_dicom_root(), help="folder of LIDC's DICOM"
    )
    options = parser.parse_args(arguments)
    rows = [*clustering_rows(options.sample), *preparation_rows(options.dicom_root)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))
    print(options.out)
    return 0


def default_dicom_root() -> Path:
    """The real patient that the tests use, where it is at hand."""
    return Path(os.environ.get("CYCLE_AM_REAL_DATA", ROOT.parent / "shared" / "data")) / "lidc_dicom"


def row(
    what: str, seconds: float, reference: str, reference_seconds: float, note: str = ""
) -> dict[str, Any]:
    """One line of the table: seconds, and ratio = reference / ours (above 1: faster than the reference)."""
    return {
        "what": what,
        "seconds": seconds,
        "reference": reference,
        "reference_seconds": reference_seconds,
        "ratio": reference_seconds / seconds,
        "note": note,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    return pd.DataFrame(rows).to_string(
        index=False, float_format=lambda value: f"{value:.3g}", max_colwidth=60
    )


def timed(action: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def clustering_rows(sample_size: int) -> list[dict[str, Any]]:
    """Clustering of a sample by both, and of all scans, where pylidc's time is extrapolated from the sample.

    The sample is every n-th scan in order of annotations, so it holds the few that take pylidc longest in
    proportion.
    """
    load_scans.cache_clear()
    loading = timed(load_scans)
    everything = loading + timed(lambda: [cluster_annotations(scan) for scan in load_scans()])
    scans = spread(load_scans(), sample_size)
    ours = timed(lambda: [cluster_annotations(scan) for scan in scans])
    theirs = sum(pylidc_clustering(scan) for scan in steps(scans, "pylidc", unit="scans"))
    name, factor = "pylidc cluster_annotations", len(load_scans()) / len(scans)
    note = f"reference extrapolated x {factor:.1f} from {len(scans)} scans; ours with reading the database"
    return [
        row(f"cluster {len(scans)} scans", ours, name, theirs),
        row(f"cluster all {len(load_scans())} scans", everything, name, theirs * factor, note),
    ]


def spread(scans: tuple[Scan, ...], count: int) -> list[Scan]:
    """`count` scans at even distances in the order of their numbers of annotations."""
    ordered = sorted(scans, key=lambda scan: len(scan.annotations))
    places = (np.arange(count) + 0.5) * len(ordered) / count
    return [ordered[int(place)] for place in places]


def pylidc_clustering(scan: Scan) -> float:
    """Seconds that pylidc takes for the clusters of one scan."""
    return timed(lambda: pylidc_scan(scan).cluster_annotations(verbose=False))


def pylidc_scan(scan: Scan) -> Any:
    """The same scan as pylidc's object."""
    pylidc = import_pylidc()
    return pylidc.query(pylidc.Scan).filter(pylidc.Scan.id == scan.scan_id).one()


def preparation_rows(dicom_root: Path) -> list[dict[str, Any]]:
    """Preparing a scan's lesions against pylidc's reading of the scan; [] where no DICOM is at hand."""
    try:
        series = index_series(dicom_root)
    except UserError as error:
        print(f"preparation is not timed: {error}", file=sys.stderr)
        return []
    scans = [s for s in load_scans() if s.series_uid in series and any(le.included for le in find_lesions(s))]
    return [preparation_row(scan, series[scan.series_uid][0]) for scan in scans[:1]]


def preparation_row(scan: Scan, folder: Path) -> dict[str, Any]:
    """Best of several repeats of either, with the files in the page cache."""
    lesions = tuple(lesion for lesion in find_lesions(scan) if lesion.included)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "piece.npz"
        job = Job(lesions, (folder,), Window(45.0, 64, 8), path)
        ours = min(timed(lambda: prepare_scan(job).save(path)) for _ in range(REPEATS))
    reference = pylidc_scan(scan)
    place = {"get_path_to_dicom_files": lambda self: str(folder)}  # instead of a file in the home folder
    with patch.multiple(type(reference), **place):
        theirs = min(timed(lambda: reference.to_volume(verbose=False)) for _ in range(REPEATS))
    what = f"prepare {len(lesions)} lesion(s) of {len(scan.slice_zvals)} slices"
    return row(
        what, ours, "pylidc to_volume", theirs, "ours with window, mask and saving; reference reads only"
    )


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
