"""Write results: flat metrics.json, cases.csv, relevance.npz; each appears whole or not at all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cycle_am.metrics.bootstrap import Figure
from cycle_am.files import write_atomically


def prefixed(prefix: str, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Put a section's name before each of its keys."""
    return {f"{prefix}/{name}": figure for name, figure in figures.items()}


def write_text(path: Path, text: str) -> Path:
    """Write a file under another name and move it into place, so that a reader never sees half of it."""
    return write_atomically(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))


def write_metrics(path: Path, metrics: Mapping[str, Figure]) -> Path:
    """metrics.json: `{"value", "ci_low", "ci_high", "n"}` per key; null where a figure or its interval is
    undefined."""
    return write_text(
        path, json.dumps({key: _plain(figure) for key, figure in metrics.items()}, indent=1) + "\n"
    )


def read_metrics(path: Path) -> dict[str, Figure]:
    """metrics.json as it was before writing: null becomes NaN again."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return {
        key: Figure(**{k: float("nan") if v is None else v for k, v in figure.items()})
        for key, figure in content.items()
    }


def write_cases(path: Path, columns: Mapping[str, np.ndarray]) -> Path:
    """cases.csv: one row a test case, empty where a value is unknown."""
    return write_text(path, pd.DataFrame(dict(columns)).to_csv(index=False, float_format="%.5g"))


def write_maps(path: Path, case_id: np.ndarray, **maps: np.ndarray) -> Path:
    """relevance.npz: `case_id` (N,) and one float32 array (N, H, W) per explainer id."""
    arrays = {"case_id": np.asarray(case_id, dtype=np.str_)}
    return write_npz(path, arrays | {k: v.astype(np.float32) for k, v in maps.items()})


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays, compressed, under another name and move the file into place."""
    return write_atomically(path, lambda part: _save(part, arrays))


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with path.open("wb") as stream:  # given a path, numpy would change its ending
        np.savez_compressed(stream, **arrays)


def _plain(figure: Figure) -> dict:
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in figure.items()}
