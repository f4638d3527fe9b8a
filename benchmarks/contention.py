"""`python -m benchmarks.contention`: a training step alone and beside one busy process, by how threads wait.

The reference is torch's own way, alone, measured in the same run: its ratio is 1. Beside one busy process for two
cores, what is left is two thirds of the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import median

import pandas as pd

from cycle_am.console import tolerate_streams
from cycle_am.threads import CHOICES

STEPS, ROUNDS = 3, 3
WAYS = {
    "torch's own": {},
    "asleep (this project's)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spins 100 times": {"GOMP_SPINCOUNT": "100"},
    "spins 1000 times": {"GOMP_SPINCOUNT": "1000"},
}
BUSY = "while True: pass"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status. Each way in turn, ROUNDS times; medians of all steps."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for load, begin in (("alone", nullcontext), ("beside a busy process", busy_process)):
            with begin():
                for way, chosen in WAYS.items():
                    seconds.setdefault((way, load), []).extend(time_steps(chosen))
    reference = median(seconds[next(iter(seconds))])
    rows = [
        {"threads wait": way, "": load, "s a step": median(times), "ratio": median(times) / reference}
        for (way, load), times in seconds.items()
    ]
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    return 0


@contextmanager
def busy_process() -> Iterator[None]:
    """One process that uses a core as long as the block lasts."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def time_steps(chosen: dict[str, str]) -> list[float]:
    """Seconds of STEPS steps of the narrow CycleAM in a process of its own, whose threads wait as `chosen`."""
    own = {name: value for name, value in os.environ.items() if name not in CHOICES}
    code = "from benchmarks import contention; contention.print_steps()"
    # Torch comes before anything of the project could choose.
    printed = subprocess.run(
        [sys.executable, "-c", f"import torch; {code}"],
        env=own | chosen,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return json.loads(printed)


def print_steps() -> None:
    """Print the seconds of STEPS training steps, after one that warms up."""
    import torch

    from benchmarks.training import BATCH, WIDTHS, build_gan, gan_step

    step = gan_step(build_gan(WIDTHS["small"]), torch.rand(BATCH, 1, 64, 64), half=False)
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(json.dumps(times[1:]))


if __name__ == "__main__":
    tolerate_streams()
    sys.exit(main())
