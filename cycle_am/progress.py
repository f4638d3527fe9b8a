"""How far a loop is: a bar on a terminal; elsewhere a line when it begins, an early estimate and a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from tqdm import tqdm

FIRST, MINUTE = 10.0, 60.0  # seconds until the first estimate, and between two lines
T = TypeVar("T")


def steps(
    items: Iterable[T] = (),
    what: str = "",
    total: int | None = None,
    unit: str = "steps",
    initial: int = 0,
    usually: str = "",
) -> Progress:
    """Iterates over `items`, or is moved by `update()`, and shows on stderr how far it is.

    what: what is done; unit: to what, in the plural; total: to how many, taken from `items` where it has a length;
    initial: how many are done already; usually: how long it takes, in words for the line with which it begins.
    """
    total = len(items) if total is None and hasattr(items, "__len__") else total
    if sys.stderr is not None and sys.stderr.isatty():
        return tqdm(items, what, total, unit=unit, initial=initial)
    return Lines(items, what, total, unit, initial, usually)


class Lines(Generic[T]):
    """What `steps` gives where nobody sees a bar; used as tqdm is."""

    def __init__(
        self, items: Iterable[T], what: str, total: int | None, unit: str, initial: int = 0, usually: str = ""
    ) -> None:
        self.items, self.what, self.total, self.done, self.note = items, what, total, initial, ""
        self.initial, self.start, self.next = initial, time.monotonic(), FIRST
        if total is None or total > initial:
            count = "" if total is None else f" {total - initial} {unit}"
            self._print(f"{what}:{count}{usually and f', {usually}'}")

    def __iter__(self) -> Iterator[T]:
        for item in self.items:
            yield item
            self.update()

    def __enter__(self) -> Lines[T]:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def update(self, n: int = 1) -> None:
        """Another `n` are done."""
        self.done += n
        self._tell()

    def set_postfix_str(self, note: str) -> None:
        """What is done just now."""
        self.note = note
        self._tell()

    def _tell(self) -> None:
        seconds, count = time.monotonic() - self.start, self.done - self.initial
        if seconds < self.next or self.done == self.total:
            return
        self.next = seconds + MINUTE
        parts = [f"{self.done}" if self.total is None else f"{self.done} of {self.total}", self.note]
        if self.total is not None and count:
            parts.append(f"about {duration(seconds * (self.total - self.done) / count)} left")
        self._print(f"{self.what}: {', '.join(filter(None, parts))}")

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


Progress = tqdm | Lines


def duration(seconds: float) -> str:
    """A length of time for people: `40 s`, `3 min`, `2.5 h`."""
    if seconds <= 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
