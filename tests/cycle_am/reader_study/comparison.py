"""A comparison's folder as `evaluate.py evaluation=compare` writes it, with maps whose sign and place are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cycle_am.files import write_npz
from cycle_am.runs.results import write_maps

METHODS = ("cycle_am", "deep_shap", "deep_taylor", "lrp")


def write_comparison(folder: Path, count: int = 40, wrong: int = 4, methods=METHODS) -> dict[str, np.ndarray]:
    """`count` cases, benign and malignant by turns, the first `wrong` of them misclassified, the last two unlabelled.

    All maps are positive noise for the class that was decided for.
    """
    rng = np.random.default_rng(0)
    label = np.arange(count) % 2
    p = np.where(label == 1, 0.9, 0.1)
    p[:wrong] = 1 - p[:wrong]
    label[-2:] = -1
    arrays = {
        "case_id": np.array([f"PATIENT-{i:04d}-1" for i in range(count)]),
        "image": rng.random((count, 64, 64)).astype(np.float32),
        "label": label,
        "p_malignant": p,
        "fov_mm": np.array(45.0),
    }
    write_npz(folder / "images.npz", arrays)
    maps = {name: rng.random((count, 64, 64)) for name in methods}
    write_maps(folder / "relevance.npz", arrays["case_id"], **maps)
    return arrays | maps
