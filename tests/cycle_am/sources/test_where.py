"""Places that are said in numbers or tables."""

from __future__ import annotations

import numpy as np
import pytest

from cycle_am.errors import UserError
from cycle_am.sources import Failure, Window, read


@pytest.fixture
def series(tmp_path, write_series):
    return write_series(tmp_path / "scan", series="1.2.3.4.5.6")


def table(folder, text: str):
    path = folder / "lesions.csv"
    path.write_bytes(text.encode())
    return path


def test_several_places_of_which_one_is_outside(series, task, ball, check_ball):
    found = list(read(series, task, at=[ball.centre, (500, 0, 31), (12, -20, 999), ball.centre]))
    assert [type(one) for one in found] == [Window, Failure, Failure, Window]
    check_ball(found[3])
    assert found[3].place.name == "lesion 4"
    assert [one.name for one in found[1:3]] == ["lesion 2", "lesion 3"]
    assert "outside of the image" in found[1].reason
    assert "no slice of it lies at (12, -20, 999) mm" in found[2].reason


def test_a_window_over_the_edge_is_refused(series, failure, ball):
    x, y, z = ball.centre
    assert "leaves the image by" in failure(series, at=(x + 25, y, z)).reason


@pytest.mark.parametrize(
    "text",
    [
        "name,x,y,z\nmine,12,-20,31\n",
        "Name;X;Y;Z\r\nmine;12,0;-20,0;31,0\r\n",
        "sep=;\nlesion;x_mm;y_mm;z_mm;note\nmine;12,0;-20;31;a, b\n",
        "\ufefflesion_id\tcoordX\tcoordY\tcoordZ\nmine\t12\t-20\t31\n",
        "seriesuid,coordX,coordY,coordZ,diameter_mm,name\n1.2.3.4.5.6,12,-20,31,6.5,mine\n1.2.9,0,0,0,6.5,other\n",
    ],
    ids=["plain", "semicolons", "sep", "tabs", "LUNA16"],
)
def test_tables_of_lesions(series, tmp_path, windows, check_ball, text):
    (window,) = windows(series, lesions=table(tmp_path, text))
    check_ball(window)
    assert window.place.name == "mine"


def test_luna_names_a_file_by_its_stem(tmp_path, write_nifti, windows, task, check_ball):
    path = write_nifti(tmp_path / "1.3.6.1.4.nii.gz", np.eye(3), (0.8, 0.9, 1.0), shape=(80, 80, 80))
    text = "seriesuid,coordX,coordY,coordZ\n1.3.6.1.4,12,-20,31\n1.3.6.1.5,0,0,0\n"
    (window,) = windows(path, lesions=table(tmp_path, text))
    check_ball(window)
    assert window.place.name == "lesion 1"
    assert window.place.source == "a file.nii.gz"
    (none,) = read(path, task, lesions=table(tmp_path, "seriesuid,x,y,z\n1.3.6.1.5,0,0,0\n"))
    assert "has none of this series" in none.reason


def test_the_series_that_a_table_names_is_taken(series, write_series, tmp_path, windows):
    write_series(series / "other", series="1.2.3.4.5.7", count=3)
    (window,) = windows(series, lesions=table(tmp_path, "seriesuid,x,y,z\n1.2.3.4.5.7,12,-20,31\n"))
    assert len(window.series.series) == 3


def test_rows_that_cannot_be_understood_do_not_stop_the_others(series, tmp_path, task):
    rows = "a,12,-20,31\nb,,0,0\nc,Jan 5,0,0\nd,nan,0,0\na,12,-20,31\ne,12,-20,33\n"
    found = list(read(series, task, lesions=table(tmp_path, "name,x,y,z\n" + rows)))
    assert {one.name for one in found if isinstance(one, Failure)} == {"a", "b", "c", "d"}
    assert [one.place.name for one in found if isinstance(one, Window)] == ["a", "e"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x,y\na,1,2\n", "lacks columns of places"),
        ("x,y,z,coordX,coordY,coordZ\n1,2,3,1,2,3\n", "several sets of columns"),
        ("x,y,z\n", "no rows"),
        ("x,y,z\n1,2\n", "no CSV table"),
    ],
)
def test_tables_that_are_none(series, tmp_path, task, text, message):
    with pytest.raises(UserError, match=message) as caught:
        list(read(series, task, lesions=table(tmp_path, text)))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "where",
    [
        {"at": (1, 2)},
        {"at": (1, 2, np.nan)},
        {"at": "here"},
        {"at": []},
        {"voxel": (1, 2, 3, 4)},
        {"at": (1, 2, 3), "voxel": (1, 2, 3)},
        {"lidc": True, "at": (1, 2, 3)},
        {"lesions": "/nowhere/lesions.csv"},
        {"mask": "/nowhere/mask.nii"},
        {"spacing": 0, "at": (1, 2, 3)},
        {"spacing": "a", "at": (1, 2, 3)},
    ],
    ids=str,
)
def test_places_that_cannot_be_understood(series, task, where):
    with pytest.raises(UserError) as caught:
        list(read(series, task, **where))
    assert "/nowhere" not in str(caught.value)


def test_a_scan_without_a_place_is_not_guessed(series, failure):
    assert "say where in it: give at=" in failure(series).reason


def test_voxels_outside(series, failure):
    assert "no slice 9; its slices are 0 to 8" in failure(series, voxel=(50, 50, 9)).reason
    assert "outside of the image" in failure(series, voxel=(500, 50, 4)).reason


def test_lidc_knows_its_series_only(series, failure):
    assert "no series of LIDC-IDRI" in failure(series, lidc=True).reason


def test_lidc_lesions_whose_slice_is_missing(real_data, tmp_path, failure):
    (folder,) = (real_data / "lidc_dicom").glob("LIDC-IDRI/LIDC-IDRI-0001")
    for path in sorted(folder.rglob("*.dcm"))[:6]:
        (tmp_path / path.name).symlink_to(path)
    assert "is not there" in failure(tmp_path, lidc=True).reason
