"""Stacks of DICOM slices: order, copies, scouts, gaps, tilt, and what cannot be one stack."""

import warnings

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from cycle_am.data.dicom import files_in
from cycle_am.data.images import read_image
from cycle_am.data.series import find, only
from cycle_am.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*(left out|slices are missing)")  # looked at by `said`
SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}
CORONAL = [1, 0, 0, 0, 0, -1]


@pytest.fixture
def volume():
    """(slices, rows, columns) int16 in HU, all different."""
    return np.random.default_rng(3).integers(-1000, 400, (11, 12, 12)).astype(np.int16)


@pytest.fixture
def folder(tmp_path, volume, write_ct):
    """Eleven slices, 2.5 mm apart from z = -5, with names that run against z."""
    for k in range(11):
        write_ct(tmp_path / f"{50 - k}.dcm", volume[k] + 1024, z=2.5 * k - 5)
    return tmp_path


def stacks(folder):
    return find(files_in(folder))[0]


def said(folder):
    """What is said when the folder is read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        only(folder)
    assert all("\n" not in str(warning.message) for warning in caught)
    return " / ".join(str(warning.message) for warning in caught)


def refused(folder, message, index=None):
    with pytest.raises(UserError, match=message) as caught:
        read_image(folder, index)
    assert "\n" not in str(caught.value)


def test_slices_count_feet_up_with_their_places_and_pixels(folder, volume):
    (series,) = stacks(folder)
    assert [path.name for path in series.files] == [f"{50 - k}.dcm" for k in range(11)]
    assert (series.uid, series.spacing, series.step, series.gaps) == ("1.2.3", (0.8, 0.7), 2.5, [])
    np.testing.assert_array_equal(series.orientation, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(series.normal, [0, 0, 1])
    np.testing.assert_allclose(series.heights, 2.5 * np.arange(11) - 5)
    assert series.axial
    for k in (0, 4, 10):
        assert series.position(k).tolist() == [0, 0, 2.5 * k - 5]
        assert series.read(k).dtype == np.float32
        np.testing.assert_array_equal(series.read(k), volume[k])
        np.testing.assert_array_equal(read_image(folder, k).pixels, volume[k])
    assert said(folder) == ""


def test_only_the_slice_that_is_asked_for_is_decoded(folder, monkeypatch):
    from cycle_am.data import series as module

    read, load = [], module.load
    monkeypatch.setattr(module, "load", lambda path, *kind: read.append(path.name) or load(path, *kind))
    read_image(folder, 3)
    assert read == ["47.dcm"]


def test_a_position_belongs_to_the_slice_within_half_a_step(folder):
    (series,) = stacks(folder)
    assert [series.nearest((3, 4, z)) for z in (-5, -6.2, 0.1, 1.2, 1.3, 20)] == [0, 0, 2, 2, 3, 10]
    assert [series.nearest((3, 4, z)) for z in (-6.4, 21.4, 300)] == [None] * 3
    (folder / "48.dcm").unlink()  # slice 2, z = 0
    (series,) = stacks(folder)
    assert series.nearest((0, 0, 0.0)) is None
    assert series.nearest((0, 0, 2.4)) == 2


def test_doubled_slices_count_once(folder, volume, write_ct):
    for k in range(11):
        write_ct(folder / f"copy{k}.dcm", volume[k] + 1024, z=2.5 * k - 5)
    np.testing.assert_array_equal(read_image(folder).pixels, volume[5])
    for k in (0, 7, 10):
        np.testing.assert_array_equal(read_image(folder, k).pixels, volume[k])
    refused(folder, "no slice 11; its slices are 0 to 10", 11)


@pytest.mark.parametrize("change", [{"RescaleIntercept": -1000}, {"ImagePositionPatient": [3, 0, 0]}, {}])
def test_two_different_slices_at_one_place_are_refused(folder, volume, write_ct, change):
    """Other values, another place in the plane, other pixels."""
    write_ct(folder / "other.dcm", volume[2 if change else 3] + 1024, z=0.0, **change)
    refused(folder, r"two different slices at one place \(48.dcm, other.dcm\); leave one", 2)
    np.testing.assert_array_equal(read_image(folder, 3).pixels, volume[3])  # the others are not in doubt


@pytest.mark.parametrize("series", ["1.2.3", "1.2.9"])
@pytest.mark.parametrize("flag", [["ORIGINAL", "PRIMARY", "LOCALIZER"], ["ORIGINAL", "PRIMARY"]])
def test_a_scout_is_left_out_with_a_word(folder, volume, write_ct, series, flag):
    write_ct(folder / "00.dcm", volume[0] + 1024, series=series, **{**SCOUT, "ImageType": flag})
    assert "00.dcm left out" in said(folder)
    plane = read_image(folder)
    np.testing.assert_array_equal(plane.pixels, volume[5])
    assert plane.spacing == (0.8, 0.7)


def test_a_scout_of_the_slices_own_geometry_is_known_by_its_type(folder, volume, write_ct):
    write_ct(folder / "00.dcm", volume[0] + 1024, z=-20, ImageType=SCOUT["ImageType"])
    assert said(folder) == f"{folder}: 00.dcm left out: no slices of the axial stack"
    np.testing.assert_array_equal(read_image(folder, 0).pixels, volume[0])


def test_slices_of_other_size_spacing_or_tilt_are_refused(folder, volume, write_ct):
    for change in (
        {"Rows": 6, "Columns": 24},
        {"PixelSpacing": [0.9, 0.9]},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0.98, 0.199]},
    ):
        write_ct(folder / "x.dcm", volume[0] + 1024, z=40.0, **change)
        refused(folder, r"differ in size, pixel spacing or orientation \(11 as 50.dcm, 1 as x.dcm\)")
        assert len(stacks(folder)) == 2


def test_a_gap_is_said_and_slices_count_on(folder, volume):
    (folder / "46.dcm").unlink()  # slice 4
    assert "2.5 mm apart, but 5 mm between slices 3 and 4; slice counts those that are there" in said(folder)
    np.testing.assert_array_equal(read_image(folder, 4).pixels, volume[5])
    (folder / "43.dcm").unlink()
    assert "and 1 more gaps" in said(folder)


def test_tilted_gantry(tmp_path, volume, write_ct):
    """The table moves along z while the slices are tilted: places shift within the plane, and nothing is amiss."""
    cosines = [1, 0, 0, 0, np.cos(0.3), -np.sin(0.3)]
    for k in range(11):
        write_ct(
            tmp_path / f"{k}.dcm",
            volume[k] + 1024,
            ImagePositionPatient=[0, 7, 2.5 * k],
            ImageOrientationPatient=[round(c, 6) for c in cosines],
        )
    (series,) = stacks(tmp_path)
    assert series.axial
    assert series.step == pytest.approx(2.5 * np.cos(0.3), abs=1e-4)
    assert said(tmp_path) == ""
    np.testing.assert_array_equal(read_image(tmp_path, 7).pixels, volume[7])
    point = np.array([5 * 0.7, 7 + 3 * 0.8 * np.cos(0.3), 17.5 - 3 * 0.8 * np.sin(0.3)])  # row 3, column 5
    plane = read_image(tmp_path, point_mm=point)
    assert plane.index == 7
    assert plane.pixel(point) == pytest.approx((3, 5), abs=1e-3)


def test_a_patient_on_the_belly_is_turned(tmp_path, volume, write_ct):
    for k in range(11):
        write_ct(
            tmp_path / f"{k}.dcm",
            volume[k] + 1024,
            ImagePositionPatient=[7.7, 8.8, -2.5 * k],
            ImageOrientationPatient=[-1, 0, 0, 0, -1, 0],
        )
    np.testing.assert_array_equal(read_image(tmp_path, 10).pixels, volume[0, ::-1, ::-1])
    np.testing.assert_array_equal(stacks(tmp_path)[0].read(10), volume[0])  # as stored


def test_a_coronal_stack_is_cut_across(tmp_path, volume, write_ct):
    """The same stack as SimpleITK reads it; with uneven distances there is no such cut."""
    for k in range(11):
        write_ct(
            tmp_path / f"{k}.dcm",
            volume[k] + 1024,
            ImagePositionPatient=[0, 2.5 * k, 0],
            ImageOrientationPatient=CORONAL,
        )
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    expected = sitk.DICOMOrient(sitk.ReadImage(names), "LPS")
    plane = read_image(tmp_path, 4)
    np.testing.assert_array_equal(plane.pixels, sitk.GetArrayFromImage(expected)[4])
    assert plane.spacing == pytest.approx(expected.GetSpacing()[1::-1])
    assert plane.volume.place(4).origin == pytest.approx(expected.TransformIndexToPhysicalPoint((0, 0, 4)))
    (tmp_path / "4.dcm").unlink()
    with pytest.warns(UserWarning, match="slices are missing"):
        refused(tmp_path, "lie at uneven distances; give axial ones")


def test_files_that_are_no_slices(folder, volume, write_ct):
    """A report, a list of files, a screen shot without a place, a damaged file."""
    write_ct(folder / "report", volume[0] + 1024, series="1.9", Rows=None, Columns=None)
    write_ct(folder / "DICOMDIR", volume[0] + 1024, series="1.9")
    assert said(folder) == ""
    write_ct(folder / "shot.dcm", volume[0] + 1024, ImagePositionPatient=None, ImageOrientationPatient=None)
    assert "shot.dcm left out" in said(folder)
    (folder / "broken.dcm").write_bytes(b"not DICOM" * 100)
    assert "broken.dcm cannot be read" in said(folder)
    np.testing.assert_array_equal(read_image(folder).pixels, volume[5])


def test_slices_without_places_have_no_order(tmp_path, volume, write_ct):
    bare = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    write_ct(tmp_path / "a.dcm", volume[0] + 1024, **bare)
    np.testing.assert_array_equal(read_image(tmp_path).pixels, volume[0])
    write_ct(tmp_path / "b.dcm", volume[1] + 1024, **bare)
    refused(tmp_path, "do not say where they lie .* name one file")


def test_names_without_an_ending_or_with_dots(tmp_path, volume, write_ct):
    for k, name in enumerate(["IM0001", "1.2.840.113619.2", "scan.ima"]):
        write_ct(tmp_path / name, volume[k] + 1024, z=k)
    (tmp_path / "LICENSE").write_text("words " * 99)
    for k in range(3):
        np.testing.assert_array_equal(read_image(tmp_path, k).pixels, volume[k])


def test_files_of_old_without_a_preamble(folder, volume):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132:])
    assert len(stacks(folder)[0].slices) == 11
    np.testing.assert_array_equal(read_image(folder, 3).pixels, volume[3])


def test_rescale_of_each_slice_is_its_own(tmp_path, volume, write_ct):
    write_ct(tmp_path / "a.dcm", volume[0] + 1024, z=0)
    write_ct(tmp_path / "b.dcm", (volume[1] + 1000) * 2, z=1, RescaleSlope=0.5, RescaleIntercept=-1000)
    write_ct(tmp_path / "c.dcm", volume[2], z=2, signed=True, RescaleIntercept=0)
    for k in range(3):
        np.testing.assert_array_equal(read_image(tmp_path, k).pixels, volume[k])


def test_real_series_equals_pydicom(real_data):
    """Every twelfth slice of a published series, as pydicom has its values, ordered by z."""
    paths = sorted(real_data.glob("lidc_dicom/LIDC-IDRI/*/*/*/*.dcm"))
    if not paths:
        pytest.skip("no DICOM at hand")
    series = only(paths[0].parent)
    headers = sorted(
        (pydicom.dcmread(path) for path in paths), key=lambda data: float(data.ImagePositionPatient[2])
    )
    assert len(series.slices) == len(headers) == 133
    for k in range(0, 133, 12):
        data = headers[k]
        expected = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        np.testing.assert_array_equal(series.read(k), expected)
        np.testing.assert_allclose(series.position(k), data.ImagePositionPatient)
