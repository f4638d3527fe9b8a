"""Write results: flat metrics.json, cases.csv, relevance.npz; each appears whole or not at all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cycle_am.estimate import Estimate
from cycle_am.files import write_npz, write_text


def write_metrics(path: Path, metrics: Mapping[str, Estimate]) -> Path:
    """metrics.json: `{"value", "ci_low", "ci_high", "n"}` per key; null where a figure or its interval is
    undefined."""
    return write_text(
        path, json.dumps({key: _plain(figure) for key, figure in metrics.items()}, indent=1) + "\n"
    )


def read_metrics(path: Path) -> dict[str, Estimate]:
    """metrics.json as it was before writing: null becomes NaN again."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {
        key: Estimate(**{k: float("nan") if v is None else v for k, v in figure.items()})
        for key, figure in content.items()
    }


def write_cases(path: Path, columns: Mapping[str, np.ndarray]) -> Path:
    """cases.csv: one row a test case, empty where a value is unknown."""
    return write_text(path, pd.DataFrame(dict(columns)).to_csv(index=False, float_format="%.5g"))


def write_maps(path: Path, case_id: np.ndarray, **maps: np.ndarray) -> Path:
    """relevance.npz: `case_id` (N,) and one float32 array (N, H, W) per explainer id."""
    arrays = {"case_id": np.asarray(case_id, dtype=np.str_)}
    return write_npz(path, arrays | {k: v.astype(np.float32) for k, v in maps.items()})


def _plain(figure: Estimate) -> dict:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in figure.items()}
