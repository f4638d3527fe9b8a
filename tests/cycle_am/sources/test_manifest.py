"""Tables of images, as the data module reads them, without labels."""

from __future__ import annotations

import numpy as np
import pytest

from cycle_am.sources import Failure, Window, read
from cycle_am.task import Task


def write(folder, text):
    (folder / "cases.csv").write_text(text)
    return folder / "cases.csv"


def test_rows_of_every_kind_and_bad_ones_between(tmp_path, write_nifti, write_series, task, check_ball, ball):
    write_nifti(tmp_path / "scan.nii.gz", np.diag([1.0, 1, -1]), (0.8, 0.9, 1.0), shape=(80, 80, 80))
    write_series(tmp_path / "series")
    np.save(tmp_path / "window.npy", np.full((64, 64), 0.25, np.float32))
    np.save(tmp_path / "hu.npy", np.full((3, 100, 100), -500, np.int16) + np.arange(100, dtype=np.int16))
    x, y, z = ball.centre
    header = "image,case_id,patient_id,coordX,coordY,coordZ,slice,centre_row,centre_col,spacing_mm"
    rows = [
        f"scan.nii.gz,a,,{x},{y},{z},,,,",
        f"series,b,,{x},{y},{z},,,,",
        "window.npy,c,,,,,,,,",
        "Secret Name/absent.nii,d,,1,2,3,,,,",
        "hu.npy,e,,,,,2,40,45,0.703125",
        "hu.npy,f,,,,,3,40,45,0.7",
        "hu.npy,,,,,,,,,",
        "../hu.npy,h,,,,,,,,",
        "hu.npy,i,,,,,x,,,",
    ]
    found = list(read(write(tmp_path, "\n".join([header, *rows])), task))
    names = [one.name if isinstance(one, Failure) else one.place.name for one in found]
    assert names == ["a", "b", "c", "d", "e", "f", "line 8", "h", "i"]
    check_ball(found[0])
    check_ball(found[1])
    assert found[2].image.mean() == 0.25
    assert found[3].reason == "the image does not exist; mend the path"
    assert found[4].image[0, 31] == pytest.approx((500 + 44.5) / 1400, abs=1e-4)
    reasons = [one.reason for one in found if isinstance(one, Failure)]
    assert len(reasons) == 5
    assert not [text for text in reasons if "Secret" in text or str(tmp_path) in text or "\n" in text]
    assert "says no pixel size" in found[6].reason


def test_the_real_manifests_are_the_data_modules(real_data, task, tmp_path):
    from datamodules.manifest import ManifestDataModule

    table = real_data / "real_nodules" / "volumes.csv"
    found = list(read(table, task))
    module = ManifestDataModule(csv=table, margin=0, fov_mm=45.0, cache_dir=tmp_path)
    cases = module._load()
    assert all(isinstance(one, Window) for one in found)
    np.testing.assert_array_equal([one.image for one in found], cases.image)
    np.testing.assert_array_equal([one.mask for one in found], cases.mask)
    small = list(read(real_data / "real_nodules" / "crops.csv", Task(fov_mm=26.0)))
    assert len(small) == 273
    assert all(isinstance(one, Window) for one in small)


def test_a_table_with_places_beside(tmp_path, failure):
    path = write(tmp_path, "image\na.npy\n")
    assert "leave out at" in failure(path, at=(1, 2, 3)).reason
    assert "no column image" in failure(write(tmp_path, "name\na.npy\n")).reason
