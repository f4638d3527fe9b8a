"""`python -m benchmarks.ship`: makes what the package brings along: the model `phantom` and a few test cases.

Trains and evaluates as `make run` does (finished steps are not repeated), then packs the run. The cases are drawn at
random among the phantom's test cases, one a patient, whatever the model says of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from cycle_am.loading import SHIPPED
from cycle_am.pack import pack
from datamodules.cases import Cases
from utils import runs
from utils.config import register
from utils.console import tolerate_streams
from utils.training import build_data

COUNT, SEED = 5, 0
QUICK = Path("runs/quickstart")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", type=Path, help="a finished run; default: the quickstart's, trained if need be"
    )
    parser.add_argument("--metrics", type=Path, help="of its evaluation; default: the quickstart's")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if options.run is None:
        train()
    run = options.run or runs.latest(QUICK, "cycle_am_small", "phantom")
    print(pack(run, options.out / "phantom.cycleam", "phantom", options.metrics or QUICK / "metrics.json"))
    register()
    for path in write_cases(build_data(runs.settings(run)).test_cases, options.out / "cases"):
        print(path)
    return 0


def train() -> None:
    """What `make run` does, in the environment of this Python."""
    environment = os.environ | {"VENV": sys.prefix, "OUT": str(QUICK)}
    subprocess.run(["bash", "utils/quickstart.sh"], check=True, env=environment)


def write_cases(cases: Cases, folder: Path) -> list[Path]:
    """Draw `COUNT` cases and write their windows as 16-bit PNG, 0 to 65535 for 0 to 1; returns the files."""
    patients = np.random.default_rng(SEED).choice(np.unique(cases.patient_id), COUNT, replace=False)
    rows = [int(np.flatnonzero(cases.patient_id == patient)[0]) for patient in patients]
    windows = cases.select(rows).window()[0][:, 0].numpy()
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"phantom-{number}.png" for number in range(1, COUNT + 1)]
    for file, window in zip(files, windows, strict=True):
        Image.fromarray(np.round(window * 65535).astype(np.uint16)).save(file, optimize=True)
    return files


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
