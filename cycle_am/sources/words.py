"""Messages without what identifies a person: headers hold names, ids and dates, and so do the names of files.

A path that its user gave is called by its last part; files inside of a folder or an archive by their position.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P, T = ParamSpec("P"), TypeVar("T")
UID = re.compile(r"[0-9]+(\.[0-9]+){4,}")
LONG = 300  # letters: an error of a library that says more is cut


def called(path: str | Path) -> str:
    """The last part of a path for messages and outputs; `a folder` or `a file` where that is a DICOM UID."""
    name = Path(path).name or str(path)
    return UID.sub("a folder" if Path(path).is_dir() else "a file", name)


def plain(error: BaseException | str, source: Path, name: str = "") -> str:
    """One line of an error's text, in which the path `source` is replaced by its `name`, or by what it is called."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    name = name or called(source)
    text = lines[0].replace(str(source.absolute()), name)
    text = text if str(source) == source.name else text.replace(str(source), name)
    return UID.sub("(a number)", text)[:LONG]


def quiet(function: Callable[P, T]) -> Callable[P, T]:
    """Libraries warn of odd values in headers, and quote them: only warnings of our own are passed on."""

    @functools.wraps(function)
    def silenced(*args: P.args, **kwargs: P.kwargs) -> T:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = function(*args, **kwargs)
        for warning in caught:
            if issubclass(warning.category, SourceWarning):
                warnings.warn(warning.message, stacklevel=2)
        return result

    return silenced


class SourceWarning(UserWarning):
    """What the user should know of a source, in a line that names nobody."""


def say(text: str) -> None:
    """Warn in one line."""
    warnings.warn(SourceWarning(text), stacklevel=2)


def retold(function: Callable[P, T], source: Path) -> Callable[P, T]:
    """Warnings of our own functions, which name whole paths, said as `plain` does."""

    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = function(*args, **kwargs)
        for warning in caught:
            say(plain(str(warning.message), source))
        return result

    return told
