"""Hand-made folders of runs, as a training leaves them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SCORE = "val/explanation_score"


def make_run(
    folder: Path,
    seed: int = 0,
    finished: bool = True,
    epochs: int = 3,
    level: float = 0.5,
    name: str = "cycle_am_small",
    note: str | None = None,
) -> Path:
    """A run with settings, curves (`SCORE` rises to `level`), panels and a score picture; its folder."""
    best = {"monitor": SCORE, "mode": "max", "dirpath": str(folder)}
    config = {
        "name": name,
        "data_name": "blobs",
        "seed": seed,
        "model": {"lr": 0.1, "note": note},
        "paths": {"run_dir": str(folder)},
        "callbacks": {"best": best},
    }
    started = f"2026-01-01T00:00:0{seed}+00:00"
    git = {"commit": "c0ffee" * 6 + "beef", "dirty": bool(seed)}
    write(folder / "environment.json", {"started": started, "git": git, "config": config, "earlier": []})
    (folder / "repeat.yaml").write_text("defaults: [train_schema]\n")
    log(folder / "csv/version_0/metrics.csv", [level * (e + 1) / epochs for e in range(epochs)])
    for epoch in range(epochs):
        picture(folder / "panels" / f"epoch_{epoch:03d}.png", 40 * epoch)
    picture(folder / "score.png", 200)
    if finished:
        facts = {"epochs": epochs, "seconds": 60.0 * epochs, "score": level, "metrics": {SCORE: level}}
        write(folder / "finished.json", facts)
    return folder


def write(file: Path, content: dict) -> None:
    """A JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def log(file: Path, scores: list[float], begin: int = 0) -> None:
    """A log of ten steps an epoch, as Lightning's CSVLogger writes it: training and validation in rows of their own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"epoch,loss/generator,step,{SCORE}"]
    for epoch, score in enumerate(scores, begin):
        lines += [f"{epoch},{1 / (epoch + 1)},{10 * epoch + 4},", f"{epoch},,{10 * epoch + 9},{score}"]
    file.write_text("\n".join(lines) + "\n")


def picture(file: Path, grey: int) -> None:
    """A picture of one colour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), grey, np.uint8)).save(file)


def evaluate(folder: Path, value: float, run: Path | None = None) -> None:
    """An evaluation's results; `run` where they lie outside of it."""
    write(
        folder / "metrics.json", {"classifier/auc": {"value": value, "ci_low": None, "ci_high": 1.0, "n": 4}}
    )
    (folder / "report.html").write_text("<html></html>")
    if run:
        (folder / "config.yaml").write_text(f"run: {run}\n")
