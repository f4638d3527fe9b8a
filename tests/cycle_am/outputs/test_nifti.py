"""Where a viewer finds the maps, by a reader that shares nothing with the writer."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from scipy.ndimage import map_coordinates

from cycle_am.outputs import nifti
from cycle_am.place import Place
from cycle_am.task import Task
from tests.cycle_am.outputs.fakes import OBLIQUE, explanation

nibabel = pytest.importorskip("nibabel", reason="needs nibabel, an independent reader of NIfTI")
TO_RAS = np.array([-1, -1, 1])  # NIfTI counts to the right and the front, DICOM to the left and the back
PLACES = {
    "axial": Place("", "", (-61.2, 40.0, -132.5), (0.0, 0.703, 0.0), (0.703, 0.0, 0.0), 1.25),
    "feet first": Place("", "", (12.0, -40.0, 7.5), (0.0, -0.703, 0.0), (-0.703, 0.0, 0.0), 3.0),
    "coronal": Place("", "", (12.0, -40.0, 7.5), (0.0, 0.0, -0.703), (0.703, 0.0, 0.0), None),
    "oblique": OBLIQUE,
}


@pytest.mark.parametrize("name", PLACES)
def test_each_pixel_lies_where_its_place_says(tmp_path, name):
    place = PLACES[name]
    values = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    image = nibabel.load(nifti.write(tmp_path / "map.nii.gz", values, place, 0.703, "numbers"))
    assert image.shape == (64, 64, 1)
    for row, column in ((0, 0), (0, 63), (63, 0), (40, 7)):
        down, right = row - 31.5, column - 31.5
        expected = np.add(place.centre_mm, down * np.array(place.row_mm) + right * np.array(place.column_mm))
        for affine in (image.get_sform(), image.get_qform()):
            found = affine @ [column, row, 0, 1]
            np.testing.assert_allclose(found[:3] * TO_RAS, expected, atol=2e-3)
        assert image.dataobj[column, row, 0] == values[row, column]
    assert image.header.get_zooms()[2] == pytest.approx(place.thickness_mm or 0.703)
    assert np.linalg.det(image.affine) != 0


def test_a_source_without_a_place_says_so(tmp_path):
    image = nibabel.load(nifti.write(tmp_path / "map.nii.gz", np.eye(64), Place("x"), 0.7, "numbers"))
    assert image.header["qform_code"] == image.header["sform_code"] == 0
    assert image.header.get_zooms() == pytest.approx((0.7, 0.7, 0.7))


def test_relevance_and_attribution_are_written_as_they_are(tmp_path):
    made = explanation(0.4, places=(OBLIQUE,))
    folder = made.save(tmp_path / "one")
    for name, values in (("relevance", made.relevance), ("attribution", made.attribution())):
        image = nibabel.load(folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0].T, values[0])
        assert image.get_data_dtype() == np.float32
    assert b"R = G+(x) - G-(x)" in nibabel.load(folder / "relevance.nii.gz").header["descrip"].tobytes()


@pytest.mark.parametrize("at", [(56.2, 86.2, -115.0), (-61.3, 40.7, -132.5)])
def test_on_a_real_scan_the_maps_lie_where_the_window_was_cut(real_data, tmp_path, at):
    sources = pytest.importorskip("cycle_am.sources")
    files = list((real_data / "lidc_dicom").rglob("*.dcm"))
    (window,) = sources.read(str(files[0].parent), Task(), at=at)
    image = nibabel.load(
        nifti.write(tmp_path / "x.nii.gz", window.image, window.place, 45 / 64, "the window")
    )
    rows, columns = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    index = np.stack([columns, rows, 0 * rows, 0 * rows + 1]).reshape(4, -1)
    x, y, z = (image.affine @ index)[:3] * TO_RAS[:, None]
    heads = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    nearest = np.argmin([abs(float(head.ImagePositionPatient[2]) - z[0]) for head in heads])
    scan = pydicom.dcmread(files[nearest])
    assert list(scan.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(z, float(scan.ImagePositionPatient[2]), atol=1e-3)
    left, front = map(float, scan.ImagePositionPatient[:2])
    down, right = map(float, scan.PixelSpacing)
    units = scan.pixel_array * float(scan.RescaleSlope) + float(scan.RescaleIntercept)
    there = map_coordinates(units, [(y - front) / down, (x - left) / right], order=1, mode="nearest")
    np.testing.assert_allclose(np.asarray(image.dataobj)[..., 0].T.ravel(), Task().scale(there), atol=2e-3)
