"""Single slices out of a folder tree of DICOM series, in Hounsfield units.

Headers are read with pydicom (identifier, position and number only), pixels with SimpleITK, which applies
the rescale and knows the compressed transfer syntaxes. Nothing of a header is ever logged: messages name
files, not content.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from utils.errors import UserError

Z_TOLERANCE_MM = 0.05  # headers repeat z to a micrometre; LIDC's closest slices lie 0.45 mm apart
TAGS = ["SeriesInstanceUID", "ImagePositionPatient", "InstanceNumber"]
UNREADABLE = (
    InvalidDicomError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    EOFError,
)


class SliceError(Exception):
    """Why a slice cannot be had. `reason` is one of a few plain phrases, `detail` says where."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Header:
    """What is needed to choose a slice: its file, z of ImagePositionPatient in mm, and InstanceNumber."""

    path: Path
    z_mm: float
    number: float


def index_series(root: Path) -> dict[str, Path]:
    """SeriesInstanceUID -> folder, for every folder below `root` that holds DICOM files.

    pylidc's layout `<patient>/<study uid>/<series uid>/*.dcm` and any other: a series is found under its
    folder's name and under the UID in its first readable file. Of two copies the first by path counts.
    Raises UserError where `root` is absent or holds no DICOM file.
    """
    if not root.is_dir():
        raise UserError(
            f"DICOM folder {root} is absent; set data.dicom_root to the folder with LIDC-IDRI's patients"
        )
    found: dict[str, Path] = {}
    for folder, names, files in os.walk(root, followlinks=True):
        names.sort()
        for uid in _series_of(Path(folder), sorted(files)):
            found.setdefault(uid, Path(folder))
    if not found:
        raise UserError(
            f"no DICOM series below {root}; set data.dicom_root to the folder with LIDC-IDRI's patients"
        )
    return found


def _series_of(folder: Path, files: list[str]) -> list[str]:
    """UIDs by which a folder may be asked for; none where it holds no DICOM file."""
    candidates = [folder / name for name in files if _may_be_dicom(name)]
    by_name = [folder.name] if candidates and re.fullmatch(r"[0-9]+(\.[0-9]+){3,}", folder.name) else []
    for path in candidates:
        try:
            return [*by_name, _read_tags(path, TAGS[:1]).SeriesInstanceUID.strip()]
        except UNREADABLE:
            continue
    return by_name


def _may_be_dicom(name: str) -> bool:
    return not name.startswith(".") and (name.lower().endswith(".dcm") or "." not in name)


def _read_tags(path: Path, tags: list[str]) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)


def read_headers(folder: Path, series_uid: str) -> tuple[list[Header], list[str]]:
    """The slices of one series in a folder, and the names of the files that cannot be read.

    Files of other series in the same folder are passed over. The order is that of file names.
    """
    headers, unreadable = [], []
    for path in sorted(path for path in folder.iterdir() if _may_be_dicom(path.name) and path.is_file()):
        try:
            tags = _read_tags(path, TAGS)
            if tags.SeriesInstanceUID.strip() == series_uid:
                headers.append(Header(path, float(tags.ImagePositionPatient[2]), _number(tags)))
        except UNREADABLE:
            unreadable.append(path.name)
    return headers, unreadable


def _number(tags: pydicom.Dataset) -> float:
    value = tags.get("InstanceNumber")
    return float("inf") if value is None else float(value)


def choose_slice(headers: list[Header], unreadable: list[str], z_mm: float) -> Path:
    """The file of the slice at z_mm; of several at that place the lesser InstanceNumber (pylidc's rule),
    then name.

    Raises SliceError where there is none within 0.05 mm: a neighbour is never taken instead.
    """
    near = [header for header in headers if abs(header.z_mm - z_mm) <= Z_TOLERANCE_MM]
    if near:
        return min(near, key=lambda h: (h.number, h.path.name)).path
    if unreadable:
        raise SliceError(
            "unreadable file", f"no slice at z = {z_mm:g} mm, and {_some(unreadable)} cannot be read"
        )
    raise SliceError("slice absent", f"no slice at z = {z_mm:g} mm among {len(headers)} files")


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def read_slice(path: Path, pixel_spacing: float) -> np.ndarray:
    """One slice in Hounsfield units, float32 (rows, columns) as stored.

    pixel_spacing: mm, as the annotations have it. Raises SliceError where the file is damaged (a file cut
    short counts, whatever could still be decoded) or has another spacing.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:  # SimpleITK's message holds the full path and a C++ trace
        raise SliceError("unreadable file", f"{path.name} is damaged or cut short") from error
    if not np.allclose(image.GetSpacing()[:2], pixel_spacing, rtol=0.01):
        raise SliceError("other geometry", f"{path.name} has another pixel spacing than the annotations")
    return sitk.GetArrayFromImage(image).astype(np.float32).reshape(image.GetSize()[1::-1])
