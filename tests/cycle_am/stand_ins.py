"""A model file of small random networks, and stand-ins for reading images and drawing pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cycle_am import Explanation, sources
from cycle_am.model import file as model_file
from cycle_am.networks import ConvNet, UNetGenerator
from cycle_am.outputs import page, record
from cycle_am.place import Place
from cycle_am.sources import Failure, Window

NET, GENERATOR = {"width": 2}, {"channels": [2, 2, 2, 2], "padding_mode": "reflect"}


def write_model(path: Path, seed: int = 0, name: str = "tiny") -> Path:
    """A model file without verdicts."""
    torch.manual_seed(seed)
    networks = {"classifier": ConvNet(**NET), "judge": ConvNet(**NET)}
    networks |= {name: UNetGenerator(**GENERATOR) for name in ("g_neg", "g_pos")}
    facts = {
        "name": name,
        "task": {
            "fov_mm": 45.0,
            "size": 64,
            "low": -1000.0,
            "high": 400.0,
            "classes": ["benign", "malignant"],
        },
        "networks": {
            key: {"kind": type(net).__name__, "arguments": NET if isinstance(net, ConvNet) else GENERATOR}
            for key, net in networks.items()
        },
        "trust": None,
        "metrics": {"classifier/auc": {"value": 0.9, "ci_low": float("nan"), "ci_high": None, "n": 3}},
        "patients": {"seen": ["0123456789abcdef"], "public": []},
        "data": {"name": "blobs", "fingerprint": "f", "cases": {"train": 1, "val": 1, "test": 1}},
        "versions": {},
    }
    weights = {
        f"{key}.{part}": tensor for key, net in networks.items() for part, tensor in net.state_dict().items()
    }
    return model_file.write(path, model_file.Content(facts, weights, {}, "# tiny\n\nA card."))


def window(seed: int, name: str = "") -> Window:
    """Noise of a seed."""
    return Window(np.random.default_rng(seed).random((64, 64), dtype=np.float32), Place(name=name))


def stand_in(
    monkeypatch: pytest.MonkeyPatch, content: Mapping[str, Sequence[Window | Failure | Exception]]
) -> list[str]:
    """Let `sources.read` give what `content` says of each source, and outputs write their JSON alone; returns the list
    to which the names of the lesions that are written will be added.
    """
    saved: list[str] = []

    def read(source: str, task: Any, **where: Any) -> Iterator[Window | Failure]:
        for found in content[source]:
            if isinstance(found, Exception):
                raise found
            yield found

    def save(self: Explanation, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        saved.append(self.place[0].name)
        (folder / "explanation.json").write_text(json.dumps(record.of(self)))
        return folder

    def write(folder: Path, records: Sequence[Mapping[str, Any]]) -> Path:
        (folder / "index.html").write_text(json.dumps(records))
        return folder / "index.html"

    monkeypatch.setattr(sources, "read", read)
    monkeypatch.setattr(page, "write", write)
    monkeypatch.setattr(Explanation, "save", save)
    return saved
