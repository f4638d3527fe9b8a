"""The model file: weights as safetensors and everything else as JSON, in one ZIP. Reading one runs no code.

    model.json           format, name, task, networks (kind, arguments), trust's limits, metrics, patients, versions
    weights.safetensors  `<network>.<parameter>`
    features.safetensors numbers that describe the training images' features (`cycle_am.model.trust`)
    card.md              the model card, for people

Nothing else may be in it; sizes are bounded before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from cycle_am.errors import UserError
from cycle_am.files import write_atomically

SUFFIX = ".cycleam"
FORMAT = 1
FACTS, WEIGHTS, FEATURES, CARD = "model.json", "weights.safetensors", "features.safetensors", "card.md"
LARGEST = {FACTS: 32 << 20, WEIGHTS: 4 << 30, FEATURES: 256 << 20, CARD: 1 << 20}  # bytes, unpacked
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry: the same content gives the same file
BROKEN = (zipfile.BadZipFile, SafetensorError, ValueError, KeyError, OSError, EOFError, NotImplementedError)


@dataclass(frozen=True)
class Content:
    """What a model file holds. `facts` are plain JSON values; tensors lie on the CPU."""

    facts: dict[str, Any]
    weights: dict[str, Tensor]
    features: dict[str, Tensor]
    card: str


def write(path: str | Path, content: Content) -> Path:
    """Write the file whole or not at all; equal content gives equal bytes."""
    entries = {
        FACTS: json.dumps(content.facts | {"format": FORMAT}, indent=1, sort_keys=True).encode(),
        WEIGHTS: save_tensors(_dense(content.weights)),
        FEATURES: save_tensors(_dense(content.features)),
        CARD: content.card.encode(),
    }

    def fill(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in entries.items():
                archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)

    return write_atomically(path, fill)


def read(path: str | Path) -> Content:
    """The content of a model file. Raises UserError, one line, for a file that is absent, damaged, foreign or newer."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"model file {path} does not exist; `cycle-am models` lists those at hand")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
        facts = json.loads(entries[FACTS])
        weights, features = load_tensors(entries[WEIGHTS]), load_tensors(entries[FEATURES])
        card = entries[CARD].decode()
    except BROKEN as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is no whole model file ({reason}); pack it again, or fetch it again"
        ) from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UserError(
            f"{path} has a format that this version does not read; update cycle-am, or pack it again"
        )
    return Content(facts, weights, features, card)


def digest(path: str | Path) -> str:
    """16 hex digits over a file's bytes: which model gave an explanation."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def state_digest(network: nn.Module) -> str:
    """16 hex digits over a network's weights and their names: which network a model explains."""
    state = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def _entries(archive: zipfile.ZipFile) -> dict[str, bytes]:
    infos = archive.infolist()
    if sorted(info.filename for info in infos) != sorted(LARGEST):
        raise ValueError("it has other entries than a model file")
    for info in infos:
        if info.file_size > LARGEST[info.filename]:
            raise ValueError(f"{info.filename} is too large")
    return {info.filename: _bounded(archive, info) for info in infos}


def _bounded(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The entry's bytes; what it says of its size is not believed."""
    with archive.open(info) as entry:
        data = entry.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise ValueError(f"{info.filename} is not as long as it says")
    return data


def _dense(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
