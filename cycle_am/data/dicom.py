"""Single slices out of a folder tree of DICOM series, in Hounsfield units.

Headers are read with pydicom (the few tags that are needed), pixels with SimpleITK, which applies the rescale
and knows the compressed transfer syntaxes. Nothing of a header is ever logged: messages name files, not content.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian

from cycle_am.errors import UserError

Z_TOLERANCE_MM = 0.05  # headers repeat z to a micrometre; LIDC's closest slices lie 0.45 mm apart
TAGS = ["SeriesInstanceUID", "ImagePositionPatient", "InstanceNumber"]
HEAD = 8192  # bytes; SeriesInstanceUID stands within the first 2000 of LIDC's files
GDCM = "GDCMImageIO"  # SimpleITK's reader of DICOM
INVERTED = "MONOCHROME1"
AXIAL = 0.7  # of a slice's normal along the patient's axis: less than 45 degrees tilted
UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    EOFError,
    ArithmeticError,
    NotImplementedError,  # pydicom's, of types of elements that there are not
    struct.error,
    zlib.error,
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


def index_series(root: Path) -> dict[str, list[Path]]:
    """SeriesInstanceUID -> the folders that hold files of it, in the order of their paths.

    Any layout will do: every series of a folder is found, whatever its files are called. Raises UserError
    where `root` is absent or holds no DICOM file.
    """
    series: dict[str, list[Path]] = {}
    for folder in find_folders(root):
        for uid in _series_in(folder):
            series.setdefault(uid, []).append(folder)
    if not series:
        raise _nothing_below(root)
    return series


def find_folders(root: Path) -> list[Path]:
    """The folders below `root` that hold DICOM files, each once, whatever links lead to it.

    Raises UserError where `root` is absent or holds none.
    """
    if not root.is_dir():
        raise UserError(
            f"DICOM folder {root} is absent; set data.dicom_root to the folder with LIDC-IDRI's patients"
        )
    folders = [folder for folder, names in _walk(root) if any(may_be_dicom(folder / name) for name in names)]
    if not folders:
        raise _nothing_below(root)
    return folders


def _nothing_below(root: Path) -> UserError:
    return UserError(
        f"no DICOM series below {root}; set data.dicom_root to the folder with LIDC-IDRI's patients"
    )


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder and the names of its files, in order; links are followed, but no folder is entered twice."""
    seen: set[tuple[int, int]] = set()
    for folder, below, files in os.walk(root, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            below.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        below.sort()
        yield Path(folder), sorted(files)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder that may be DICOM, by name; those in folders below it do not count."""
    return sorted(path for path in folder.iterdir() if may_be_dicom(path) and path.is_file())


def may_be_dicom(path: Path) -> bool:
    """By its ending; a file with any other, or none, by the letters that stand at byte 128 of DICOM files."""
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR":  # left by a system; a list of files
        return False
    if path.suffix.lower() == ".dcm":
        return True
    return path.is_file() and _head(path, 132)[128:] == b"DICM"


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _series_in(folder: Path) -> list[str]:
    """UIDs of all series of which a folder holds files."""
    known: dict[str, tuple[bytes, bytes]] = {}
    for path in files_in(folder):
        head = _head(path, HEAD) if known else b""
        if not any(element in head for elements in known.values() for element in elements):
            known |= {uid: _as_stored(uid) for uid in _series_of(path)}
    return list(known)


def _series_of(path: Path) -> list[str]:
    try:
        return [read_tags(path, TAGS[:1]).SeriesInstanceUID.strip()]
    except UNREADABLE:
        return []


def _as_stored(uid: str) -> tuple[bytes, bytes]:
    """The element SeriesInstanceUID as files hold it, with and without its type: to find it takes a
    twentieth of the time that parsing a header takes."""
    value = uid.encode() + b"\0" * (len(uid) % 2)
    tag = b"\x20\x00\x0e\x00"
    return tag + b"UI" + struct.pack("<H", len(value)) + value, tag + struct.pack("<I", len(value)) + value


def read_tags(path: Path, tags: list[str]) -> pydicom.Dataset:
    """The named elements of a file's header. Raises one of UNREADABLE where it is damaged or no DICOM.

    What calls itself .dcm is read without the preamble too, as old files are; of no DICOM nothing comes out then.
    """
    forced = path.suffix.lower() == ".dcm"
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=forced)


def read_headers(folder: Path, series_uid: str) -> tuple[list[Header], list[str]]:
    """The slices of one series in a folder, and the names of the files that cannot be read.

    Files of other series in the same folder are passed over. The order is that of file names.
    """
    headers, unreadable = [], []
    for path in files_in(folder):
        try:
            tags = read_tags(path, TAGS)
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
    short counts, whatever could still be decoded), has another spacing, or is no axial slice (a scout).
    """
    try:
        image = load(path, GDCM)
    except RuntimeError as error:  # SimpleITK's message holds the full path and a C++ trace
        raise SliceError("unreadable file", f"{path.name} is damaged or cut short") from error
    if not np.allclose(image.GetSpacing()[:2], pixel_spacing, rtol=0.01):
        raise SliceError("other geometry", f"{path.name} has another pixel spacing than the annotations")
    if abs(image.GetDirection()[-1]) < AXIAL:
        raise SliceError("other geometry", f"{path.name} is no axial slice")
    return pixels(image)


def pixels(image: sitk.Image) -> np.ndarray:
    """float32 (rows, columns) of an image with one plane, as stored."""
    return sitk.GetArrayFromImage(image).astype(np.float32).reshape(image.GetSize()[1::-1])


def load(path: Path, image_io: str = "") -> sitk.Image:
    """A file by SimpleITK; of DICOM the stored values with their rescale: Hounsfield units of CT.

    MONOCHROME1 only says that a viewer shows low values bright (PS3.3, C.7.6.3.1.2). SimpleITK turns the values
    themselves round, and fails on some. A copy that says MONOCHROME2 is read instead. Raises RuntimeError where
    the file is damaged.
    """
    reader = _reader(path, image_io)
    if _interpretation(reader) != INVERTED:
        return reader.Execute()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.dcm"
        copy.write_bytes(path.read_bytes().replace(INVERTED.encode(), b"MONOCHROME2"))
        reader = _reader(copy, image_io)
        if _interpretation(reader) == INVERTED:  # a deflated header does not show its text
            _inflate(copy)
            reader = _reader(copy, image_io)
        return reader.Execute()


def _inflate(path: Path) -> None:
    """Write a deflated file without that, as MONOCHROME2. Raises RuntimeError where it is damaged."""
    try:
        data = pydicom.dcmread(path)
        data.PhotometricInterpretation = "MONOCHROME2"
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.save_as(path)
    except (*UNREADABLE, zlib.error) as error:
        raise RuntimeError(f"{INVERTED} in a compressed header") from error


def _reader(path: Path, image_io: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _interpretation(reader: sitk.ImageFileReader) -> str:
    key = "0028|0004"  # PhotometricInterpretation; only DICOM has it
    return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else ""
