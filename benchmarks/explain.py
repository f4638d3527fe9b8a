"""`python -m benchmarks.explain`: R in memory, by torch and by ONNX, beside DeepSHAP and integrated gradients.

Narrow networks, one thread, all in the same run; ratio = the other method's seconds / ours, for one image. The peak
memory is that of a process of its own that explains 10 000 images, these included (minutes).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.data import row, table
from benchmarks.training import WIDTHS, timed
from cycle_am import onnx
from cycle_am.console import tolerate_streams
from cycle_am.model.model import Model
from cycle_am.networks import ConvNet, UNetGenerator
from cycle_am.task import Task

BATCH, FEW, BACKGROUND, IMAGES = 64, 2, 50, 10_000
PEAK = """
import re, resource, sys
from pathlib import Path
import torch
from cycle_am.model.model import Model
from cycle_am.task import Task
from cycle_am.networks import ConvNet, UNetGenerator
made = [UNetGenerator((12, 24, 48, 96), padding_mode="reflect") for _ in range(2)]
networks = dict(zip(("classifier", "judge", "g_neg", "g_pos"), (ConvNet(), ConvNet(width=40), *made)))
Model(networks, Task()).explain(torch.rand(int(sys.argv[1]), 64, 64), trust=False)
status = Path("/proc/self/status")  # resource's figure may be that of the process which started this one
found = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.is_file() else None
print(int(found[1]) / 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=Path("runs/bench_explain.json"))
    parser.add_argument("--images", type=int, default=IMAGES, help="of the memory's measurement")
    options = parser.parse_args(arguments)
    with one_thread():
        rows = timings()
    print(table(rows), flush=True)
    megabytes = peak_megabytes(options.images)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    record = {"rows": rows, "images": options.images, "peak_megabytes": megabytes}
    options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"peak memory for {options.images} images: {megabytes:.0f} MB")
    print(options.out)
    return 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def narrow_model() -> Model:
    """The networks that `make run` trains, untrained: the time is the same."""
    torch.manual_seed(0)
    generator = {"channels": WIDTHS["small"], "padding_mode": "reflect"}
    g_neg, g_pos = UNetGenerator(**generator), UNetGenerator(**generator)
    networks = {"classifier": ConvNet(), "judge": ConvNet(width=40), "g_neg": g_neg, "g_pos": g_pos}
    return Model(networks, Task())


def images(count: int) -> torch.Tensor:
    """(N, 1, 64, 64) in [0, 1]."""
    return torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def timings() -> list[dict[str, Any]]:
    """One line for each way to R, number of images and method beside it."""
    model = narrow_model()
    others = {
        f"{name}, one image": per_image(explained_by(model, id), FEW)
        for name, id in (("DeepSHAP", "deep_shap"), ("integrated gradients", "integrated_gradients"))
    }
    ways = {"R, torch": by_torch(model), **by_onnx(model)}
    return [
        row(f"{way}, {'one image' if count == 1 else f'an image of {count}'}", seconds, other, theirs)
        for way, action in ways.items()
        for count in (1, BATCH)
        for seconds in [per_image(action, count)]
        for other, theirs in others.items()
    ]


def per_image(action: Callable[[torch.Tensor], Any], count: int) -> float:
    """Seconds for each of `count` images."""
    given = images(count)
    return timed(lambda: action(given), given.device) / count


def explained_by(model: Model, id: str) -> Callable[[torch.Tensor], Any]:
    """Another explainer of the model's classifier."""
    explainer = model.explainer(id, background=images(BACKGROUND))
    return lambda given: explainer.explain(given, 1)


def by_torch(model: Model) -> Callable[[torch.Tensor], Any]:
    """R of images, as `Model.explain` makes it."""

    @torch.inference_mode()
    def action(given: torch.Tensor) -> None:
        for part in given.contiguous(memory_format=torch.channels_last).split(onnx.BATCH):
            changed = model.generate(part)
            changed.pos - changed.neg

    return action


def by_onnx(model: Model) -> dict[str, Callable[[torch.Tensor], Any]]:
    """R by onnxruntime; nothing where the packages are absent."""
    if not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        exported = onnx.load(onnx.export(model, folder), threads=1)

    def action(given: torch.Tensor) -> None:
        neg, pos = exported.generate(given.numpy())
        pos - neg

    return {"R, ONNX": action}


def peak_megabytes(count: int) -> float:
    """The largest resident size of a process that explains `count` images."""
    command = [sys.executable, "-c", PEAK, str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
