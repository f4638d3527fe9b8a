"""From a path to its windows: which kind of source it is, and one case after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cycle_am.data.dicom import may_be_dicom
from cycle_am.errors import UserError
from cycle_am.sources import manifest
from cycle_am.sources.archive import IMAGES, Unpacked
from cycle_am.sources.plain import is_plain, window
from cycle_am.sources.scan import DAMAGED, Scan, Spot, open_files, open_scan, ready
from cycle_am.sources.where import HOW, Where
from cycle_am.sources.windows import Failure, Window
from cycle_am.sources.words import called, plain, quiet, say
from cycle_am.task import Task

TABLES = (".csv", ".tsv")
MOST_FILES = 50_000


@dataclass(frozen=True)
class Reader:
    """One call of `sources.read`, whose arguments these are."""

    path: Path
    task: Task
    where: Where
    series: int | None
    spacing: tuple[float, float] | None

    def windows(self) -> Iterator[Window | Failure]:
        """As `sources.read`."""
        try:
            yield from self._windows()
        except UserError as error:
            yield Failure(called(self.path), plain(error, self.path))

    def _windows(self) -> Iterator[Window | Failure]:
        if not self.path.exists():
            raise UserError("it does not exist; check the path")
        if self.path.is_dir():
            yield from self._of_files(files_below(self.path), None)
        elif self.path.suffix.lower() == ".zip":
            unpacked = quiet(Unpacked)(self.path)
            yield from self._of_files(unpacked.files, unpacked)
        elif self.path.suffix.lower() in TABLES and is_plain(self.task):
            raise UserError("the model explains pictures; give the folder that holds them")
        elif self.path.suffix.lower() in TABLES:
            if self.where:
                raise UserError(
                    "a table of images says itself where; leave out at, voxel, mask, lesions and lidc"
                )
            yield from manifest.windows(self.path, self.task, self.spacing)
        else:
            yield from self._of_file(self.path)

    def _of_files(self, files: list[Path], keep: object) -> Iterator[Window | Failure]:
        """A DICOM series, or else every image for itself."""
        dicom = [] if is_plain(self.task) else [path for path in files if may_be_dicom(path)]
        images = [path for path in files if path.name.lower().endswith(IMAGES)]
        if dicom:
            yield from self._of_series(dicom, keep)
        elif images:
            yield from self._of_images(images)
        else:
            raise UserError("it holds no DICOM file and no image")

    def _of_series(self, files: list[Path], keep: object) -> Iterator[Window | Failure]:
        scan = quiet(open_files)(
            self.path, files, self.task, self.spacing, self.series, self.where.uids, keep
        )
        yield from self._around(scan)

    def _of_images(self, images: list[Path]) -> Iterator[Window | Failure]:
        for number, path in enumerate(images, 1):
            try:
                yield from (_numbered(lesion, f"file {number}") for lesion in self._of_file(path))
            except UserError as error:
                yield Failure(f"file {number}", plain(error, path, f"file {number}"))

    def _of_file(self, path: Path) -> Iterator[Window | Failure]:
        if is_plain(self.task):
            if self.where:
                raise UserError(
                    "the model explains whole pictures; leave out at, voxel, mask, lesions and lidc"
                )
            yield window(path, self.task)
            return
        scan = quiet(open_scan)(path, self.task, self.spacing, self.series, self.where.uids)
        as_it_is = ready(scan) if not self.where or self.where.mask else None
        if as_it_is is None:
            yield from self._around(scan)
        elif self.where.mask:
            yield from self._masked(scan, list(as_it_is))
        else:
            yield from as_it_is

    def _masked(self, scan: Scan, windows: list[Window]) -> Iterator[Window]:
        """Windows as they are, with all that the mask marks on them."""
        marks = np.zeros((len(windows), *windows[0].image.shape), np.float32)
        for spot in self.where.spots(scan):
            marks[spot.plane] += spot.mask
        yield from (
            replace(window, mask=np.clip(mark, 0, 1)) for window, mark in zip(windows, marks, strict=True)
        )

    def _around(self, scan: Scan) -> Iterator[Window | Failure]:
        """The windows around the lesions of a scan."""
        for spot in self.where.spots(scan) if self.where else [self._middle(scan)]:
            if isinstance(spot, Failure):
                yield spot
                continue
            try:
                yield quiet(_cut)(scan, spot)
            except UserError as error:
                yield Failure(spot.name or called(self.path), plain(error, scan.path))

    def _middle(self, scan: Scan) -> Spot:
        """Of a picture larger than the window, whose pixel size is known."""
        slices, rows, columns = scan.volume.size
        if slices > 1 or scan.volume.placed or scan.series is not None:
            raise UserError(f"it is larger than the model's window, so say where in it: {HOW}")
        _ = scan.pixel_mm  # raises where there is none
        say("no place is given: the window is taken around the middle of the picture")
        return Spot("", 0, (rows - 1) / 2, (columns - 1) / 2)


def _cut(scan: Scan, spot: Spot) -> Window:
    try:
        return scan.window(spot)
    except DAMAGED as error:
        raise UserError("the slice is damaged or cut short; mend the file") from error


def _numbered(lesion: Window | Failure, name: str) -> Window | Failure:
    """With the number of its file before the lesion's name."""
    if isinstance(lesion, Failure):
        return replace(lesion, name=f"{name}, {lesion.name}" if lesion.name else name)
    return replace(
        lesion,
        place=replace(lesion.place, name=f"{name}, {lesion.place.name}" if lesion.place.name else name),
    )


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, in order; links to folders are not followed, hidden ones left out."""
    paths: list[Path] = []
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [Path(at, name) for name in sorted(files) if not name.startswith(".")]
        if len(paths) > MOST_FILES:
            raise UserError(f"it holds more than {MOST_FILES} files; give the folder of one series")
    return paths
