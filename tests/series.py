"""A writer of small CT series whose every pixel is known in closed form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from cycle_am.data.lidc.annotations import Scan

SLOPE, INTERCEPT = 0.5, -1024


def ramp(i, j, k: int):
    """Hounsfield units at (i, j) of slice k: linear, so bilinear interpolation must reproduce it exactly."""
    return -1000.0 + np.asarray(i) + np.asarray(j) + 14 * (k % 20)


@pytest.fixture(scope="session")
def closed_form() -> Callable:
    """(i, j, k) -> Hounsfield units of the written series, for any real (i, j)."""
    return ramp


@pytest.fixture(scope="session")
def write_slice() -> Callable[..., Path]:
    return _write_slice


def _write_slice(
    path: Path, scan: Scan, k: int, *, number: int = 1, z: float | None = None, **changes
) -> Path:
    """Slice k of a scan with the pixels of `ramp`; changes: DICOM keywords and their values."""
    stored = (ramp(*np.indices((512, 512)), k) - INTERCEPT) / SLOPE
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID = "CT", scan.patient_id
    data.StudyInstanceUID, data.SeriesInstanceUID = scan.study_uid, scan.series_uid
    data.InstanceNumber = number
    data.ImagePositionPatient = [-160.0, -160.0, scan.slice_zvals[k] if z is None else z]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [scan.pixel_spacing] * 2
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = 512, 512
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = SLOPE, INTERCEPT
    data.PixelData = stored.astype("<i2").tobytes()
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


@pytest.fixture(scope="session")
def write_ct() -> Callable[..., Path]:
    return _write_ct


def _write_ct(
    path: Path,
    stored: np.ndarray,
    *,
    z: float = 0.0,
    series: str = "1.2.3",
    signed: bool = False,
    bits_stored: int = 16,
    **changes,
) -> Path:
    """A slice with the given stored values, HU + 1024 unless changed, 0.8 x 0.7 mm, its first pixel at (0, 0, z).

    changes: DICOM keywords and their values; None leaves the element out.
    """
    bits = 8 * stored.dtype.itemsize
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = changes.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    elements = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": series,
        "SliceThickness": 2.5,
        "ImagePositionPatient": [0, 0, z],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.8, 0.7],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": bits,
        "BitsStored": min(bits, bits_stored),
        "HighBit": min(bits, bits_stored) - 1,
        "PixelRepresentation": int(signed),
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    for keyword, value in (elements | changes).items():
        if value is not None:
            setattr(data, keyword, value)
    data.PixelData = stored.astype(f"<{'iu'[not signed]}{bits // 8}").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path
