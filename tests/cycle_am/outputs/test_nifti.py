"""Where a viewer finds the maps, by a reader that shares nothing with the writer."""

from __future__ import annotations

import numpy as np
import pytest

from cycle_am.explanation import Place
from cycle_am.outputs import nifti
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
