"""Whether a file states its pixel size, and the files beside a header that hold its pixels."""

import struct

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
)

from cycle_am.data.headers import data_files
from cycle_am.data.images import read_image
from cycle_am.data.lidc.annotations import Scan

PIXELS = np.random.default_rng(0).integers(-1000, 400, (3, 8, 6)).astype(np.int16)
SPACING = (0.8, 0.7)  # rows, columns


@pytest.fixture
def write(tmp_path):
    """Writes the volume under a name, 0.7 x 0.8 x 2.5 mm."""

    def write(name):
        image = sitk.GetImageFromArray(PIXELS)
        image.SetSpacing((0.7, 0.8, 2.5))
        sitk.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    return write


def without(path, *starts):
    """Drop the lines of a header in text that begin so."""
    head, *rest = path.read_bytes().split(b"\n\n", 1) if path.suffix == ".nrrd" else [path.read_bytes()]
    lines = [line for line in head.split(b"\n") if not line.startswith(tuple(one.encode() for one in starts))]
    path.write_bytes(b"\n\n".join([b"\n".join(lines), *rest]))
    return path


NAMES = ["a.mha", "a.mhd", "a.nrrd", "a.nhdr", "a.nii", "a.nii.gz", "a.hdr", "a.img"]


@pytest.mark.parametrize("name", NAMES)
def test_a_stated_pixel_size_is_taken(write, name):
    assert read_image(write(name)).spacing == pytest.approx(SPACING)


@pytest.mark.parametrize("name", ["a.mhd", "a.nrrd", "a.nhdr"])
def test_a_text_header_without_one_states_none(write, name):
    assert read_image(without(write(name), "ElementSpacing", "space directions", "space")).spacing is None


def test_other_ways_to_state_it(write):
    path = write("a.mhd")
    path.write_text(path.read_text().replace("ElementSpacing", "ElementSize"))
    assert read_image(path).spacing == pytest.approx(SPACING)
    path = without(write("a.nhdr"), "space")
    text = path.read_text()
    path.write_text(text.replace("endian", "spacings: 0.7 0.8 2.5\nendian"))
    assert read_image(path).spacing == pytest.approx(SPACING)
    for line in ("spacings: nan nan nan", 'spacings: 0.7 0.8 2.5\nunits: "m" "m" "m"'):
        path.write_text(text.replace("endian", f"{line}\nendian"))
        assert read_image(path).spacing is None


@pytest.mark.parametrize("name", ["a.nii", "a.hdr"])
@pytest.mark.parametrize("size", [0.0, float("nan")])
def test_nifti_without_a_size_states_none(write, name, size):
    path = write(name)
    head = bytearray(path.read_bytes())
    struct.pack_into("<3f", head, 80, size, size, 2.5)
    path.write_bytes(head)
    assert read_image(path).spacing is None


def test_pictures_state_none_whatever_their_dots_per_inch(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.tif", "a.bmp"):
        Image.fromarray(grey).save(tmp_path / name, dpi=(72, 72))
        assert read_image(tmp_path / name).spacing is None
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(tmp_path / "a.jp2"))
    assert read_image(tmp_path / "a.jp2").spacing is None


SCAN = Scan(1, "P", "1.2.3", "1.2.3.4", 2.5, 0.7, False, np.array([0.0, 2.5]), ())


def measured(spacing):
    """What states the pixel size of a multi-frame file."""
    measures, shared, own, place, axes = (Dataset() for _ in range(5))
    measures.PixelSpacing, measures.SliceThickness = spacing, 2.5
    place.ImagePositionPatient, axes.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [axes]
    own.PlanePositionSequence = [place]
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [own]}
    moved = dict.fromkeys(("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"))
    return {**moved, "NumberOfFrames": 1, **groups}


NOMINAL, DETECTOR = {"NominalScannedPixelSpacing": [0.5, 0.5]}, {"ImagerPixelSpacing": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("kind", "changes", "spacing"),
    [
        (CTImageStorage, {}, (0.7, 0.7)),
        (CTImageStorage, {"PixelSpacing": [0.8, 0.6]}, (0.8, 0.6)),
        (CTImageStorage, {"PixelSpacing": None}, None),
        (CTImageStorage, {"PixelSpacing": None, **DETECTOR}, None),
        (EnhancedCTImageStorage, measured([0.8, 0.6]), (0.8, 0.6)),
        (SecondaryCaptureImageStorage, {}, (0.7, 0.7)),
        (SecondaryCaptureImageStorage, {"PixelSpacing": None}, None),
        (SecondaryCaptureImageStorage, {"PixelSpacing": None, **NOMINAL}, None),
        (ComputedRadiographyImageStorage, {"PixelSpacing": None, **DETECTOR}, None),
    ],
)
def test_dicom_states_the_spacing_of_its_pixels_alone(tmp_path, write_slice, kind, changes, spacing):
    path = write_slice(tmp_path / "series" / "1.dcm", SCAN, 0, SOPClassUID=kind, **changes)
    written = pydicom.dcmread(path)
    written.file_meta.MediaStorageSOPClassUID = kind
    written.save_as(path)
    for given in (path, path.parent):
        assert read_image(given).spacing == (None if spacing is None else pytest.approx(spacing))


def test_a_detectors_spacing_does_not_go_before_that_of_the_pixels(tmp_path, write_slice):
    path = write_slice(tmp_path / "1.dcm", SCAN, 0, SOPClassUID=ComputedRadiographyImageStorage, **DETECTOR)
    written = pydicom.dcmread(path)
    written.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    written.save_as(path)
    assert sitk.ReadImage(str(path)).GetSpacing()[0] == 0.5
    assert read_image(path).spacing is None


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("a.mhd", ["a.raw"]),
        ("a.nhdr", ["a.raw"]),
        ("a.hdr", ["a.img"]),
        ("a.img", ["a.hdr"]),
        ("a.mha", []),
        ("a.nrrd", []),
        ("a.nii.gz", []),
    ],
)
def test_the_files_that_hold_the_pixels(write, name, others):
    assert [path.name for path in data_files(write(name))] == others


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("a.mhd", "ElementDataFile =", "LIST\ns1.raw\ns2.raw\ns3.raw\n"),
        ("a.mhd", "ElementDataFile =", "s%d.raw 1 3 1"),
        ("a.mhd", "ElementDataFile=", "LIST 2D\r\ns1.raw\r\ns2.raw\r\ns3.raw"),
        ("a.nhdr", "data file:", "LIST 2\ns1.raw\ns2.raw\ns3.raw\n"),
        ("a.nhdr", "datafile:", "s%d.raw 1 3 1 2"),
    ],
)
def test_lists_and_patterns_of_files(write, name, field, value):
    path = without(write(name), "ElementDataFile", "data file")
    for number, pixels in enumerate(PIXELS, 1):
        pixels.tofile(path.with_name(f"s{number}.raw"))
    path.write_text(f"{path.read_text().rstrip()}\n{field} {value}")
    assert [file.name for file in data_files(path)] == ["s1.raw", "s2.raw", "s3.raw"]
