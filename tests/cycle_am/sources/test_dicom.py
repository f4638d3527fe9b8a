"""Hostile DICOM: the right window or one clear line, never a wrong picture."""

from __future__ import annotations

import shutil
import warnings
from io import BytesIO
from re import search

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.cycle_am.sources.conftest import SECRETS, STEP


def sources_of(folder):
    return sorted(folder.rglob("*.dcm"))


@pytest.fixture
def said(windows):
    """What is said when a source is read; nobody is named."""

    def heard(source, **where):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            windows(source, **where)
        lines = [str(one.message) for one in caught]
        assert not [secret for secret in SECRETS if secret in " ".join(lines)]
        return lines

    return heard


@pytest.fixture
def series(tmp_path, write_series):
    return write_series(tmp_path / "scan")


def rewrite(path, syntax):
    """The file in another transfer syntax."""
    data = pydicom.dcmread(path)
    if syntax in (ExplicitVRBigEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        pydicom.dcmwrite(path, data, implicit_vr=implicit, little_endian=little, force_encoding=True)
        return
    options = {"j2k_cr": [4]} if syntax == JPEG2000 else {}
    data.compress(syntax, generate_instance_uid=False, **options)
    data.save_as(path)


@pytest.mark.parametrize(
    "syntax",
    [
        RLELossless,
        JPEG2000Lossless,
        JPEG2000,
        JPEGLSLossless,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ImplicitVRLittleEndian,
    ],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_transfer_syntaxes(tmp_path, write_series, windows, ball, syntax, interpretation, check_ball):
    folder = write_series(tmp_path / "scan", PhotometricInterpretation=interpretation)
    (plain,) = windows(folder, at=ball.centre)
    check_ball(plain)
    for path in sources_of(folder):
        rewrite(path, syntax)
    (window,) = windows(folder, at=ball.centre)
    np.testing.assert_allclose(window.image, plain.image, atol=0.03 if syntax == JPEG2000 else 1e-6)


@pytest.mark.parametrize("interpretation", ["MONOCHROME2", "MONOCHROME1"])
def test_jpeg_with_losses(tmp_path, write_series, windows, ball, interpretation):
    """Eight bits in JPEG's baseline process, as Pillow writes it."""
    folder = write_series(tmp_path / "scan", PhotometricInterpretation=interpretation)
    (plain,) = windows(folder, at=ball.centre)
    for path in sources_of(folder):
        data = pydicom.dcmread(path)
        eight = np.clip(np.round(data.pixel_array / 8.0), 0, 255).astype(np.uint8)
        stream = BytesIO()
        Image.fromarray(eight).save(stream, "JPEG", quality=95)
        data.PixelData = encapsulate([stream.getvalue()])
        data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit = 7
        data.RescaleSlope = 8 * data.RescaleSlope
        data["PixelData"].VR = "OB"
        data.save_as(path)
    (window,) = windows(folder, at=ball.centre)
    assert window.place.slice == plain.place.slice
    np.testing.assert_allclose(window.image, plain.image, atol=0.05)
    assert np.abs(window.image - plain.image).mean() < 0.01


@pytest.mark.parametrize("share", [0.98, 0.5, 0.1])
def test_a_slice_cut_short_is_no_slice(series, ball, failure, share):
    (path,) = [p for p in sources_of(series) if pydicom.dcmread(p).ImagePositionPatient[2] == ball.centre[2]]
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "slice" in failure(series, at=ball.centre).reason
    assert "damaged" in failure(path, at=ball.centre).reason or "read" in failure(path, at=ball.centre).reason


def test_the_other_slices_of_a_damaged_series_are_there(series, ball, windows, check_ball, said):
    sources_of(series)[0].write_bytes(b"no DICOM at all" * 100)
    (window,) = windows(series, at=ball.centre)
    check_ball(window)
    assert any("1 files cannot be read" in line for line in said(series, at=ball.centre))


@pytest.mark.parametrize(
    "content", [b"", b"text" * 200, b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 500]
)
def test_what_is_no_dicom_at_all(tmp_path, failure, content):
    path = tmp_path / "Scan.dcm"
    path.write_bytes(content)
    assert "can be read" in failure(path, at=(0, 0, 0)).reason


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ("PixelSpacing", "pixel size|where it lies"),
        ("ImagePositionPatient", "do not say where they lie"),
        ("ImageOrientationPatient", "do not say where they lie"),
        ("RescaleIntercept", "no value below 0|Hounsfield"),
        ("Rows", "no DICOM image"),
    ],
)
def test_missing_elements(tmp_path, write_series, failure, ball, element, message):
    folder = write_series(tmp_path / "scan", **{element: None})
    assert search(message, failure(folder, at=ball.centre).reason)


@pytest.mark.parametrize(
    "element", ["Modality", "SliceThickness", "ImageType", "PatientName", "InstanceNumber"]
)
def test_elements_that_are_not_needed(tmp_path, write_series, windows, ball, check_ball, element):
    folder = write_series(tmp_path / "scan", **{element: None})
    (window,) = windows(folder, at=ball.centre)
    check_ball(window)


def test_a_single_slice_without_a_place_has_voxels(tmp_path, write_series, windows, failure, ball):
    folder = write_series(tmp_path / "scan", ImagePositionPatient=None, count=1)
    assert "voxel" in failure(folder, at=ball.centre).reason
    (window,) = windows(folder, voxel=(51, 54, 0))
    assert window.place.centre_mm is None
    assert window.image[32, 32] > 0.7


def test_one_slice_of_another_orientation(series, write_series, failure, windows, ball, check_ball):
    """Its series has two stacks: which one is meant is asked for, and can be said."""
    write_series(series / "more", (-1, 0, 0), (0, -1, 0), count=1, heights=[ball.centre[2] + 30])
    reason = failure(series, at=ball.centre).reason
    assert "2 CT stacks (1: 9 slices of 100 x 110, 2.5 mm; 2: 1 slices of 100 x 110" in reason
    assert "--series 1" in reason
    (window,) = windows(series, at=ball.centre, series=1)
    check_ball(window)
    assert "no series 3" in failure(series, at=ball.centre, series=3).reason


def test_several_series(series, write_series, failure, windows, ball):
    write_series(series / "thin", series="1.2.3.4.5.7", count=3, heights=ball.centre[2] + np.arange(-1.0, 2))
    assert "2 CT stacks (1: 9 slices of 100 x 110, 2.5 mm; 2: 3 slices of 100 x 110, 1 mm)" in (
        failure(series, at=ball.centre).reason
    )
    assert [len(windows(series, at=ball.centre, series=n)[0].series.series) for n in (1, 2)] == [9, 3]


def test_a_localizer_and_other_modalities_are_left_out(series, write_series, windows, ball, check_ball, said):
    write_series(
        series / "scout", series="1.2.3.4.5.8", count=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    write_series(series / "pet", series="1.2.3.4.5.9", Modality="PT")
    (window,) = windows(series, at=ball.centre)
    check_ball(window)
    assert len(window.series.series) == 9
    assert "10 files are no slices of the CT stack and left out" in said(series, at=ball.centre)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Modality": "MR"}, "holds MR and no CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer and no slices"),
    ],
)
def test_what_is_no_ct_is_refused(tmp_path, write_series, failure, ball, changes, message):
    assert message in failure(write_series(tmp_path / "scan", **changes), at=ball.centre).reason


def test_uneven_distances(tmp_path, write_series, windows, failure, ball, check_ball):
    """Thin slices below, thick ones above: each by its own place."""
    z = ball.centre[2]
    folder = write_series(
        tmp_path / "scan", heights=[z - 12, z - 11, z - 10, z - 9, z - 8, z - 7, z, z + 5, z + 10]
    )
    (window,) = windows(folder, at=ball.centre)
    check_ball(window)
    assert "no slice of it lies at" in failure(folder, at=(0, 0, z + 2.4)).reason  # 2.5 mm thick
    (window,) = windows(folder, at=(12, -20, z + 1.2))
    assert window.place.centre_mm[2] == z


def test_a_missing_slice_is_not_made_up_for(series, failure, windows, ball, said):
    (path,) = [p for p in sources_of(series) if pydicom.dcmread(p).ImagePositionPatient[2] == ball.centre[2]]
    path.unlink()
    assert "no slice of it lies at (12, -20, 31) mm" in failure(series, at=ball.centre).reason
    lines = said(series, at=(12, -20, ball.centre[2] + STEP))
    assert any("missing in 1 places, first after slice 3" in line for line in lines)


def test_the_neighbours_of_a_damaged_slice_do_not_stand_in(tmp_path, write_series, failure, ball):
    """Two slices are left, whose distance is all that is known of their step; they are not so thick."""
    folder = write_series(tmp_path / "scan", count=3)
    sources_of(folder)[1].write_bytes(b"damaged")
    assert "no slice of it lies at" in failure(folder, at=ball.centre).reason


def test_header_elements_of_no_type(series, failure, windows, ball, check_ball):
    """pydicom does not know what to do, and says so with an error of its own."""
    path = sources_of(series)[0].rename(series / "slice.dcm")
    path.write_bytes(path.read_bytes().replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x32\x00\x44\x38"))
    (window,) = windows(series, at=ball.centre)
    check_ball(window)
    assert "no DICOM image of it can be read" in failure(path, at=ball.centre).reason


def test_copies_count_once_and_others_at_one_place_are_refused(series, windows, failure, ball, check_ball):
    for path in sources_of(series):
        shutil.copy(path, path.with_name(f"copy{path.name}"))
    (window,) = windows(series, at=ball.centre)
    check_ball(window)
    for path in sources_of(series)[:9]:
        data = pydicom.dcmread(path)
        data.RescaleIntercept = -1000
        data.save_as(path)
    reason = failure(series, at=ball.centre).reason
    assert "two different slices at one place (slice 4" in reason


def test_a_coronal_series_is_cut_across(tmp_path, write_series, windows, ball):
    """Slices from back to front; the window is axial."""
    from tests.cycle_am.sources.conftest import _write_ct, grid

    for k in range(80):
        origin = np.array([ball.centre[0] - 40, ball.centre[1] - 41 + k, ball.centre[2] + 43.0])
        pixels = ball.planes(grid(origin, (1, 0, 0), (0, 0, -1), (85, 85), (1.0, 1.0)))
        _write_ct(
            tmp_path / f"{k}.dcm",
            (pixels.astype(np.int32) + 1024).astype(np.uint16),
            ImagePositionPatient=origin.tolist(),
            ImageOrientationPatient=[1, 0, 0, 0, 0, -1],
            PixelSpacing=[1.0, 1.0],
        )
    (window,) = windows(tmp_path, at=ball.centre)
    np.testing.assert_allclose(window.place.centre_mm, ball.centre, atol=0.5)
    np.testing.assert_allclose(window.place.row_mm, (0, 45 / 64, 0), atol=1e-6)
    assert window.image[31:33, 31:33].min() > 0.7


def of(**elements):
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


@pytest.fixture
def enhanced(tmp_path, ball, write_series):
    """An enhanced multi-frame file, frames in the given order of places."""

    def write(heights, intercepts=None):
        shutil.rmtree(tmp_path / "single", ignore_errors=True)
        files = sources_of(write_series(tmp_path / "single", heights=heights, order=1))
        slices = sorted((pydicom.dcmread(path) for path in files), key=lambda one: one.InstanceNumber)
        data = slices[0]
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        data.NumberOfFrames = len(slices)
        shared = of(
            PlaneOrientationSequence=[of(ImageOrientationPatient=data.ImageOrientationPatient)],
            PixelMeasuresSequence=[of(PixelSpacing=data.PixelSpacing, SliceThickness=STEP)],
        )
        scales = [
            {
                "PixelValueTransformationSequence": [
                    of(RescaleSlope=1, RescaleIntercept=value, RescaleType="HU")
                ]
            }
            for value in intercepts or [-1024] * len(slices)
        ]
        data.SharedFunctionalGroupsSequence = [shared]
        data.PerFrameFunctionalGroupsSequence = [
            of(PlanePositionSequence=[of(ImagePositionPatient=one.ImagePositionPatient)], **scale)
            for one, scale in zip(slices, scales, strict=True)
        ]
        data.PixelData = b"".join(one.PixelData for one in slices)
        for keyword in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "RescaleSlope",
            "RescaleIntercept",
        ):
            delattr(data, keyword)
        path = tmp_path / "enhanced.dcm"
        data.save_as(path)
        return path

    return write


@pytest.mark.parametrize(
    "steps", [[-2, -1, 0, 1, 2], [2, 1, 0, -1, -2], [1, -2, 0, 2, -1], [-4, -3, 0, 1, 5]]
)
def test_enhanced_multi_frame(enhanced, ball, windows, check_ball, steps):
    path = enhanced(ball.centre[2] + STEP * np.array(steps))
    (window,) = windows(path, at=ball.centre)
    check_ball(window)
    assert window.series.frame == steps.index(0)
    assert window.place.slice == sorted(steps).index(0)
    (same,) = windows(path.parent / "enhanced.dcm", voxel=(51, 54, sorted(steps).index(0)))
    assert same.place.centre_mm[2] == ball.centre[2]


def test_enhanced_frames_that_make_no_stack(enhanced, ball, failure):
    z = ball.centre[2]
    assert "several frames at one place" in failure(enhanced([z, z, z + 1]), at=ball.centre).reason
    path = enhanced([z, z + 1], intercepts=[-1024, -1000])
    assert "scaled to Hounsfield units in different ways" in failure(path, at=ball.centre).reason


def test_frames_without_places(tmp_path, enhanced, ball, failure):
    path = enhanced([ball.centre[2]] * 2)
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence
    data.save_as(path)
    assert "frames do not say where they lie" in failure(path, at=ball.centre).reason


def test_nothing_is_printed(series, windows, ball, capfd):
    """Readers in C++ print files and values of headers as they please."""
    for path in sources_of(series)[:4]:
        data = pydicom.dcmread(path)
        data.StudyDate = "19991231 Secret"
        data.save_as(path)
    windows(series, at=ball.centre)
    assert capfd.readouterr() == ("", "")
