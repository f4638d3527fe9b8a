"""What every command does with its streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def tolerate_streams() -> None:
    """Let a stream that is not UTF-8 show `?` for what it has no sign for, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def in_one_line(show: Callable[..., None]) -> Callable[..., None]:
    """`warnings.showwarning` that says `warning: ...` of what is meant for users, each text once and without the line
    of code, and leaves all others to `show`.
    """
    said: set[str] = set()  # torch warns again at every operation that is not deterministic

    def shown(message: Warning, category: type[Warning], *place: Any, **options: Any) -> None:
        if category is not UserWarning or sys.stderr is None:
            show(message, category, *place, **options)
        elif str(message) not in said:
            said.add(str(message))
            print(f"warning: {message}", file=sys.stderr, flush=True)

    return shown


@contextmanager
def suppress_broken_pipe() -> Iterator[None]:
    """Bear that who reads stdout has read enough (`| head`)."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again at its end


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether --help or -h is among the arguments of a command."""
    return not {"-h", "--help"}.isdisjoint(arguments)
