"""What the header of an image says and SimpleITK does not: whether it gives a pixel size, and where its pixels lie."""

from __future__ import annotations

import glob
import gzip
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

HEAD = 1 << 20  # bytes; headers in text are shorter, lists of files included
PICTURES = (
    "BMPImageIO",
    "JPEGImageIO",
    "JPEG2000ImageIO",
    "PNGImageIO",
    "TIFFImageIO",
)  # dots per inch of print
PAIR = (".hdr", ".img", ".hdr.gz", ".img.gz")
UNREADABLE = (
    InvalidDicomError,
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    struct.error,
    zlib.error,
)


def states_spacing(path: Path, spacing: tuple[float, ...]) -> bool:
    """Whether `spacing`, mm per axis as SimpleITK gives it, stands in the file: it takes 1 mm where none does.

    path: a file, or the folder of a DICOM series. Sizes that are not those of the patient's pixels do not count: a
    detector's in DICOM, a picture's dots per inch, NRRD in other units than mm.
    """
    kind = "GDCMImageIO" if path.is_dir() else sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    if kind == "GDCMImageIO":
        return any(_dicom_states(file, spacing) for file in _files(path))
    ask = {"NiftiImageIO": _nifti_states, "MetaImageIO": _meta_states, "NrrdImageIO": _nrrd_states}.get(kind)
    return kind not in PICTURES and (ask is None or ask(path))


def data_files(path: Path) -> list[Path]:
    """The files beside a header that hold its pixels, as the `.raw` of an `.mhd`; none where it holds them itself."""
    name = path.name.lower()
    if name.endswith((".mhd", ".mha", ".nhdr", ".nrrd")):
        return [Path(found) for found in _named_files(path) if os.path.isfile(found)]
    ending = next((ending for ending in PAIR if name.endswith(ending)), None)
    if ending is None:
        return []
    stem = path.name[: -len(ending)].lower()
    twins = [f"{stem}{other}" for other in PAIR if other != ending]
    return [other for other in _files(path.parent) if other.name.lower() in twins]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _dicom_states(path: Path, spacing: tuple[float, ...]) -> bool:
    """Whether PixelSpacing, in the header or in its functional groups, is what SimpleITK took."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        measures = [header, *(group.PixelMeasuresSequence[0] for group in _groups(header))]
        stated = next(list(measure.PixelSpacing) for measure in measures if measure.get("PixelSpacing"))
    except (*UNREADABLE, StopIteration):
        return False
    return all(float(size) > 0 and np.isclose(float(size), spacing, rtol=0.01).any() for size in stated)


def _groups(header: pydicom.Dataset) -> list[pydicom.Dataset]:
    """The functional groups of a multi-frame file that hold a pixel size."""
    shared, frames = (
        header.get("SharedFunctionalGroupsSequence"),
        header.get("PerFrameFunctionalGroupsSequence"),
    )
    return [group for group in [*(shared or []), *(frames or [])][:2] if group.get("PixelMeasuresSequence")]


def _nifti_states(path: Path) -> bool:
    """Whether every axis longer than a pixel has a size, in NIfTI-1, NIfTI-2 or Analyze."""
    twin = [other for other in (path, *data_files(path)) if ".hdr" in other.name.lower()]
    head = _head(twin[0] if twin else path, 540)
    order = ">" if head[:4] in (struct.pack(">i", 348), struct.pack(">i", 540)) else "<"
    second = struct.unpack_from(f"{order}i", head)[0] == 540
    axes, *counts = struct.unpack_from(f"{order}{'8q' if second else '8h'}", head, 16 if second else 40)
    sizes = struct.unpack_from(f"{order}{'8d' if second else '8f'}", head, 104 if second else 76)[1:]
    return all(
        count <= 1 or 0 < abs(size) < np.inf
        for count, size in zip(counts[: min(axes, 3)], sizes, strict=False)
    )


def _meta_states(path: Path) -> bool:
    return re.search(r"^\s*Element(Spacing|Size)\s*=", _text(path), re.MULTILINE) is not None


def _nrrd_states(path: Path) -> bool:
    fields = dict(re.findall(r"^([a-z ]+): *(.*)$", _text(path).lower(), re.MULTILINE))
    sizes = fields.get("spacings", fields.get("space directions", "none"))
    units = re.findall(r'"([^"]*)"', fields.get("space units", "") + fields.get("units", ""))
    none = "nan" in sizes or not re.search("[0-9]", sizes)
    return not none and all(unit in ("", "mm", "millimeter", "millimeters") for unit in units)


def _named_files(path: Path) -> list[str]:
    """What `ElementDataFile` or `data file` names: one file, a pattern of several, or a list of them."""
    text = _text(path)
    named = re.search(
        r"^\s*(?:ElementDataFile\s*=|data ?file:)[ \t]*(\S.*)$", text, re.MULTILINE | re.IGNORECASE
    )
    if named is None or named[1].strip().lower() == "local":
        return []
    name = named[1].strip()
    if name.split()[0] == "LIST":
        return [
            os.path.join(path.parent, line.strip())
            for line in text[named.end() :].splitlines()
            if line.strip()
        ]
    if not re.search(r"%[0-9]*d", name):
        return [os.path.join(path.parent, name)]
    pattern = re.sub("%[0-9]*d", "*", glob.escape(name.split()[0]))
    return sorted(glob.glob(os.path.join(glob.escape(str(path.parent)), pattern)))


def _text(path: Path) -> str:
    """The header's text, without the pixels that may follow it."""
    text = _head(path, HEAD).decode("latin-1").replace("\r\n", "\n")
    if text.startswith("NRRD"):
        return text.split("\n\n")[0]
    ends = re.search(r"^\s*ElementDataFile\s*=\s*LOCAL.*$", text, re.MULTILINE | re.IGNORECASE)
    return text[: ends.end()] if ends else text


def _head(path: Path, size: int) -> bytes:
    with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
        return file.read(size)
