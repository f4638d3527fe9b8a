"""NIfTI headers that say two places."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from tests.cycle_am.sources.test_geometry import OBLIQUE


@pytest.fixture
def write(tmp_path, write_nifti):
    """An oblique scan, either half of whose places may be moved or left out."""

    def written(sform=0.0, qform=0.0, codes=(2, 1), kind=nibabel.Nifti1Image, shear=0.0):
        path = write_nifti(
            tmp_path / "scan.nii.gz", OBLIQUE @ np.diag([-1.0, -1, 1]), (0.8, 0.9, 1.0), (80, 80, 80)
        )
        image = nibabel.load(path)
        place_of = image.affine
        image = kind(np.asarray(image.dataobj), place_of)
        for move, code, place in ((sform, codes[0], image.set_sform), (qform, codes[1], image.set_qform)):
            affine = place_of.copy()
            affine[0, 3] += move
            affine[0, 1] += shear if place == image.set_sform else 0
            place(affine if code else None, code)
        nibabel.save(image, path)
        return path

    return written


@pytest.mark.parametrize("codes", [(2, 1), (1, 0), (0, 1), (1, 1), (4, 2)])
def test_places_that_agree(write, windows, check_ball, ball, codes):
    (window,) = windows(write(codes=codes), at=ball.centre)
    check_ball(window)


@pytest.mark.parametrize("change", [{"sform": 5.0}, {"qform": -3.0}, {"shear": 0.2}])
def test_places_that_differ(write, failure, ball, change, tmp_path):
    path = write(**change)
    assert "names two places" in failure(path, at=ball.centre).reason
    mask = path.rename(tmp_path / "mask.nii.gz")
    assert "mask.nii.gz cannot be used" in failure(write(), mask=mask).reason


def test_a_sheared_volume_is_refused(write, failure, ball):
    assert "cannot be read" in failure(write(shear=0.2, codes=(1, 0)), at=ball.centre).reason


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_2_is_named(write, failure, ball, tmp_path, ending):
    path = tmp_path / f"second{ending}"
    nibabel.save(nibabel.load(write(kind=nibabel.Nifti2Image)), path)
    assert "it is NIfTI-2; save it as NIfTI-1" in failure(path, at=ball.centre).reason
    assert f"{path.name} cannot be used: it is NIfTI-2" in failure(write(), mask=path).reason


def test_without_any_place_there_are_voxels(write, windows, failure, ball):
    path = write(codes=(0, 0))
    assert "does not say where it lies" in failure(path, at=ball.centre).reason
    (window,) = windows(path, voxel=(40, 40, 40))
    assert window.place.centre_mm is None


@pytest.mark.parametrize("share", [0.9, 0.01])
def test_a_file_cut_short(write, failure, ball, share):
    path = write()
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "cannot be read" in failure(path, at=ball.centre).reason


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nan_is_not_0_hounsfield_units(tmp_path, failure, dtype, ending):
    array = np.full((80, 80, 3), -500, dtype)
    array[40, 40, 1] = np.nan
    image = nibabel.Nifti1Image(array, np.diag([-0.8, -0.8, 1, 1]))
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    nibabel.save(nibabel.Nifti1Image(array, image.affine, header), tmp_path / f"nan.{ending}")
    assert "NaN" in failure(tmp_path / f"nan.{ending}", voxel=(40, 40, 1)).reason


def test_values_that_are_no_hounsfield_units(tmp_path, failure):
    array = np.full((80, 80, 3), 500, np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-0.8, -0.8, 1, 1])), tmp_path / "mr.nii")
    assert "no value below 0" in failure(tmp_path / "mr.nii", voxel=(40, 40, 0)).reason
