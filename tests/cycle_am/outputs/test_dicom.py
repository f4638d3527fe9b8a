"""An explanation as DICOM, read back with pydicom and numpy alone: what is where, what it says, what it refers to."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import map_coordinates

from cycle_am.errors import UserError
from cycle_am.model.explanation import Explanation
from cycle_am.model.trust import Trust
from cycle_am.place import Place
from tests.cycle_am.small import images, small_model
from tests.helpers import ROOT, environment

pytest.importorskip("highdicom")
from cycle_am.outputs import dicom

NAME = "Doe^Jane"
TILTED = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.1, 1.0, 0.3], [0.1, -0.3, 1.0]]))[0].T
TILTED *= np.sign(np.diag(TILTED))[:, None]
SPACING, STEP, SHAPE = (0.8, 0.6), 2.0, (100, 120)
TASK_MM = 45 / 64


def hounsfield(points: np.ndarray) -> np.ndarray:
    """A pattern in the patient that is another one in every direction: (..., 3) mm -> HU."""
    return (
        -300 + 6 * points[..., 0] + 4 * points[..., 1] + 2 * points[..., 2] + 100 * np.sin(points[..., 0] / 5)
    )


def source(k: int, axes: np.ndarray = TILTED, **tags) -> FileDataset:
    """Slice k of a CT series that stores `hounsfield`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["slice", str(k)])
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = (
        generate_uid(entropy_srcs=[name]) for name in ("study", "series", "frame")
    )
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = NAME, "4711", "19500102", "F"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20200304", "101112", "S1", "A7"
    made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", 3, k + 1
    made.ReferringPhysicianName, made.ImageType = "", ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.PixelSpacing, made.SliceThickness = list(SPACING), 2.5
    made.ImagePositionPatient = [-30.0 + k * STEP * v for v in np.cross(*axes[:2])]
    made.ImageOrientationPatient = axes[:2].ravel().tolist()
    made.Rows, made.Columns, made.SamplesPerPixel = *SHAPE, 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 1
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.RescaleSlope, made.RescaleIntercept = 1, 0
    made.PixelData = hounsfield(world(made)).round().astype(np.int16).tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def world(image: Dataset) -> np.ndarray:
    """(rows, columns, 3) mm of every pixel, by the standard's formula (C.7.6.2.1.1)."""
    along_row, along_column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = np.mgrid[: image.Rows, : image.Columns][..., None]
    down, right = map(float, image.PixelSpacing)
    return (
        np.array(image.ImagePositionPatient, float) + rows * down * along_column + columns * right * along_row
    )


def values_at(image: Dataset, points: np.ndarray) -> np.ndarray:
    """The source's Hounsfield units at points (..., 3) of its plane."""
    along_row, along_column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    offset = points - np.array(image.ImagePositionPatient, float)
    down, right = map(float, image.PixelSpacing)
    stored = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
    return map_coordinates(stored, [offset @ along_column / down, offset @ along_row / right], order=1)


def map_world(made: Dataset) -> np.ndarray:
    """As `world`, of the parametric map's one frame."""
    shared, (frame,) = made.SharedFunctionalGroupsSequence[0], made.PerFrameFunctionalGroupsSequence
    plane = Dataset()
    plane.Rows, plane.Columns = made.Rows, made.Columns
    places = frame if "PlanePositionSequence" in frame else shared
    plane.ImagePositionPatient = places.PlanePositionSequence[0].ImagePositionPatient
    plane.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    plane.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    return world(plane)


def explained(window: np.ndarray, place: Place, trust: tuple = ()) -> Explanation:
    """Whose R is the window itself, so that what R is written to can be compared to the source."""
    one = small_model(facts={"name": "tiny"}).explain(window)
    return replace(one, x_neg=np.zeros_like(one.x), x_pos=one.x, place=(place,), trust=trust)


def window_of(image: Dataset, centre: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(64, 64) in [0, 1]: the source around `centre`, `down` and `right` (3,) mm apart."""
    steps = np.arange(64) - 31.5
    points = centre + steps[:, None, None] * down + steps[None, :, None] * right
    return np.clip((values_at(image, points) + 1000) / 1400, 0, 1).astype(np.float32)


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Four files, that of the lesion's slice first."""
    paths = []
    for k in (2, 0, 1, 3):
        paths.append(tmp_path / f"{k}.dcm")
        source(k).save_as(paths[-1], enforce_file_format=True)
    return paths


def lesion(path: Path, turned: bool = False, trust: tuple = ()) -> Explanation:
    """Of the file's middle; `turned`: with rows counted up the other way, as other readers do."""
    image = pydicom.dcmread(path)
    right, down = TASK_MM * np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    down, right = (-right, down) if turned else (down, right)
    centre = world(image)[52, 61]
    place = Place("lesion 3", "", *(tuple(v.tolist()) for v in (centre, down, right)))
    return explained(window_of(image, centre, down, right), place, trust)


@pytest.mark.parametrize("turned", [False, True])
def test_the_maps_pixels_lie_where_the_source_has_them(series, tmp_path, turned):
    dicom.write(tmp_path / "out", lesion(series[0], turned), series)
    made = pydicom.dcmread(tmp_path / "out" / dicom.MAP)
    points = map_world(made)
    np.testing.assert_allclose(
        made.pixel_array, (values_at(pydicom.dcmread(series[0]), points) + 1000) / 1400, atol=1e-5
    )
    assert made.pixel_array.dtype == np.float32
    assert made.FrameOfReferenceUID == source(0).FrameOfReferenceUID
    assert made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 2.5


def test_a_negative_r_is_kept(series, tmp_path):
    one = lesion(series[0])
    dicom.write(tmp_path / "out", replace(one, x_neg=one.x, x_pos=np.zeros_like(one.x)), series)
    made = pydicom.dcmread(tmp_path / "out" / dicom.MAP)
    np.testing.assert_array_equal(made.pixel_array, -one.x[0])


def test_all_refer_to_the_lesions_slice_and_carry_the_patient(series, tmp_path):
    paths = dicom.write(tmp_path / "out", lesion(series[0]), series)
    objects = {path.name: pydicom.dcmread(path) for path in paths}
    wanted = source(2)
    assert set(objects) == {dicom.CAPTURE, dicom.MAP, dicom.REPORT}
    for made in objects.values():
        assert (made.PatientName, made.PatientID, made.StudyInstanceUID) == (
            NAME,
            "4711",
            wanted.StudyInstanceUID,
        )
        assert made.SeriesInstanceUID != wanted.SeriesInstanceUID
    (of_capture,) = objects[dicom.CAPTURE].SourceImageSequence
    (of_map,) = objects[dicom.MAP].ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert of_capture.ReferencedSOPInstanceUID == of_map.ReferencedSOPInstanceUID == wanted.SOPInstanceUID
    evidence = {
        item.ReferencedSOPInstanceUID
        for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in objects[dicom.REPORT].get(name, [])
        for one in study.ReferencedSeriesSequence
        for item in one.ReferencedSOPSequence
    }
    assert evidence == {source(k).SOPInstanceUID for k in range(4)}
    assert len({made.SeriesInstanceUID for made in objects.values()}) == 3


def items(content: Dataset) -> list[Dataset]:
    """All items of a structured report's tree."""
    inner = content.get("ContentSequence", [])
    return [item for one in inner for item in (one, *items(one))]


def test_the_reports_figures_are_the_explanations(series, tmp_path):
    trust = Trust("doubtful", ("the judge disagrees",), {"unlike": 1.25, "shift": 0.5})
    one = lesion(series[0], trust=(trust,))
    dicom.write(tmp_path / "out", one, series)
    report = items(pydicom.dcmread(tmp_path / "out" / dicom.REPORT))
    figures = {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
        for item in report
        if item.ValueType == "NUM"
    }
    expected = {"Trust: unlike": 1.25, "Trust: shift": 0.5}
    for by, p in (("explained classifier", one.explained), ("judge", one.judge)):
        expected |= dict(zip((f"p(malignant) of {i}, {by}" for i in ("x", "G-(x)", "G+(x)")), p, strict=True))
    if np.isfinite(one.distance()[0]):
        expected["Distance to the decision"] = one.distance()[0]
    assert figures == pytest.approx(
        {name: float(np.squeeze(value)) for name, value in expected.items()}, abs=1e-6
    )
    words = {
        (item.ConceptNameCodeSequence[0].CodeMeaning, item.ConceptCodeSequence[0].CodeMeaning)
        for item in report
        if item.ValueType == "CODE"
    }
    assert {("Trust", "doubtful"), ("Reason", "the judge disagrees")} <= words
    points = [item.GraphicData for item in report if item.ValueType == "SCOORD3D"]
    np.testing.assert_allclose(points, [one.place[0].centre_mm] * len(figures), atol=1e-4)
    referenced = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in report if item.ValueType == "IMAGE"
    }
    assert referenced == {source(2).SOPInstanceUID}


def test_the_capture_shows_the_window_and_r_in_its_colour(series, tmp_path):
    one = lesion(series[0])
    dicom.write(tmp_path / "out", one, series)
    made = pydicom.dcmread(tmp_path / "out" / dicom.CAPTURE)
    pixels = made.pixel_array[dicom.BANNER :: dicom.ZOOM, :: dicom.ZOOM].astype(int)
    assert made.PhotometricInterpretation == "RGB"
    np.testing.assert_allclose(pixels[:, :64, 0], one.x[0] * 255, atol=0.51)
    assert (pixels[:, 64:, 0] > pixels[:, 64:, 2])[one.relevance[0] > 0.1].all()  # red where R is positive
    assert list(made.PatientOrientation) == ["L", "P"]
    assert made.pixel_array[: dicom.BANNER].max() == 255  # the words


def test_the_same_explanation_gives_the_same_uids_and_another_one_others(series, tmp_path):
    one = lesion(series[0])
    other = replace(one, x_pos=one.x_pos * 0.9)
    written = [dicom.write(tmp_path / str(k), e, series) for k, e in enumerate((one, one, other))]
    first, again, changed = ([pydicom.dcmread(p).SOPInstanceUID for p in paths] for paths in written)
    assert first == again
    assert not set(first) & set(changed)


def test_a_frame_of_an_enhanced_image_is_referred_to(tmp_path):
    made = source(0)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    frames = [source(k) for k in range(3)]
    made.PixelData, made.NumberOfFrames = b"".join(f.PixelData for f in frames), 3
    made.PerFrameFunctionalGroupsSequence = [
        nested(PlanePositionSequence={"ImagePositionPatient": f.ImagePositionPatient}) for f in frames
    ]
    made.SharedFunctionalGroupsSequence = [
        nested(
            PlaneOrientationSequence={"ImageOrientationPatient": made.ImageOrientationPatient},
            PixelMeasuresSequence={"PixelSpacing": list(SPACING), "SliceThickness": 1.5},
        )
    ]
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(made, name)
    made.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    frames[1].save_as(tmp_path / "alone.dcm", enforce_file_format=True)
    one = lesion(tmp_path / "alone.dcm")
    dicom.write(tmp_path / "out", one, [tmp_path / "enhanced.dcm"])
    capture, relevance = (pydicom.dcmread(tmp_path / "out" / n) for n in (dicom.CAPTURE, dicom.MAP))
    assert capture.SourceImageSequence[0].ReferencedFrameNumber == 2
    np.testing.assert_allclose(
        relevance.pixel_array, (values_at(frames[1], map_world(relevance)) + 1000) / 1400, atol=1e-5
    )


def nested(**sequences) -> Dataset:
    """A functional group."""
    group = Dataset()
    for name, values in sequences.items():
        inner = Dataset()
        for tag, value in values.items():
            setattr(inner, tag, value)
        setattr(group, name, [inner])
    return group


@pytest.mark.parametrize("tag", ["FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID"])
def test_a_source_that_lacks_what_dicom_needs_is_refused_in_one_line(series, tmp_path, tag):
    one, image = lesion(series[0]), source(2)
    delattr(image, tag)
    image.save_as(series[0], enforce_file_format=False)
    with pytest.raises(UserError) as error:
        dicom.write(tmp_path / "out", one, series)
    assert tag in str(error.value)
    assert "\n" not in str(error.value)
    assert NAME not in str(error.value)


@pytest.mark.parametrize(
    "tag", ["PatientName", "PatientBirthDate", "StudyID", "SliceThickness", "AccessionNumber"]
)
def test_a_source_that_lacks_what_dicom_can_do_without_is_taken(series, tmp_path, tag):
    one, image = lesion(series[0]), source(2)
    delattr(image, tag)
    image.save_as(series[0], enforce_file_format=True)
    assert len(dicom.write(tmp_path / "out", one, series)) == 3
    measures = (
        pydicom.dcmread(tmp_path / "out" / dicom.MAP).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    )
    assert measures[0].get("SliceThickness") == (None if tag == "SliceThickness" else 2.5)


@pytest.mark.parametrize(
    ("tag", "value"),
    [("PatientBirthDate", "19501"), ("PatientSex", "W"), ("StudyTime", "99"), ("PatientName", "Doe" * 30)],
)
def test_what_is_wrong_in_a_header_is_never_shown(series, tmp_path, tag, value, monkeypatch, recwarn):
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    source(2, **{tag: value}).save_as(series[0], enforce_file_format=True)
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", None)
    one = lesion(series[0])
    recwarn.clear()
    paths = dicom.write(tmp_path / "out", one, series)
    told = [str(warning.message) for warning in recwarn]
    assert not any(value in text for text in told)
    if tag != "PatientName":
        assert any(f"leaves {tag} empty" in text for text in told)
        assert not any(pydicom.dcmread(path).get(tag) for path in paths)


def test_a_name_in_another_script_stays_what_it_is(series, tmp_path):
    name = "Kim^Heejung=김^희중"
    source(2, SpecificCharacterSet="ISO_IR 192", PatientName=name).save_as(
        series[0], enforce_file_format=True
    )
    paths = dicom.write(tmp_path / "out", lesion(series[0]), series)
    assert [str(pydicom.dcmread(path).PatientName) for path in paths] == [name] * 3


def test_without_a_place_or_of_several_lesions_it_is_refused(series, tmp_path):
    model = small_model()
    for one in (model.explain(images(1)), model.explain(images(2))):
        with pytest.raises(UserError):
            dicom.write(tmp_path / "out", one, series)
    assert not (tmp_path / "out").exists()


def test_without_highdicom_one_line_says_what_to_install():
    code = (
        "import sys; sys.modules['highdicom'] = None\n"
        "from cycle_am.errors import UserError\n"
        "try: import cycle_am.outputs.dicom\nexcept UserError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "DICOM output needs highdicom; install it: pip install 'cycle-am[dicom]'"


def test_on_the_real_series(real_data, tmp_path):
    files = sorted((real_data / "lidc_dicom").rglob("*.dcm"))
    if not files:
        pytest.skip("the real series is absent")
    image = pydicom.dcmread(files[70])
    down, right = np.array([0, TASK_MM, 0]), np.array([TASK_MM, 0, 0])
    centre = world(image)[317, 364]
    place = Place("1", "", *(tuple(map(float, v)) for v in (centre, down, right)))
    dicom.write(tmp_path, explained(window_of(image, centre, down, right), place), [files[70], *files])
    made = pydicom.dcmread(tmp_path / dicom.MAP)
    there = np.clip((values_at(image, map_world(made)) + 1000) / 1400, 0, 1)
    np.testing.assert_allclose(made.pixel_array, there, atol=1e-5)
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
