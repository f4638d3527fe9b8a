"""`python -m benchmarks.ship`: makes what the package brings along: the model `phantom` and a few test cases.

Trains and evaluates as `make run` does (finished steps are not repeated), then packs the run. The cases are drawn at
random among the phantom's test cases, one a patient, whatever the model says of them. With `--trust` the networks stay
as they are, and only what verdicts rest on is fitted anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from torch import Tensor

from cycle_am import settings
from cycle_am.app.config import register
from cycle_am.app.tasks.pack import fit_assessor, of_run
from cycle_am.app.tasks.train import build_data
from cycle_am.console import tolerate_streams
from cycle_am.data.cases import Cases
from cycle_am.errors import UserError
from cycle_am.model import file as model_file
from cycle_am.model.loading import SHIPPED, load
from cycle_am.runs.run import Run

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
    parser.add_argument(
        "--trust", action="store_true", help="fit the figures of trust anew, and nothing else"
    )
    options = parser.parse_args(arguments)
    register()
    if options.trust:
        print(refit(options.out / f"phantom{model_file.SUFFIX}"))
        return 0
    if options.run is None:
        train()
    run = Run(options.run) if options.run else Run.latest(QUICK, "cycle_am_small", "phantom")
    content = of_run(run.folder, "phantom", options.metrics or QUICK / "metrics.json")
    content = replace(content, weights={name: rounded(value) for name, value in content.weights.items()})
    print(model_file.write(options.out / f"phantom{model_file.SUFFIX}", content))
    for path in write_cases(build_data(run.settings).test_cases, options.out / "cases"):
        print(path)
    return 0


def train() -> None:
    """What `make run` does, in the environment of this Python."""
    subprocess.run(["make", "run", f"VENV={sys.prefix}", f"QUICK={QUICK}"], check=True)


def refit(file: Path) -> Path:
    """Fit what the verdicts of the shipped model rest on to the phantom, as packing a run does; the file is replaced.

    Raises UserError where the phantom is not the one that the model was trained on.
    """
    content, model = model_file.read(file), load(file)
    with initialize_config_dir(str(settings.folder()), version_base="1.3"):
        data = build_data(compose("train", ["experiment=cycle_am_small", "paths.root=."]))
    if data.fingerprint != content.facts["data"]["fingerprint"]:
        raise UserError(f"{file} was trained on another phantom; make it anew: python -m benchmarks.ship")
    assessor = fit_assessor(model, data)
    facts = content.facts | {"trust": assessor.facts()}
    return model_file.write(file, replace(content, facts=facts, features=assessor.tensors()))


def rounded(weights: Tensor) -> Tensor:
    """To 16 of 23 binary digits, which changes no p by 1e-3 and packs a quarter smaller; other types as they are."""
    if weights.dtype != torch.float32:
        return weights
    bits = weights.detach().contiguous().view(torch.int32)
    return ((bits + (1 << 6)) & -(1 << 7)).view(torch.float32)


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
