"""From torch to ONNX; `cycle_am.onnx` explains with what this writes."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cycle_am.errors import UserError
from cycle_am.files import write_atomically
from cycle_am.model.model import Model
from cycle_am.onnx import FACTS, FORMAT, INPUT, NETWORKS, OUTPUT, load

CLOSE = 1e-4  # the most by which ONNX and torch may differ: of a logit, of a pixel in [0, 1]
COUNTS = (1, 3)  # images in the batches that are compared
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export(model: Model, folder: Path) -> Path:
    """As `cycle_am.onnx.export`. The facts are written last, so that a folder cut short is none."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"export needs {', '.join(missing)}; install them: pip install 'cycle-am[onnx]'")
    example = _example(model, 2)
    digests = {
        name: _write(model.networks[name], example, folder / f"{name}.onnx", name) for name in NETWORKS
    }
    facts = {key: value for key, value in model.facts.items() if key not in ("networks", "trust")}
    facts |= {"task": model.task.facts(), "digest": model.digest}
    facts |= {"onnx": {"format": FORMAT, "sha256": digests}}
    text = json.dumps(facts, indent=1, sort_keys=True)
    write_atomically(folder / FACTS, lambda path: path.write_text(text, encoding="utf-8"))
    _compare(model, folder)
    return folder


def _write(network: nn.Module, example: torch.Tensor, path: Path, name: str) -> str:
    """Write one network; returns its file's digest."""
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("images", min=1)},),
                verbose=False,
            )
    except Exception as error:  # whatever a user's own network makes the exporter raise
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"the {name} cannot be exported to ONNX ({reason})") from error
    write_atomically(path, lambda temporary: program.save(str(temporary), external_data=False))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _compare(model: Model, folder: Path) -> None:
    """Raise UserError, and take the facts away again, where ONNX answers otherwise than torch."""
    exported = load(folder, threads=1)
    for name in NETWORKS:
        apart = max(_apart(model.networks[name], exported, name, _example(model, count)) for count in COUNTS)
        if not apart <= CLOSE:
            (folder / FACTS).unlink()
            raise UserError(
                f"the {name} differs by {apart:.2g} from torch's once it is ONNX; update onnxruntime and torch"
            )


@torch.inference_mode()
def _apart(network: nn.Module, exported: Any, name: str, images: torch.Tensor) -> float:
    return float(np.abs(exported.run(name, images.numpy()) - network(images).numpy()).max())


def _example(model: Model, count: int) -> torch.Tensor:
    """(count, C, H, W) in [0, 1]."""
    return torch.rand(count, *model.task.shape, generator=torch.Generator().manual_seed(count))
