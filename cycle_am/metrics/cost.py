"""What an explanation costs: time and memory of a callable, and when training a generator pays off."""

import ctypes
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Cost:
    """`ms_per_case`: median milliseconds of a batch over its size. `peak_mb`: MiB above what was in use before,
    at the worst moment of one batch; NaN where it cannot be measured."""

    ms_per_case: float
    peak_mb: float


def cost(
    explain: Callable[[Tensor], object], images: Tensor, batch: int, repeats: int = 5, warmup: int = 1
) -> Cost:
    """Cost of explaining a batch of `batch` images, made by repeating the given ones (N, C, H, W) where N is less.

    Warm-up calls are not counted. Memory is that of the last call, reset and read outside the clock; fetching the
    freed memory anew may slow that call, which the median of several forgives.
    """
    filled = images[torch.arange(batch) % len(images)]
    for _ in range(warmup):
        explain(filled)
    seconds = [_seconds(explain, filled) for _ in range(repeats - 1)]
    peak = peak_memory(lambda: seconds.append(_seconds(explain, filled)), images.device)
    return Cost(1000 * median(seconds) / batch, peak)


def _seconds(explain: Callable[[Tensor], object], images: Tensor) -> float:
    _finish(images.device)
    start = perf_counter()
    explain(images)
    _finish(images.device)
    return perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(call: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """MiB that `call` needs at its worst moment beyond what is in use before it.

    CUDA: what torch's allocator hands out. CPU: the kernel's own record of the process's largest resident memory
    (Linux), which sees torch, NumPy and Python alike, unlike tracemalloc; it is reset before the call (so a later
    reading of the process's peak starts here) after freed memory was given back to the system. Limits: memory that
    other threads take meanwhile counts; small amounts that fit into already resident free pages do not, so a few
    MiB are noise; what the allocator loses between blocks of less than 32 MiB counts. NaN on other systems or where
    the record may not be reset.
    """
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / MEBIBYTE
    if not _reset_peak():
        call()
        return math.nan
    before = _resident("VmRSS")
    call()
    return max(0.0, _resident("VmHWM") - before)


def _reset_peak() -> bool:
    """Give freed memory back and set the recorded peak to the present use; whether that worked."""
    with suppress(AttributeError, OSError, TypeError):  # not glibc: freed memory that is kept is not counted
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return float(line.split()[1]) / 1024


def break_even(training_seconds: float, own_ms: float, other_ms: float) -> float:
    """Cases from which a method that must be trained first is cheaper in all than one that need not be.

    The smallest whole n with training + n * own <= n * other; infinite where the own explanation costs as much or
    more; NaN where one of the three is not known.
    """
    gain = other_ms - own_ms
    if math.isnan(gain + training_seconds):
        return math.nan
    return float(math.ceil(1000 * training_seconds / gain)) if gain > 0 else math.inf
