"""Finding series and slices: pylidc's reading, pydicom's pixels, and what can be wrong in a folder."""

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from cycle_am.data.dicom import SliceError, choose_slice, index_series, load, pixels, read_headers, read_slice
from cycle_am.data.images import read_image
from cycle_am.data.lidc.annotations import import_pylidc, load_scans
from cycle_am.errors import UserError


@pytest.fixture(scope="module")
def scan():
    return load_scans()[11]


@pytest.fixture
def folder(tmp_path, scan, write_slice) -> Path:
    """Slices 40..44 in pylidc's layout, file names and numbers running against z."""
    folder = tmp_path / scan.patient_id / scan.study_uid / scan.series_uid
    for k in range(40, 45):
        write_slice(folder / f"1-{100 - k:03d}.dcm", scan, k, number=100 - k)
    return folder


def cut_short(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def chosen(folder: Path, scan, z: float) -> str:
    return choose_slice(*read_headers(folder, scan.series_uid), z).name


def test_series_is_found_in_pylidc_layout(tmp_path, folder, scan):
    assert index_series(tmp_path)[scan.series_uid] == [folder]
    assert index_series(tmp_path / scan.patient_id)[scan.series_uid] == [folder]


def test_series_is_found_under_any_folder_name(tmp_path, folder, scan):
    other = tmp_path / "LIDC-IDRI-0001" / "01-01-2000-30178" / "3000566-03192"
    other.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, other)
    (other / "LICENSE").write_text("not DICOM")
    (other / "._1-001.dcm").write_text("a file that another system left")
    assert index_series(tmp_path) == {scan.series_uid: [other]}


def test_copies_stand_in_the_order_of_their_paths(tmp_path, folder, scan):
    shutil.copytree(folder, tmp_path / "A-COPY" / scan.series_uid)
    assert index_series(tmp_path)[scan.series_uid] == [tmp_path / "A-COPY" / scan.series_uid, folder]


def test_links_to_upper_folders_end_and_no_folder_counts_twice(tmp_path, folder, scan):
    patient = tmp_path / scan.patient_id
    (patient / "back").symlink_to("..")
    (patient / "here").symlink_to(".")
    (patient / "zz_again").symlink_to(folder)
    (tmp_path / "broken").symlink_to("nowhere")
    assert index_series(tmp_path) == {scan.series_uid: [folder]}
    elsewhere = tmp_path / "linked"
    elsewhere.mkdir()
    (elsewhere / "patients").symlink_to(patient)  # a folder that is reached by links alone counts
    assert index_series(elsewhere) == {
        scan.series_uid: [elsewhere / "patients" / folder.relative_to(patient)]
    }


@pytest.mark.parametrize("name", ["IM{}", "1.3.6.1.4.{}", "slice{}.ima", "slice{}.DCM"])
def test_files_are_known_by_their_content_where_the_name_does_not_say(tmp_path, folder, scan, name):
    other = tmp_path / "any"
    other.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(other / name.format(number))
    (other / "LICENSE").write_text("words " * 99)
    (other / "notes.txt").write_text("DICM " * 99)
    os.mkfifo(other / "pipe")  # nobody writes to it: to open it would wait for ever
    assert index_series(tmp_path) == {scan.series_uid: [other]}
    headers, unreadable = read_headers(other, scan.series_uid)
    assert ([len(headers)], unreadable) == ([5], [])


def test_all_series_of_a_folder_are_found(tmp_path, folder, scan, write_slice):
    """Also by headers that are stored without types, deflated, or begin with another series' UID."""
    others = [scan.series_uid[:-1], scan.series_uid[:-2], "1.2.3", "1.2.4"]
    for number, uid in enumerate(others):
        write_slice(folder / f"1-{58 + number}x.dcm", scan, 42, SeriesInstanceUID=uid)
    for name, syntax in (
        ("1-60x.dcm", ImplicitVRLittleEndian),
        ("1-61x.dcm", DeflatedExplicitVRLittleEndian),
    ):
        data = pydicom.dcmread(folder / name)
        data.file_meta.TransferSyntaxUID = syntax
        data.save_as(folder / name, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert index_series(tmp_path) == {uid: [folder] for uid in [scan.series_uid, *others]}


@pytest.mark.parametrize(("name", "words"), [("nowhere", "is absent"), ("empty", "no DICOM series")])
def test_absent_and_empty_root(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words) as error:
        index_series(tmp_path / name)
    assert "data.dicom_root" in str(error.value)
    assert "\n" not in str(error.value)


def test_slice_is_chosen_by_position_not_by_name(folder, scan):
    for k in range(40, 45):
        assert chosen(folder, scan, scan.slice_zvals[k]) == f"1-{100 - k:03d}.dcm"


def test_neighbour_is_never_taken(folder, scan):
    (folder / "1-058.dcm").unlink()  # k = 42
    with pytest.raises(SliceError, match="slice absent") as error:
        chosen(folder, scan, scan.slice_zvals[42])
    assert error.value.reason == "slice absent"


def test_other_series_in_the_folder_are_passed_over(folder, scan, write_slice):
    write_slice(folder / "0.dcm", load_scans()[12], 42, number=0, z=scan.slice_zvals[42])
    assert chosen(folder, scan, scan.slice_zvals[42]) == "1-058.dcm"
    assert len(read_headers(folder, scan.series_uid)[0]) == 5


def test_duplicate_positions_follow_pylidc(folder, scan, write_slice, monkeypatch):
    """Of two slices at one place pylidc keeps the lesser InstanceNumber (of three it makes a crash)."""
    write_slice(folder / "9-last.dcm", scan, 42, number=3)
    write_slice(folder / "0-first.dcm", scan, 43, number=99)
    pylidc = import_pylidc()
    reference = pylidc.query(pylidc.Scan).filter(pylidc.Scan.id == scan.scan_id).one()
    monkeypatch.setattr(type(reference), "get_path_to_dicom_files", lambda self: str(folder))
    images = reference.load_all_dicom_images(verbose=False)
    assert len(images) == 5
    for image in images:
        assert chosen(folder, scan, float(image.ImagePositionPatient[2])) == Path(image.filename).name
    write_slice(folder / "5-third.dcm", scan, 42, number=70)
    assert chosen(folder, scan, scan.slice_zvals[42]) == "9-last.dcm"


def test_equal_numbers_at_one_place_go_by_name(folder, scan, write_slice):
    write_slice(folder / "0-first.dcm", scan, 42, number=58)
    assert chosen(folder, scan, scan.slice_zvals[42]) == "0-first.dcm"


def test_header_cut_short_is_named(folder, scan):
    cut_short(folder / "1-058.dcm", 300)
    with pytest.raises(SliceError, match=r"1-058\.dcm") as error:
        chosen(folder, scan, scan.slice_zvals[42])
    assert error.value.reason == "unreadable file"
    assert chosen(folder, scan, scan.slice_zvals[43]) == "1-057.dcm"


def test_pixels_equal_the_closed_form_with_rescale(folder, scan, closed_form):
    hu = read_slice(folder / "1-058.dcm", scan.pixel_spacing)
    assert hu.dtype == np.float32
    np.testing.assert_array_equal(hu, closed_form(*np.indices((512, 512)), 42).astype(np.float32))


def test_pixels_equal_pydicom_on_a_real_slice(real_data):
    path = sorted(real_data.glob("lidc_dicom/LIDC-IDRI/*/*/*/*.dcm"))[70]
    data = pydicom.dcmread(path)
    expected = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    np.testing.assert_array_equal(read_slice(path, float(data.PixelSpacing[0])), expected)


def test_compressed_pixels_are_read(folder, scan):
    path = folder / "1-058.dcm"
    expected = read_slice(path, scan.pixel_spacing)
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)
    assert path.stat().st_size < 512 * 512 * 2
    np.testing.assert_array_equal(read_slice(path, scan.pixel_spacing), expected)


@pytest.mark.parametrize("missing", [1, 1000, 400_000])
def test_pixels_cut_short_are_no_image(folder, scan, missing):
    path = folder / "1-058.dcm"
    cut_short(path, path.stat().st_size - missing)
    with pytest.raises(SliceError, match=r"1-058\.dcm is damaged or cut short"):
        read_slice(path, scan.pixel_spacing)


def test_other_spacing_is_refused(folder, scan):
    with pytest.raises(SliceError, match="pixel spacing"):
        read_slice(folder / "1-058.dcm", scan.pixel_spacing * 1.05)


def test_a_scout_is_no_slice(folder, scan, write_slice):
    write_slice(folder / "1-058.dcm", scan, 42, number=58, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    with pytest.raises(SliceError, match="no axial slice"):
        read_slice(folder / "1-058.dcm", scan.pixel_spacing)


KINDS = [(np.uint8, 8), (np.int8, 8), (np.uint16, 16), (np.int16, 16), (np.uint16, 12), (np.int16, 12)]
RESCALES = [(None, None), (1, -1024), (0.5, -1000), (2, -30000)]


@pytest.mark.parametrize("rescale", RESCALES)
@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_values_do_not_depend_on_how_they_are_to_be_shown(
    tmp_path, write_ct, interpretation, kind, bits, rescale
):
    """Both readers give pydicom's stored values with their rescale, over the whole range of every kind."""
    low = -(2 ** (bits - 1)) if np.dtype(kind).kind == "i" else 0
    stored = np.linspace(low, low + 2**bits - 1, 64).round().reshape(8, 8).astype(kind)
    path = write_ct(
        tmp_path / "a.dcm",
        stored,
        signed=low < 0,
        bits_stored=bits,
        PhotometricInterpretation=interpretation,
        PixelPaddingValue=None,
        PixelSpacing=[0.7, 0.7],
        RescaleSlope=rescale[0],
        RescaleIntercept=rescale[1],
    )
    data = pydicom.dcmread(path)
    np.testing.assert_array_equal(data.pixel_array, stored)
    expected = stored * float(rescale[0] or 1) + float(rescale[1] or 0)
    np.testing.assert_array_equal(pixels(load(path)), expected)
    np.testing.assert_array_equal(read_slice(path, 0.7), expected)


def test_images_are_not_turned_to_their_negative(folder, scan, closed_form):
    """A whole slice, plain and compressed."""
    path = folder / "1-058.dcm"
    expected = closed_form(*np.indices((512, 512)), 42).astype(np.float32)
    data = pydicom.dcmread(path)
    data.PhotometricInterpretation = "MONOCHROME1"
    data.save_as(path)
    np.testing.assert_array_equal(read_image(path).pixels, expected)
    np.testing.assert_array_equal(read_image(folder, 2).pixels, expected)
    np.testing.assert_array_equal(read_slice(path, scan.pixel_spacing), expected)
    data.compress(RLELossless)
    data.save_as(path)
    np.testing.assert_array_equal(read_image(path).pixels, expected)
    cut_short(path, path.stat().st_size - 1000)
    with pytest.raises(SliceError, match="damaged or cut short"):
        read_slice(path, scan.pixel_spacing)


def test_a_negative_with_a_compressed_header(folder, scan, closed_form):
    path = folder / "1-058.dcm"
    expected = closed_form(*np.indices((512, 512)), 42).astype(np.float32)
    data = pydicom.dcmread(path)
    data.PhotometricInterpretation = "MONOCHROME1"
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)
    np.testing.assert_array_equal(read_image(path).pixels, expected)
    np.testing.assert_array_equal(read_slice(path, scan.pixel_spacing), expected)
    cut_short(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="cannot be read"):
        read_image(path)
    with pytest.raises(SliceError, match="damaged or cut short"):
        read_slice(path, scan.pixel_spacing)


def test_messages_hold_no_header_content(folder, scan, capfd):
    cut_short(folder / "1-058.dcm", 2000)
    cut_short(folder / "1-057.dcm", 300)
    with pytest.raises(SliceError) as error:
        read_slice(folder / "1-058.dcm", scan.pixel_spacing)
    read_headers(folder, scan.series_uid)
    output = capfd.readouterr()
    for text in (str(error.value), output.out, output.err):
        assert scan.patient_id not in text.replace(str(folder), "")
