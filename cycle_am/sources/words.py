"""Messages without what identifies a person: headers hold names, ids and dates, and so do the names of files.

A path that its user gave is called by its last part; files inside of a folder or an archive by their position.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

from utils.errors import UserError

P, T = ParamSpec("P"), TypeVar("T")
UID = re.compile(r"[0-9]+(\.[0-9]+){4,}")
LONG = 300  # letters: an error of a library that says more is cut


def called(path: str | Path) -> str:
    """The last part of a path for messages and outputs; `a folder` or `a file` where that is a DICOM UID."""
    name = Path(path).name or str(path)
    return UID.sub("a folder" if Path(path).is_dir() else "a file", name)


def plain(error: BaseException | str, source: Path, files: Iterable[Path] = ()) -> str:
    """One line of an error's text, in which `source` is called by its name and `files`, inside of it, by number."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = lines[0] if isinstance(error, UserError) else lines[-1]
    for number, path in sorted(enumerate(files, 1), key=lambda pair: -len(str(pair[1]))):
        text = text.replace(str(path), f"file {number}").replace(path.name, f"file {number}")
    text = text.replace(str(source.absolute()), called(source)).replace(str(source), called(source))
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
