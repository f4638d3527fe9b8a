"""The window shows what lies at its place: against volumes whose every value follows from its mm."""

from __future__ import annotations

from math import cos, radians, sin

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

RIGHT_DOWN = [
    ((1, 0, 0), (0, 1, 0)),
    ((-1, 0, 0), (0, -1, 0)),  # turned by half
    ((-1, 0, 0), (0, 1, 0)),  # mirrored
    ((1, 0, 0), (0, -1, 0)),
    ((0, 1, 0), (1, 0, 0)),  # rows from front to back
    ((0, -1, 0), (1, 0, 0)),
    ((0, 1, 0), (-1, 0, 0)),
]


def turn(axis: int, degrees: float) -> np.ndarray:
    a, b = [i for i in range(3) if i != axis]
    matrix = np.eye(3)
    matrix[[a, b], [a, b]] = cos(radians(degrees))
    matrix[a, b], matrix[b, a] = -sin(radians(degrees)), sin(radians(degrees))
    return matrix


OBLIQUE = turn(0, 14) @ turn(1, -9) @ turn(2, 21)
AXES = {
    "straight": np.eye(3),
    "head down": np.diag([1.0, 1, -1]),
    "RAS": np.diag([-1.0, -1, 1]),
    "mirrored": np.diag([-1.0, 1, 1]),
    "slices first": np.eye(3)[:, [2, 0, 1]],
    "slices second": np.diag([1.0, -1, 1])[:, [0, 2, 1]],
    "oblique": OBLIQUE,
    "oblique RAS": OBLIQUE @ np.diag([-1.0, -1, 1]),
}


@pytest.mark.parametrize("order", [1, -1], ids=["feet first", "head first"])
@pytest.mark.parametrize(("right", "down"), RIGHT_DOWN)
def test_dicom_in_every_orientation(tmp_path, write_series, windows, check_ball, ball, right, down, order):
    write_series(tmp_path, right, down, order=order)
    (window,) = windows(tmp_path, at=ball.centre)
    check_ball(window)
    np.testing.assert_allclose(window.place.centre_mm, ball.centre, atol=1e-6)
    assert (window.place.slice, len(window.series.series)) == (4, 9)


def test_dicom_as_pydicom_and_numpy_read_it(tmp_path, write_series, windows, ball):
    """Nearest pixels of the file by its own header, without this package."""
    write_series(tmp_path, (0, -1, 0), (1, 0, 0))
    (window,) = windows(tmp_path, at=ball.centre)
    data = pydicom.dcmread(window.series.slice)
    hu = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    axes = np.array(data.ImageOrientationPatient, dtype=float).reshape(2, 3)
    for row, column in ((0, 0), (10, 50), (63, 20), (63, 63)):
        point = np.array(window.place.centre_mm) + (row - 31.5) * np.array(window.place.row_mm)
        point += (column - 31.5) * np.array(window.place.column_mm)
        offset = axes @ (point - np.array(data.ImagePositionPatient, dtype=float))
        j, i = np.round(offset / np.array(data.PixelSpacing, dtype=float)[::-1]).astype(int)
        assert abs(window.image[row, column] - (hu[i, j] + 1000) / 1400) < 2 / 1400


@pytest.mark.parametrize("tilt", [12.0, -20.0])
def test_a_gantry_tilt_shears_the_stack_and_not_the_window(
    tmp_path, write_series, windows, check_ball, ball, tilt
):
    down = (0, cos(radians(tilt)), sin(radians(tilt)))
    write_series(tmp_path, down=down)
    (window,) = windows(tmp_path, at=ball.centre)
    check_ball(window)


def test_a_window_is_as_thick_as_its_slice(tmp_path, write_series, write_nifti, windows, ball):
    write_series(tmp_path / "scan")
    assert windows(tmp_path / "scan", at=ball.centre)[0].place.thickness_mm == 2.5
    write_series(tmp_path / "overlapping", SliceThickness=5.0)
    assert windows(tmp_path / "overlapping", at=ball.centre)[0].place.thickness_mm == 5.0
    write_series(tmp_path / "unsaid", SliceThickness=None)
    assert windows(tmp_path / "unsaid", at=ball.centre)[0].place.thickness_mm == pytest.approx(2.5)
    volume = write_nifti(tmp_path / "scan.nii.gz", np.eye(3), (0.8, 0.9, 2.0))
    assert windows(volume, at=ball.centre)[0].place.thickness_mm == pytest.approx(2.0)


def test_a_place_between_slices_is_shown_on_the_nearest(tmp_path, write_series, windows, ball):
    write_series(tmp_path)
    x, y, z = ball.centre
    (window,) = windows(tmp_path, at=(x + 1, y, z + 1.0))
    np.testing.assert_allclose(window.place.centre_mm, (x + 1, y, z))


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_volumes_in_every_orientation(tmp_path, write_nifti, windows, check_ball, ball, axes, ending):
    path = write_nifti(tmp_path / "scan.nii.gz", axes, (0.8, 0.9, 1.0), shape=(80, 80, 80))
    if not ending.startswith(".nii"):
        sitk.WriteImage(sitk.ReadImage(path), path := tmp_path / f"scan{ending}")
    (window,) = windows(path, at=ball.centre)
    np.testing.assert_allclose(window.place.centre_mm, ball.centre, atol=0.5)
    check_ball(window)


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_a_voxel_of_nifti_is_nibabels(tmp_path, write_nifti, windows, axes):
    path = write_nifti(tmp_path / "scan.nii.gz", axes, (0.8, 0.9, 1.0), shape=(80, 80, 80))
    voxel = (39, 42, 36)
    (window,) = windows(path, voxel=voxel)
    point = nibabel.affines.apply_affine(nibabel.load(path).affine, voxel) * [-1, -1, 1]
    np.testing.assert_allclose(window.place.centre_mm, point, atol=1e-3)


@pytest.mark.parametrize(("right", "down"), RIGHT_DOWN)
def test_a_voxel_of_dicom_is_the_stored_pixel(tmp_path, write_series, windows, right, down):
    write_series(tmp_path, right, down)
    column, row, k = 60, 45, 2
    (window,) = windows(tmp_path, voxel=(column, row, k))
    files = sorted(
        (pydicom.dcmread(path) for path in tmp_path.iterdir()), key=lambda data: data.ImagePositionPatient[2]
    )
    data = files[k]
    axes = np.array(data.ImageOrientationPatient, dtype=float).reshape(2, 3)
    point = np.array(data.ImagePositionPatient, dtype=float) + [column * 0.8, row * 1.0] @ axes
    np.testing.assert_allclose(window.place.centre_mm, point, atol=1e-6)
    assert window.place.slice == k


def test_the_real_series_as_pydicom_reads_it(real_data, windows):
    (folder,) = (real_data / "lidc_dicom").glob("LIDC-IDRI/LIDC-IDRI-0001")
    files = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    first = np.array(files[0].ImagePositionPatient[:2], dtype=float)
    x, y = first + np.array([300.5, 200.5]) * 0.703125  # the window's pixels are the file's
    (window,) = windows(folder, at=(x, y, -130.0))
    assert (len(window.series.series), len(files)) == (133, 133)
    data = pydicom.dcmread(window.series.slice)
    assert data.ImagePositionPatient[2] == -130
    hu = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
    expected = np.clip((hu[169:233, 269:333] + 1000) / 1400, 0, 1)
    np.testing.assert_allclose(window.image, expected, atol=1e-4)


def test_lidcs_lesion_is_the_data_modules(real_data, windows):
    from cycle_am.data.lidc.annotations import load_scan
    from cycle_am.data.lidc.lesions import find_lesions, lesion_mask
    from cycle_am.data.lidc.pieces import Window as Geometry
    from cycle_am.data.lidc.pieces import cut

    (folder,) = (real_data / "lidc_dicom").glob("LIDC-IDRI/LIDC-IDRI-0001")
    (window,) = windows(folder, lidc=True)
    (lesion,) = find_lesions(load_scan("1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192"))
    data = pydicom.dcmread(window.series.slice)
    hu, mask, _ = cut(
        data.pixel_array.astype(float) + float(data.RescaleIntercept), lesion, Geometry(45.0, 64, 0)
    )
    np.testing.assert_allclose(window.image, np.clip((hu + 1000) / 1400, 0, 1), atol=1e-4)
    np.testing.assert_allclose(window.mask, mask)
    np.testing.assert_allclose(window.mask, lesion_mask(lesion))
    assert window.place.name == "lesion 1"
