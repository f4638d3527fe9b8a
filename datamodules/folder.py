"""A folder of pictures with one sub-folder a class, as most tools take it; also with train/, val/ and test/ above.

    images/red/0001.png        images/train/red/0001.png
    images/white/0002.png      images/test/white/0002.png

Whose a picture is says a table (`patients`: columns image, patient_id, and where at hand box_left, box_top, box_right,
box_bottom in pixels, where an explanation should lie) or a pattern that finds the patient in a file's name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cycle_am.data.cases import Cases
from cycle_am.data.images import GREY
from cycle_am.data.pictures import BROKEN, SUFFIXES, Box, Picture, read_picture
from cycle_am.data.splits import Split
from cycle_am.errors import UserError
from cycle_am.identity import check_spellings
from cycle_am.progress import steps
from cycle_am.tables import read_table
from datamodules.pictures import PicturesDataModule

BOX = ("box_left", "box_top", "box_right", "box_bottom")
TEXTS = ("image", "patient_id")
THREADS, AT_ONCE = 4, 8


class FolderDataModule(PicturesDataModule):
    """Pictures in folders (see above).

    root: the folder. patients: CSV with a patient of each picture. pattern: regular expression whose first group, found
    in a file's name, is the patient, as `^(P[0-9]+)_`. Without either every picture counts as a patient of its own.
    Further arguments as in PicturesDataModule. Raises UserError, one line, for anything wrong in them or in the files.
    """

    source = "folder"

    def __init__(
        self,
        *,
        root: str | Path,
        patients: str | Path | None = None,
        pattern: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.root, self.table, self.pattern = Path(root), patients and Path(patients), _compiled(pattern)
        if patients and pattern:
            raise UserError("give data.patients or data.pattern, not both")
        if not self.root.is_dir():
            raise UserError(f"data.root={root} is no folder; give one with a sub-folder for each class")

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """`train`, `val`, `test` as far as there are such folders of classes; else one that is the root itself."""
        named = tuple(part for part in Split._fields if _folders(self.root / part))
        if not named:
            return ("",)
        if "train" not in named or "test" not in named:
            raise UserError(
                f"{self.root} has {' and '.join(named)} only; give train/ and test/, or none of them"
            )
        return named

    def names(self) -> Sequence[str]:
        """Sub-folders, in alphabetical order."""
        found = sorted({folder.name for part in self.parts for folder in _folders(self.root / part)})
        if not found:
            raise UserError(
                f"{self.root} has no sub-folders; put the pictures of each class into one of its own"
            )
        return found

    @cached_property
    def files(self) -> dict[str, Path]:
        """Pictures of the chosen classes by their paths below the root, in order. UserError for a class without any."""
        chosen: dict[str, Path] = {}
        for part in self.parts:
            for name in self.classes or self.names():
                folder = self.root / part / name
                found = sorted(path for path in folder.rglob("*") if _is_picture(path, folder))
                if not found:
                    raise UserError(
                        f"{folder} holds no picture ({', '.join(SUFFIXES)}); fill it, or choose data.classes"
                    )
                chosen |= {path.relative_to(self.root).as_posix(): path for path in found}
        return chosen

    def is_colour(self) -> bool:
        """Whether the pictures are; UserError where some are and others not."""
        return self._colour

    @cached_property
    def _colour(self) -> bool:
        kinds = {name: _in_colour(path) for name, path in self.files.items()}
        if len(set(kinds.values())) > 1:
            grey, colour = (
                next(name for name, kind in kinds.items() if kind is wanted) for wanted in (False, True)
            )
            raise UserError(f"{grey} is grey and {colour} in colour; set data.channels=1 or data.channels=3")
        return next(iter(kinds.values()))

    def pictures(self, numbers: Mapping[str, int]) -> Iterator[Picture]:
        """All of them; a few at a time are read side by side."""
        for name, values in steps(self._values(), "reading pictures", len(self.files), "pictures"):
            yield Picture(values, numbers[self._class(name)], name, *self._owners[name])

    def _values(self) -> Iterator[tuple[str, np.ndarray]]:
        names = list(self.files)
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(names), AT_ONCE):
                part = names[start : start + AT_ONCE]
                yield from zip(part, pool.map(read_picture, map(self.files.get, part)), strict=True)

    def split_cases(self, cases: Cases) -> Split:
        """The folders' parts where there are any; what they leave open is drawn."""
        if self.parts == ("",):
            return super().split_cases(cases)
        of = np.array([name.partition("/")[0] for name in cases.case_id])
        return self.with_validation(cases, Split(*(np.flatnonzero(of == part) for part in Split._fields)))

    def settings(self) -> dict[str, Any]:
        """Names, sizes and times of the files, and whose they are."""
        states = [[name, path.stat().st_size, path.stat().st_mtime_ns] for name, path in self.files.items()]
        return {"root": str(self.root.resolve()), "files": states, "rows": self._owners}

    def _class(self, name: str) -> str:
        return name.split("/")[0 if self.parts == ("",) else 1]

    @cached_property
    def _owners(self) -> dict[str, tuple[str, Box | None]]:
        """Picture -> patient and box."""
        if self.table:
            rows = _read_owners(self.table)
            missing = [name for name in self.files if name not in rows]
            if missing:
                raise UserError(
                    f"{self.table} has no row for {missing[0]} ({len(missing)} missing in all); add it"
                )
            owners = {name: rows[name] for name in self.files}
        elif self.pattern:
            owners = {name: (_found(self.pattern, name), None) for name in self.files}
        else:
            warnings.warn(
                "every picture counts as a patient of its own: near-copies may be in two parts of the split; give "
                "data.patients=CSV (columns image, patient_id) or data.pattern=REGEX",
                stacklevel=2,
            )
            owners = {name: (name, None) for name in self.files}
        check_spellings([patient for patient, _ in owners.values()], "patient_id")
        return owners


def _compiled(pattern: str | None) -> re.Pattern | None:
    try:
        compiled = pattern and re.compile(pattern)
    except re.error as error:
        raise UserError(f"data.pattern={pattern} is no regular expression ({error})") from error
    if compiled and compiled.groups < 1:
        raise UserError(f"data.pattern={pattern} has no group; put the patient into brackets, as ^(P[0-9]+)_")
    return compiled or None


def _found(pattern: re.Pattern, name: str) -> str:
    match = pattern.search(Path(name).name)
    if not match or not match[1]:
        raise UserError(f"data.pattern={pattern.pattern} finds no patient in {name}; mend it")
    return match[1]


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _in_colour(path: Path) -> bool:
    """From the file's head alone."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False).ndim == 3
        with Image.open(path) as image:
            return image.mode not in GREY
    except BROKEN as error:
        raise UserError(f"{path} cannot be read; mend the file or leave it out") from error


def _read_owners(path: Path) -> dict[str, tuple[str, Box | None]]:
    """Picture -> patient and box, from a table. Raises UserError where it lacks what is needed."""
    try:
        lines = read_table(path, (*TEXTS, *BOX), TEXTS)
    except OSError as error:
        raise UserError(f"data.patients={path} cannot be read ({error.strerror}); mend the path") from error
    for name in TEXTS:
        if name not in lines[0].cells:
            raise UserError(f"{path} has no column {name}; it needs image and patient_id")
    return {line.cells["image"]: _owner(line.cells, f"{path.name} line {line.number}") for line in lines}


def _owner(cells: Mapping[str, str], place: str) -> tuple[str, Box | None]:
    if not cells["patient_id"]:
        raise UserError(f"{place}: patient_id is empty; fill it in")
    edges = [cells.get(name, "") for name in BOX]
    if not any(edges):
        return cells["patient_id"], None
    try:
        left, top, right, bottom = map(float, edges)
    except ValueError:
        left, right, top, bottom = 1.0, 0.0, 1.0, 0.0
    if not (left <= right and top <= bottom):
        raise UserError(f"{place}: {', '.join(BOX)} are no box: {', '.join(edges)}")
    if left == right or top == bottom:
        warnings.warn(f"{place}: the box has no area and counts as none", stacklevel=2)
        return cells["patient_id"], None
    return cells["patient_id"], (left, top, right, bottom)
