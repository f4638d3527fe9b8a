"""Composing configurations and running the entry points on stand-in data, as small as it gets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from cycle_am.app.config import register

ROOT = Path(__file__).resolve().parents[1]
BLOBS = ["data._target_=tests.fakes.BlobDataModule", "+data.count=40", "data_name=blobs"]
BLOBS += ["~data.views", "~data.without"]  # which blobs have not
TINY_CLASSIFIER = [*BLOBS, "experiment=classifier", "model.net.width=2", "companions=null", "trainer=cpu"]
TINY_CYCLE_AM = [
    *BLOBS,
    "trainer=cpu",
    "data.batch_size=4",
    "model.generator.channels=[2,2,2,2]",
    "model.discriminator.channels=[2,2,2,2]",
]


def composed(overrides: list[str], folder: Path, name: str = "run", config: str = "train") -> DictConfig:
    """The configuration of an entry point, its runs below `folder` and this run in a folder `name`."""
    register()
    experiment = next((o.split("=")[1] for o in overrides if o.startswith("experiment=")), "run")
    paths = [f"paths.root={folder}", f"paths.run_dir={folder}/runs/{experiment}/blobs/{name}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(config, [*overrides, *paths])


def ready(data):
    """A data module whose cases are prepared and split."""
    data.prepare_data()
    data.setup()
    return data


def run(script: str, *overrides: str, **options) -> subprocess.CompletedProcess:
    """An entry point in a process of its own; its output as text."""
    return subprocess.run(
        [sys.executable, script, *overrides],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env=environment(),
        **options,
    )


def environment() -> dict[str, str]:
    """One thread a process, no network."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "WANDB_MODE": "offline"}


def equal(a, b) -> bool:
    """Whether nested states hold the very same numbers."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def same_training(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold bit-identical weights, optimizers and counters."""
    first, second = (torch.load(path, weights_only=True) for path in (a, b))
    return all(
        equal(first[key], second[key]) for key in ("state_dict", "optimizer_states", "epoch", "global_step")
    )
