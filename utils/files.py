"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


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


def copy_atomically(source: str | Path, target: str | Path) -> Path:
    """Copy a file so that `target` is never seen half-written."""
    return write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))
