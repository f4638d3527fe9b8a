"""Models as ONNX: written once where torch is, explaining wherever onnxruntime and numpy are.

    cycle_am.onnx.export(model, "exported/")
    explanation = cycle_am.onnx.load("exported/").explain(windows)

A folder holds `classifier.onnx`, `judge.onnx`, `g_neg.onnx` and `g_pos.onnx`, each from `image` (N, C, H, W) in [0, 1]
to `output`, logits (N, 2) or an image, for any N; and `model.json` with the model's facts and the digests of the four.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cycle_am.contract import Changed
from cycle_am.errors import UserError
from cycle_am.model import dial
from cycle_am.model.explanation import Explanation, Probabilities, held, layered
from cycle_am.task import Task

if TYPE_CHECKING:
    from cycle_am.model.model import Model

FACTS, INPUT, OUTPUT, FORMAT = "model.json", "image", "output", 1
NETWORKS = ("classifier", "judge", "g_neg", "g_pos")
BATCH = 16  # images at once: more do not stay in the processor's cache


def export(model: Model, folder: str | Path) -> Path:
    """Write a model's networks and facts to a folder, checked against torch; returns it.

    Raises UserError, one line, where a package is absent or a network cannot be exported or answers otherwise.
    """
    from cycle_am.model.exporting import export as write

    return write(model, Path(folder))


def load(folder: str | Path, threads: int | None = None) -> Exported:
    """The model in a folder. threads: of onnxruntime; None: one per core.

    Raises UserError, one line, where onnxruntime or a part of the folder is absent, damaged or foreign.
    """
    folder = Path(folder)
    facts = _facts(folder)
    return Exported({name: _session(folder, name, facts, threads) for name in NETWORKS}, facts)


class Exported:
    """Explains windows of its task with onnxruntime.

    sessions: by the names of the networks. facts: what `model.json` says.
    """

    gradients = False

    def __init__(self, sessions: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self.sessions, self.facts = dict(sessions), dict(facts)
        self.digest = str(facts.get("digest", ""))
        self.task = Task.of(facts["task"])

    def __repr__(self) -> str:
        return f"<cycle_am.onnx.Exported {self.name}>"

    @property
    def name(self) -> str:
        """For people."""
        return str(self.facts.get("name", "model"))

    def run(self, network: str, x: np.ndarray) -> np.ndarray:
        """What a network makes of images (N, C, H, W) float32 in [0, 1]."""
        parts = (x[i : i + BATCH] for i in range(0, len(x), BATCH))
        return np.concatenate([self.sessions[network].run([OUTPUT], {INPUT: part})[0] for part in parts])

    def probability(self, x: np.ndarray, by: str = "classifier") -> np.ndarray:
        """(N, C, H, W) in [0, 1] -> p of the second class (N,), by the explained `classifier` or the `judge`."""
        logits = self.run(by, x).astype(np.float64)
        return (0.5 + 0.5 * np.tanh((logits[:, 1] - logits[:, 0]) / 2)).astype(np.float32)

    def generate(self, x: np.ndarray) -> Changed:
        """G-(x) and G+(x): (N, C, H, W) in [0, 1] each."""
        return Changed(self.run("g_neg", x), self.run("g_pos", x))

    def explain(self, images: Any) -> Explanation:
        """Explain windows (H, W), (N, H, W) or (N, C, H, W) of the model's size in [0, 1]; nothing is said of trust.

        Raises UserError where they are none.
        """
        x = self._windows(images)
        changed = self.generate(x)
        p = [
            Probabilities(*(self.probability(image, by) for image in (x, *changed)))
            for by in ("classifier", "judge")
        ]
        return Explanation(*map(held, (x, *changed)), *p, (), (), self)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Hounsfield units of any shape -> float32 in [0, 1], clipped."""
        return self.task.scale(values)

    def distance(self, explanation: Explanation) -> np.ndarray:
        """(N,) as `Explanation.distance`."""
        return dial.distance(explanation, self.dial_probabilities)

    def dial_probabilities(
        self, explanation: Explanation, positions: np.ndarray, by: str = "classifier"
    ) -> np.ndarray:
        """(N, T) p along the dial at `positions`, (T,) or (N, T), by the explained `classifier` or the `judge`."""
        rows = np.broadcast_to(positions, (len(explanation), np.shape(positions)[-1]))
        each = zip(explanation, rows, strict=True)
        return np.stack([self.probability(layered(part.dial(row)[0]), by) for part, row in each])

    def attribution(self, x: np.ndarray) -> np.ndarray:
        """Raises UserError: gradients are no part of an exported model."""
        raise UserError("an exported model has no gradients; take attribution() of cycle_am.load's model")

    def _windows(self, images: Any) -> np.ndarray:
        array, shape = np.asarray(images, np.float32), self.task.shape
        if shape[0] == 1:
            array = array[None] if array.ndim == 2 else array
            array = array[:, None] if array.ndim == 3 else array
        array = array[None] if array.ndim == 3 else array
        if array.shape[1:] != shape or not len(array) or not (array.min() >= 0 and array.max() <= 1):
            wanted = ", ".join(map(str, shape[1:] if shape[0] == 1 else shape))
            raise UserError(
                f"images have shape {np.shape(images)}; give windows (N, {wanted}) with values in [0, 1]"
            )
        return np.ascontiguousarray(array)


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        whole = facts["onnx"]["format"] == FORMAT and set(facts["onnx"]["sha256"]) == set(NETWORKS)
        whole = whole and all(key in facts["task"] for key in ("size", "low", "high", "classes"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is no exported model; make one with cycle_am.onnx.export") from error
    if not whole:
        raise UserError(f"{folder} was exported by another version; export the model again")
    return facts


def _session(folder: Path, name: str, facts: Mapping[str, Any], threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("exported models need onnxruntime; install it: pip install onnxruntime") from error
    path = folder / f"{name}.onnx"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != facts["onnx"]["sha256"][name]:
        raise UserError(f"{path} is absent or not the one that was exported; export the model again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
