"""`python -m benchmarks.sim_to_real --real CSV [--fov 26|45]`: does what the phantom teaches hold on real CT?

The measure of the phantom's realism. `train.py experiment=classifier` learns from phantom lesions of patients who are
not among the real cases, and is tested on those. Beside its AUC (intervals: bootstrap over patients) stand the AUC of
size alone and the AUC among pairs of equal size: malignancy follows size, so only these tell what else the phantom
taught. No choice (epochs, augmentation) may be made on the real labels that are reported.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from torch import nn

from cycle_am.console import tolerate_streams
from cycle_am.data.cases import Cases
from cycle_am.errors import UserError
from cycle_am.metrics.classifier import classifier_result
from cycle_am.metrics.inference import probabilities
from cycle_am.runs.run import Run
from datamodules.manifest import ManifestDataModule
from lightning_modules.classifier import ClassifierModule

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ("auc", "size_only_auc", "auc_minus_size", "auc_size_matched", "size_only_auc_matched")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True, help="manifest CSV of real cases with labels")
    parser.add_argument("--fov", type=float, default=45.0, help="field of view in mm")
    parser.add_argument(
        "--seeds", type=int, default=3, help="classifiers; each is reported, and their mean p"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/sim_to_real"), help="folder; finished trainings are kept"
    )
    parser.add_argument("settings", nargs="*", help="of the training, as train.py takes them")
    options = parser.parse_args(arguments)
    try:
        real = ManifestDataModule(
            csv=str(options.real), fov_mm=options.fov, cache_dir=options.out
        ).build_cases()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    networks = [train(seed, options) for seed in range(options.seeds)]
    report(figures(np.stack([predict(network, real) for network in networks]), real), options.out)
    return 0


def train(seed: int, options: argparse.Namespace) -> nn.Module:
    """The explained classifier of the shipped recipe, in eval mode."""
    folder = (options.out / f"fov{options.fov:g}_seed{seed}").resolve()
    settings = [
        f'data.without=["{options.real.resolve()}"]',
        f"data.fov_mm={options.fov}",
        f"seed={seed}",
        "companions=null",
        f'hydra.run.dir="{folder}"',
        "publish=false",
        "ckpt_path=auto",
        *options.settings,
    ]
    command = [sys.executable, str(ROOT / "train.py"), "experiment=classifier", *settings]
    subprocess.run(command, check=True)
    return ClassifierModule.load(Run(folder).checkpoint())


def predict(network: nn.Module, cases: Cases) -> np.ndarray:
    """(N,) p(malignant) of the centred windows."""
    return probabilities(network, cases.window()[0])


def figures(p: np.ndarray, real: Cases) -> dict[str, dict]:
    """p (seeds, N) -> the mean p's figures by name, and each seed's AUC."""
    result = classifier_result(p.mean(0), real).figures
    single = {f"auc_seed_{seed}": classifier_result(row, real).figures["auc"] for seed, row in enumerate(p)}
    return {name: dict(result[name]) for name in FIGURES} | {name: dict(f) for name, f in single.items()}


def report(figures: dict[str, dict], out: Path) -> None:
    """Print a line a figure, write them all to `out`/figures.json, and print that last."""
    for name, figure in figures.items():
        value, low, high = (figure[key] for key in ("value", "ci_low", "ci_high"))
        print(f"{name:<22} {value:.3f} [{low:.3f}, {high:.3f}]  n = {figure['n']}")
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(out / "figures.json")


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
