"""Plain pictures for a model whose images have no place in a patient: the whole picture is explained."""

from __future__ import annotations

from pathlib import Path

from cycle_am.data.pictures import SUFFIXES, read_picture, to_window
from cycle_am.errors import UserError
from cycle_am.place import Place
from cycle_am.sources.windows import Window
from cycle_am.sources.words import called
from cycle_am.task import Task


def is_plain(task: Task) -> bool:
    """Whether a model explains plain pictures and no scans."""
    return not task.is_hounsfield


def window(path: Path, task: Task) -> Window:
    """The picture, resized and cut as the training images were. Raises UserError for other files."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"the model explains pictures ({', '.join(SUFFIXES)}); give one")
    return Window(to_window(read_picture(path), task, called(path)), Place(source=called(path)))
