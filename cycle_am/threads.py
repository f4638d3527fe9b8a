"""How OpenMP's threads wait for each other: asleep, not spinning. Has to be set before torch is imported."""

from __future__ import annotations

import os

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # of the standard, of GCC, of LLVM and Intel


def wait_asleep() -> None:
    """Let threads that wait give their core away, unless the user has chosen; subprocesses inherit it.

    A thread that spins takes the core from the one it waits for as soon as another process is busy: a training step
    beside one takes a dozen times as long (`python -m benchmarks.contention`).
    """
    if not any(name in os.environ for name in CHOICES):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
