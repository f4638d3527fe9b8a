"""Bring your own images: a CSV, or a list of them, with one row per case.

Columns: image and label (0 or 1, or the class's name, benign and malignant unless `classes` says otherwise, empty for
unknown); where at hand mask, patient_id,
case_id, split (train, val, test), slice (counted from 0, feet up; of a DICOM folder those slices that are there),
spacing_mm, diameter_mm, centre_row and centre_col (in pixels from 0, rows front to back, columns right to left, so
after a volume was turned; of NPY as stored, slices first; default the middle of the image). Instead of slice and
centre_* a position in the patient: coordX, coordY, coordZ in mm as LUNA16 has them (left, back, head). Other columns
are ignored. Paths are relative to the CSV's folder and stay inside it; a file elsewhere is named by its absolute path.
A mask lies as its image does: with the same geometry in its header, or, where one of the files has none, stored alike.

Ids that differ in spelling only, as 0001 and 1, are refused: nobody can know whether they mean one patient. What
spreadsheets make of a table (`cycle_am.tables`) is read right or refused.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cycle_am.contract import HU_MAX, HU_MIN, IMAGE_SIZE, scale_hu
from cycle_am.data.cases import Cases, prepared
from cycle_am.data.headers import data_files
from cycle_am.data.images import Plane, cut, equivalent_diameter_mm, reach_mm, read_image, read_mask
from cycle_am.data.splits import Split, check_no_leak
from cycle_am.data.table import Row, read_rows
from cycle_am.errors import UserError
from cycle_am.identity import check_spellings
from cycle_am.progress import steps
from cycle_am.task import Task
from datamodules.base import CasesDataModule

READING = 2  # raise it when files are read otherwise: caches of before are then built anew


class Loaded(NamedTuple):
    """What a row gives: arrays (S, S), the distance from centre to edge in mm, and the diameter."""

    image: np.ndarray
    mask: np.ndarray | None
    reach_mm: float
    diameter_mm: float


class ManifestDataModule(CasesDataModule):
    """Cases from CSV files (see above).

    csv: path or list of paths; test_csv: the same, all of whose rows are the test part. Without it the column
    `split` decides, and without that the split is drawn as for every source. Where only the test part is
    given, validation patients are drawn from the rest.
    hu_range: Hounsfield units of the lowest and highest value of 8-bit images, and of pictures of 16 bit;
    spacing_mm: pixel size where neither the row nor the file gives one (the row goes before the file).
    classes: names of the labels 0 and 1; thing: what the images show, for people.
    Further arguments as in CasesDataModule. Raises UserError, one line, for anything wrong in the tables or
    files.
    """

    def __init__(
        self,
        *,
        csv: str | Path | Sequence[str | Path],
        test_csv: str | Path | Sequence[str | Path] | None = None,
        hu_range: Sequence[float] = (HU_MIN, HU_MAX),
        spacing_mm: float | None = None,
        classes: Sequence[str] = Task.classes,
        thing: str = Task.thing,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.classes, self.thing = tuple(map(str, classes)), thing
        self.task.check()
        self.csv, self.test_csv = _paths(csv), _paths(test_csv)
        self.hu_range, self.spacing_mm = tuple(map(float, hu_range)), spacing_mm
        if len(self.hu_range) != 2 or not self.hu_range[0] < self.hu_range[1]:
            raise UserError(
                f"data.hu_range={list(hu_range)} is no range; give lowest and highest, as [-1000, 400]"
            )

    @property
    def task(self) -> Task:
        """CT, or what else has Hounsfield units, with these classes."""
        return Task(fov_mm=self.fov_mm, classes=self.classes, thing=self.thing)

    @cached_property
    def rows(self) -> list[Row]:
        """All rows of all tables, checked."""
        rows = [row for path in self.csv for row in read_rows(path, self.classes)]
        tests = [row for path in self.test_csv for row in read_rows(path, self.classes)]
        rows += [replace(row, split="test") for row in tests]
        _check_ids(rows)
        _check_files(rows)
        return rows

    def build_cases(self) -> Cases:
        """Every row's window with its margin, from the cache where rows, files and settings are as before."""
        self._check_split()
        return prepared(self.cache_dir, "manifest", self._settings(), self._load)

    def split_cases(self, cases: Cases) -> Split:
        """The parts that the tables give; what they leave open is drawn."""
        parts = self._fixed_parts()
        return self.with_validation(cases, parts) if len(parts.test) else super().split_cases(cases)

    def _fixed_parts(self) -> Split:
        """Indices of the rows that are named val and test, and of all others."""
        named = np.array([row.split for row in self.rows])
        return Split(
            *(np.flatnonzero(np.isin(named, names)) for names in (("", "train"), ("val",), ("test",)))
        )

    def _check_split(self) -> None:
        """Raise UserError where the tables' parts contradict each other or the settings."""
        named = {row.split for row in self.rows}
        if named == {""}:
            return
        if self.folds is not None:
            raise UserError(
                "data.folds excludes test_csv and the column split, which fix the test part; drop one"
            )
        if "test" not in named:
            raise UserError(
                "the column split names no test row; name some, give data.test_csv, or drop the column"
            )
        if "" in named and len(named) > 1 and not self.test_csv:
            raise UserError(
                "the column split is empty in some rows; fill in train, val or test, or drop the column"
            )
        check_no_leak(np.array([row.patient_id for row in self.rows]), self._fixed_parts())

    def _settings(self) -> dict[str, Any]:
        return {
            "reading": READING,
            "fov_mm": self.fov_mm,
            "margin": self.margin,
            "hu_range": self.hu_range,
            "spacing_mm": self.spacing_mm,
            "rows": [asdict(row) for row in self.rows],
            "files": [_file_state(path) for row in self.rows for path in (row.image, row.mask) if path],
        }

    def _load(self) -> Cases:
        pixel_mm = self.fov_mm / IMAGE_SIZE
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            jobs = pool.map(lambda row: self._load_row(row, pixel_mm), self.rows)
            loaded = list(steps(jobs, "reading images", len(self.rows), "cases"))
        margin = self._margins(np.array([window.reach_mm for window in loaded]), pixel_mm)
        return _to_cases(self.rows, loaded, margin, pixel_mm)

    def _load_row(self, row: Row, pixel_mm: float) -> Loaded:
        plane = read_image(Path(row.image), row.slice, self.hu_range, row.point_mm)
        spacing = self._spacing(row, plane)
        centre = _centre(row, plane)
        reach = reach_mm(plane.pixels.shape, spacing, centre)
        if reach <= 0:
            raise UserError(
                f"{row.place}: centre {centre} lies outside of {row.image}; mend centre_row, centre_col "
                "or coordX, coordY"
            )
        image = scale_hu(cut(plane.pixels, spacing, centre, pixel_mm, self.margin))
        if not row.mask:
            return Loaded(image, None, reach, np.nan)
        mask = _matching_mask(row, plane)
        cut_mask = np.clip(cut(mask, spacing, centre, pixel_mm, self.margin), 0.0, 1.0)
        return Loaded(image, cut_mask, reach, equivalent_diameter_mm(mask, spacing))

    def _spacing(self, row: Row, plane: Plane) -> tuple[float, float]:
        """mm per pixel along rows and columns: the row's, else the file's, else the configured one."""
        if row.spacing_mm is not None:
            return row.spacing_mm, row.spacing_mm
        if plane.spacing is not None:
            return plane.spacing
        if self.spacing_mm is None:
            raise UserError(
                f"{row.place}: {row.image} has no pixel size; add a column spacing_mm or set data.spacing_mm"
            )
        return self.spacing_mm, self.spacing_mm

    def _margins(self, reach: np.ndarray, pixel_mm: float) -> np.ndarray:
        """(N,) pixels that each window can move without padding, at most `margin`.

        UserError where one does not fit.
        """
        margin = np.floor(reach / pixel_mm - (IMAGE_SIZE - 1) / 2 + 1e-6).astype(np.int64)
        small = np.flatnonzero(margin < 0)
        if len(small):
            fits = np.floor(10 * reach.min() * 2 * IMAGE_SIZE / (IMAGE_SIZE - 1)) / 10
            worst = self.rows[int(reach.argmin())]
            raise UserError(
                f"{worst.place}: {worst.image} spans {2 * reach.min():.1f} mm, smaller than the window of "
                f"{self.fov_mm:g} mm (as are {len(small)} in all); set data.fov_mm={fits:g} or leave them out"
            )
        return np.minimum(margin, self.margin)


def _check_ids(rows: list[Row]) -> None:
    """Raise UserError for two cases of one name and ids that differ in spelling only; warn of a file's two patients."""
    places: dict[str, str] = {}
    for row in rows:
        if row.case_id in places:
            raise UserError(
                f"{row.place}: case_id {row.case_id} stands in {places[row.case_id]} too; make it unique"
            )
        places[row.case_id] = row.place
    for name in ("case_id", "patient_id"):
        check_spellings([getattr(row, name) for row in rows], name, [row.place for row in rows])
    _warn_of_shared_files(rows)


def _warn_of_shared_files(rows: list[Row]) -> None:
    """Warn where rows of several patients name one image file: it would fall into several parts of the split."""
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patients[os.path.realpath(row.image)].add(row.patient_id)
    shared = [path for path, names in patients.items() if len(names) > 1]
    if shared:
        warnings.warn(
            f"files that stand under several patients each: {len(shared)} (as {shared[0]}: "
            f"{', '.join(sorted(patients[shared[0]])[:3])}); give a patient's images one patient_id",
            stacklevel=2,
        )


def _check_files(rows: list[Row]) -> None:
    absent = [
        (row, path) for row in rows for path in (row.image, row.mask) if path and not os.path.exists(path)
    ]
    if absent:
        row, path = absent[0]
        raise UserError(
            f"{row.place}: {path} does not exist ({len(absent)} files missing in all); mend the path"
        )


def _file_state(path: str) -> list[Any]:
    """What changes when a file changes, or one that holds its pixels; of a folder, its files'."""
    files = sorted(Path(path).iterdir()) if os.path.isdir(path) else [Path(path), *data_files(Path(path))]
    return [path] + [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _centre(row: Row, plane: Plane) -> tuple[float, float]:
    """The window's middle in pixels of the plane."""
    if row.point_mm is not None:
        return plane.pixel(row.point_mm)
    if plane.volume.turned and (row.centre or row.slice is not None):
        warnings.warn(  # one text for all rows, so that it is said once
            "slice, centre_row and centre_col count in volumes as they are turned (slices feet up, rows front to back, "
            "columns right to left), not as they are stored; coordX, coordY, coordZ in mm cannot be mistaken",
            stacklevel=2,
        )
    return row.centre or tuple((count - 1) / 2 for count in plane.pixels.shape)


def _matching_mask(row: Row, plane: Plane) -> np.ndarray:
    mask = read_mask(Path(row.mask), image=plane).pixels
    if mask.max() < 0.5:
        raise UserError(
            f"{row.place}: mask {row.mask} is empty in this slice; name another in column slice, or no mask"
        )
    return mask


def _to_cases(rows: list[Row], loaded: list[Loaded], margin: np.ndarray, pixel_mm: float) -> Cases:
    """The rows as Cases, the rim cut to the largest margin that a case has."""
    has_mask = np.array([window.mask is not None for window in loaded])
    known = [np.nan if row.diameter_mm is None else row.diameter_mm for row in rows]
    measured = [window.diameter_mm for window in loaded]
    spare = (loaded[0].image.shape[0] - IMAGE_SIZE) // 2 - int(margin.max())
    area = (slice(None), *[slice(spare, loaded[0].image.shape[0] - spare)] * 2)
    masks = [np.zeros_like(window.image) if window.mask is None else window.mask for window in loaded]
    return Cases(
        image=np.stack([window.image for window in loaded])[area],
        mask=np.stack(masks)[area] if has_mask.any() else None,
        label=np.array([row.label for row in rows], dtype=np.int64),
        case_id=np.array([row.case_id for row in rows]),
        patient_id=np.array([row.patient_id for row in rows]),
        margin=margin,
        diameter_mm=np.where(np.isnan(known), measured, known).astype(np.float32),
        pixel_mm=pixel_mm,
        has_mask=has_mask,
    )


def _paths(given: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """One path, several or none -> list."""
    if given is None:
        return []
    return [Path(given)] if isinstance(given, (str, Path)) else [Path(path) for path in given]
