"""`latest`: a link beside runs, to the newest finished one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NAME = "latest"


def publish(folder: Path, own: Path, home: Path) -> str | None:
    """Let `latest` in `home` point to a run's folder, in one step: readers see the old target or the new one.

    own: the folder of its experiment on its data. Returns in one line why `latest` was left alone, None where it was
    moved: a run elsewhere is not what it is for, and a folder or a link of that name that was not made here stays.
    """
    if own != home:
        return f"{home / NAME} is left alone, since {folder} is not one of the runs in {home}"
    if not _is_ours(home / NAME):
        return f"{home / NAME} is left alone, since it is no link to a run beside it; move it away"
    try:
        _link(home / NAME, folder.relative_to(home))
    except OSError as error:
        return f"{home / NAME} could not be moved ({error.strerror}); give run={folder} where it is meant"
    return None


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        os.replace(temporary, link)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_ours(link: Path) -> bool:
    """Whether `publish` may write there: nothing is there, or a link as it makes them, into the same folder."""
    if not link.is_symlink():
        return not link.exists()
    target = Path(os.readlink(link))
    return not target.is_absolute() and ".." not in target.parts
