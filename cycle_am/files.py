"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cycle_am.errors import UserError

if TYPE_CHECKING:
    import numpy as np

LOCK = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """A folder, made where it is absent, that no other process may claim meanwhile. Raises UserError where one has.

    The system gives it back when a process dies; the file that says so stays.
    """
    from filelock import FileLock, Timeout  # --help does without

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"another process is writing into {folder}; wait for its end, or give another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_atomically(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it there in one step.

    A process that dies in between leaves the earlier file at `path` untouched. Raises OSError, which names `path` also
    where the system does not say which file it could not write (a full disk).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # of a folder that cannot be written: the first error is the one that tells
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a file under another name and move it into place, so that a reader never sees half of it."""
    return write_atomically(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays, compressed, under another name and move the file into place."""
    return write_atomically(path, lambda part: _save_arrays(part, arrays))


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    import numpy as np  # --help does without

    with path.open("wb") as stream:  # given a path, numpy would change its ending
        np.savez_compressed(stream, **arrays)


def copy_atomically(source: str | Path, target: str | Path) -> Path:
    """Copy a file so that `target` is never seen half-written."""
    return write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))


def write_folder(path: str | Path, fill: Callable[[Path], Any]) -> Path:
    """Let `fill` write into a hidden folder beside `path`, then move that there; an earlier folder is replaced.

    A process that dies in between leaves the earlier folder, or none, but never half a one.
    """
    path = Path(path)
    temporary, earlier = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    shutil.rmtree(temporary, ignore_errors=True)  # of an earlier process with this number
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        _swap(temporary, path, earlier)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(earlier, ignore_errors=True)
    return path


def _swap(new: Path, path: Path, earlier: Path) -> None:
    """Put a folder in another's place; where that fails, the earlier one is back."""
    if not path.exists():
        new.rename(path)
        return
    path.rename(earlier)
    try:
        new.rename(path)
    except BaseException:
        earlier.rename(path)
        raise
