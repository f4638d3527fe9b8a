"""ManifestDataModule: columns, paths, geometry, splits, cache, one line per error, real images."""

import os
import shutil
import warnings

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from cycle_am.contract import check_batch, scale_hu
from cycle_am.errors import UserError
from datamodules.manifest import ManifestDataModule, read_rows


def disc(radius, size=50):
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return (rows**2 + columns**2 <= radius**2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """24 NPY images of 50 x 50 at 1 mm, two a patient, discs of different size with masks, and cases.csv."""
    records = []
    for number in range(24):
        shape = disc(4 + number % 9)
        np.save(tmp_path / f"i{number}.npy", (-900 + 1000 * shape.astype(int) + number // 9).astype(np.int16))
        np.save(tmp_path / f"m{number}.npy", shape)
        records.append(
            {
                "image": f"i{number}.npy",
                "mask": f"m{number}.npy",
                "label": number % 2,
                "case_id": f"c{number}",
                "patient_id": f"P{number // 2}",
                "spacing_mm": 1.0,
            }
        )
    write(tmp_path, records)
    return tmp_path


def write(folder, table, name="cases.csv"):
    pd.DataFrame(table).to_csv(folder / name, index=False)
    return folder / name


def table_of(folder):
    return pd.read_csv(folder / "cases.csv", dtype=object)


def module(folder, csv=None, **options):
    csv = folder / "cases.csv" if csv is None else csv
    return ManifestDataModule(**{"csv": csv, "cache_dir": folder / "cache", "fov_mm": 32, **options})


def ready(folder, **options):
    data = module(folder, **options)
    data.prepare_data()
    data.setup()
    return data


def test_labels_may_be_the_names_of_other_classes(folder):
    numbers = ready(folder).cases.label
    table = table_of(folder)
    table["label"] = table["label"].map({"0": "Cyst", "1": "tumour", "0.0": "Cyst", "1.0": "tumour"})
    write(folder, table)
    data = ready(folder, classes=["cyst", "tumour"], thing="lesion")
    np.testing.assert_array_equal(data.cases.label[numbers >= 0], numbers[numbers >= 0])
    assert (data.task.p(), data.task.is_nodule, data.task.is_hounsfield) == ("p(tumour)", False, True)
    assert "tumour" in data.describe()
    with pytest.raises(UserError, match="label 'Cyst' is unknown; use 0, 1, benign, malignant or nothing"):
        ready(folder)
    with pytest.raises(UserError, match="two or more classes"):
        module(folder, classes=["cyst"])


def test_images_masks_labels_and_ids_arrive(folder):
    cases = ready(folder).cases
    assert cases.case_id.tolist() == [f"c{number}" for number in range(24)]
    assert cases.patient_id[5] == "P2"
    assert cases.label.tolist() == [0, 1] * 12
    assert cases.pixel_mm == 0.5
    assert cases.margin.tolist() == [8] * 24
    image, mask = cases.window()
    assert torch.allclose(image[0, 0, 31:33, 31:33], torch.tensor(scale_hu(np.array(100.0))))
    assert torch.allclose(image[0, 0, :4], torch.tensor(scale_hu(np.array(-900.0))))
    for number in (0, 8):
        inside = mask[number, 0] >= 0.5
        expected = 2 * np.sqrt(inside.sum().item() * 0.25 / np.pi)
        assert cases.diameter_mm[number] == pytest.approx(expected, rel=0.05)
        assert cases.diameter_mm[number] == pytest.approx(2 * (4 + number), rel=0.05)
    for loader in (ready(folder).train_dataloader(), ready(folder).test_dataloader()):
        for batch in loader:
            check_batch(batch)


def test_optional_columns_have_defaults(folder):
    table = table_of(folder)[["image", "label"]]
    write(folder, table)
    with pytest.warns(UserWarning, match="no column patient_id"):
        cases = ready(folder, spacing_mm=1.0).cases
    assert cases.mask is None
    assert not cases.has_mask.any()
    assert np.isnan(cases.diameter_mm).all()
    assert cases.case_id[3] == cases.patient_id[3] == "i3.npy"


def test_labels_may_be_words_numbers_or_unknown(folder):
    table = table_of(folder)
    table.loc[:7, "label"] = ["benign", "Malignant", "", "unknown", "1.0", "0.0", "-1", " 1 "]
    write(folder, table)
    assert ready(folder).cases.label[:8].tolist() == [0, 1, -1, -1, 1, 0, -1, 1]


def test_a_mask_for_some_cases_only(folder):
    table = table_of(folder)
    table.loc[::2, "mask"] = ""
    write(folder, table)
    data = ready(folder)
    assert data.cases.has_mask.tolist() == [False, True] * 12
    assert not data.cases.mask[::2].any()
    assert np.isnan(data.cases.diameter_mm[::2]).all()
    assert set(next(iter(data.test_dataloader()))) >= {"mask", "has_mask"}


def test_diameter_column_goes_before_the_mask(folder):
    write(folder, table_of(folder).assign(diameter_mm=["3.5"] + [""] * 23))
    diameters = ready(folder).cases.diameter_mm
    assert diameters[0] == 3.5
    assert diameters[1] == pytest.approx(10, rel=0.05)


def test_spacing_of_the_row_then_the_file_then_the_configuration(folder):
    image = sitk.GetImageFromArray(np.load(folder / "i8.npy"))
    image.SetSpacing((1.5, 0.75))
    sitk.WriteImage(image, str(folder / "own.mha"))
    table = table_of(folder).drop(columns="mask")
    table["spacing_mm"] = ""
    table.loc[0, ["image"]] = "own.mha"
    table.loc[1, ["image", "spacing_mm"]] = ["own.mha", "2.0"]
    write(folder, table)
    windows = ready(folder, spacing_mm=1.0).cases.window()[0][:, 0] > 0.4
    heights, widths = windows.any(2).sum(1) * 0.5, windows.any(1).sum(1) * 0.5
    assert (heights[0].item(), widths[0].item()) == pytest.approx(
        (25 * 0.75, 32), abs=1
    )  # the file: wider than fits
    assert (heights[1].item(), widths[1].item()) == pytest.approx((32, 32), abs=1)  # the row: 50 mm across
    assert (heights[2].item(), widths[2].item()) == pytest.approx(
        (13, 13), abs=1
    )  # the configuration: radius 6


def test_slice_and_centre_columns(folder):
    volume = np.full((6, 80, 90), -900, np.int16)
    volume[4, 30, 50] = 400
    np.save(folder / "volume.npy", volume)
    mask = (volume > 0).astype(np.uint8)
    np.save(folder / "volume_mask.npy", mask)
    table = table_of(folder).assign(slice="", centre_row="", centre_col="")
    columns = ["image", "mask", "slice", "centre_row", "centre_col"]
    table.loc[0, columns] = ["volume.npy", "volume_mask.npy", "4", "30", "50"]
    write(folder, table)
    image, masks = ready(folder).cases.window()
    brightest = np.unravel_index(image[0, 0].argmax(), (64, 64))
    assert set(map(int, brightest)) <= {31, 32}
    assert masks[0, 0].max() > 0.5


@pytest.fixture
def spot():
    """A volume of 0.8 x 0.7 x 2.5 mm with one bright spot at slice 4, row 30, column 50, and its mask."""
    volume = np.full((6, 80, 90), -900, np.int16)
    volume[4, 29:32, 49:52] = 400
    images = [sitk.GetImageFromArray(array) for array in (volume, (volume > 0).astype(np.uint8))]
    for image in images:
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((-20.0, 13.0, -400.0))
    return images


SPOT = {
    "coordX": -20 + 50 * 0.7,
    "coordY": 13 + 30 * 0.8,
    "coordZ": -400 + 4 * 2.5 + 1.2,
}  # 1.2 mm above the slice


def spot_table(folder, **columns):
    table = table_of(folder).assign(**dict.fromkeys(columns, ""))
    table.loc[0, ["image", "mask", "spacing_mm"]] = ["spot.nii.gz", "spot_mask.nii.gz", ""]
    table.loc[0, list(columns)] = [str(value) for value in columns.values()]
    write(folder, table)


@pytest.mark.parametrize(
    "columns", [SPOT, {"slice": 4, "centre_row": 30, "centre_col": 50}], ids=["mm", "pixels"]
)
@pytest.mark.parametrize("order", ["LPS", "RAS", "SRP"])
def test_centres_in_mm_and_in_pixels_whatever_the_stored_order(folder, spot, order, columns):
    for image, name in zip(spot, ("spot", "spot_mask"), strict=True):
        sitk.WriteImage(sitk.DICOMOrient(image, order), str(folder / f"{name}.nii.gz"))
    spot_table(folder, **columns)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image, mask = ready(folder).cases.window()
    said = ["count in volumes as they are turned" in str(warning.message) for warning in caught]
    assert said == [True] * ("slice" in columns and order != "LPS")  # a word where the stored order differs
    for bright in (image[0, 0] > 0.9, mask[0, 0] > 0.9):
        rows, columns = np.nonzero(bright.numpy())
        assert len(rows) > 4
        assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=0.5)


def test_lesions_of_one_volume_are_told_apart_by_their_places(folder, spot):
    sitk.WriteImage(spot[0], str(folder / "spot.nii.gz"))
    table = table_of(folder).drop(columns=["mask", "case_id"]).assign(**dict.fromkeys(SPOT, ""))
    table.loc[0:1, ["image", "spacing_mm", "patient_id"]] = ["spot.nii.gz", "", "P0"]
    table.loc[0, list(SPOT)] = [str(value) for value in SPOT.values()]
    table.loc[1, list(SPOT)] = [str(value) for value in {**SPOT, "coordX": SPOT["coordX"] + 1}.values()]
    write(folder, table)
    assert ready(folder).cases.case_id[:2].tolist() == [
        "spot.nii.gz:15:37:-388.8",
        "spot.nii.gz:16:37:-388.8",
    ]


PLACES = {
    "half a position": ({**SPOT, "coordZ": ""}, "line 2: give coordX, coordY, coordZ together"),
    "both": (
        {**SPOT, "slice": 4},
        "line 2: give coordX, coordY, coordZ, or slice, centre_row and centre_col",
    ),
    "both centres": (
        {**SPOT, "centre_row": 1, "centre_col": 2},
        "or slice, centre_row and centre_col, not both",
    ),
    "text": ({**SPOT, "coordX": "5 mm"}, "line 2: coordX '5 mm' is no number; mend it"),
    "infinite": ({**SPOT, "coordX": "-inf"}, "coordX '-inf' is no number; mend it"),
    "above": ({**SPOT, "coordZ": -386}, r"spot.nii.gz has no slice at \[15.0, 37.0, -386.0\] mm"),
    "beside": (
        {**SPOT, "coordX": 80},
        "lies outside of .*spot.nii.gz; mend centre_row, centre_col or coordX, coordY",
    ),
}


@pytest.mark.parametrize(("columns", "message"), PLACES.values(), ids=PLACES)
def test_positions_that_cannot_be_had(folder, spot, columns, message):
    for image, name in zip(spot, ("spot", "spot_mask"), strict=True):
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    spot_table(folder, **columns)
    with pytest.raises(UserError, match=message) as caught:
        ready(folder)
    assert "\n" not in str(caught.value)


def test_a_position_needs_a_file_that_says_where_it_lies(folder):
    write(folder, table_of(folder).assign(**SPOT))
    with pytest.raises(UserError, match=r"i0\.npy does not say where it lies; a position in mm needs DICOM"):
        ready(folder)


def test_a_mask_with_a_bare_header_is_refused(folder, spot):
    """As a program that writes the mask with the identity makes it: read as it lies it would be mirrored."""
    sitk.WriteImage(spot[0], str(folder / "spot.nii.gz"))
    bare = sitk.GetImageFromArray(sitk.GetArrayFromImage(spot[1]))
    bare.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(bare, str(folder / "spot_mask.nii.gz"))
    spot_table(folder, slice=4)
    with pytest.raises(
        UserError, match=r"spot_mask\.nii\.gz .* does not lie on slice 4 of .*spot.nii.gz"
    ) as caught:
        ready(folder)
    assert "\n" not in str(caught.value)


def test_margin_is_what_the_image_holds(folder):
    np.save(
        folder / "tight.npy", np.load(folder / "i0.npy")[8:-8, 8:-8]
    )  # 34 mm: 33 between outermost pixel centres
    table = table_of(folder)
    table.loc[0, ["image", "mask"]] = ["tight.npy", ""]
    write(folder, table)
    cases = ready(folder).cases
    assert cases.margin.tolist() == [1] + [8] * 23
    assert cases.image.shape == (24, 80, 80)
    write(folder, table.assign(image="tight.npy", mask=""))
    assert ready(folder).cases.image.shape == (24, 66, 66)  # the rim that nobody can use is not kept


def test_several_tables_and_a_test_table(folder):
    table = table_of(folder)
    (folder / "sub").mkdir()
    for number in range(16, 24):
        shutil.copy(folder / f"i{number}.npy", folder / "sub")
        shutil.copy(folder / f"m{number}.npy", folder / "sub")
    csvs = [write(folder, table[:8], "a.csv"), write(folder, table[8:16], "b.csv")]
    test = write(folder / "sub", table[16:], "t.csv")  # its files are looked up beside it
    data = ready(folder, csv=csvs, test_csv=test)
    assert data.test_cases.case_id.tolist() == [f"c{number}" for number in range(16, 24)]
    assert len(data.train_cases) + len(data.val_cases) == 16
    assert not set(data.train_cases.patient_id) & set(data.val_cases.patient_id)
    assert len(ready(folder, csv=[*csvs, test]).test_cases) < 10


def test_split_column_is_followed(folder):
    parts = ["train"] * 12 + ["val"] * 4 + ["test"] * 8
    write(folder, table_of(folder).assign(split=parts))
    data = ready(folder)
    for cases, names in (
        (data.train_cases, range(12)),
        (data.val_cases, range(12, 16)),
        (data.test_cases, range(16, 24)),
    ):
        assert cases.case_id.tolist() == [f"c{number}" for number in names]
    assert data.fingerprint == ready(folder, split_seed=5).fingerprint
    write(folder, table_of(folder).assign(split=["train"] * 16 + ["test"] * 8))
    drawn = ready(folder)
    assert len(drawn.test_cases) == 8
    assert 2 <= len(drawn.val_cases) <= 4


def test_a_drawn_split_has_folds(folder):
    tested = np.concatenate([ready(folder, folds=4, fold=fold).test_cases.case_id for fold in range(4)])
    assert sorted(tested) == sorted(f"c{number}" for number in range(24))


@pytest.fixture
def reads(monkeypatch):
    """Names of the images that were read."""
    import datamodules.manifest as manifest

    names, read = [], manifest.read_image
    monkeypatch.setattr(
        manifest, "read_image", lambda path, *rest: names.append(path.name) or read(path, *rest)
    )
    return names


def test_cache_notices_every_change(folder, reads):
    def fresh(**options):
        reads.clear()
        ready(folder, **options)
        return len(reads) == 24

    assert fresh()
    assert not fresh()
    assert not fresh(seed=3, shift=1, batch_size=2, split_seed=1)  # these do not change what is prepared
    assert fresh(fov_mm=30)
    assert fresh(margin=3)
    assert fresh(hu_range=[-1350, 150])
    assert not fresh()
    os.utime(folder / "i3.npy", ns=(1, 1))
    assert fresh()
    np.save(folder / "m3.npy", disc(11))
    assert fresh()
    table = table_of(folder)
    table.loc[0, "label"] = 1
    write(folder, table)
    assert fresh()
    (newest,) = [
        path
        for path in (folder / "cache").iterdir()
        if path.stat().st_mtime_ns == max(other.stat().st_mtime_ns for other in (folder / "cache").iterdir())
    ]
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="built again"):
        assert fresh()


def change(column, value, row=0):
    def apply(folder):
        table = table_of(folder)
        table[column] = table.get(column, "")
        table.loc[row, column] = value
        write(folder, table)

    return apply


def drop(column):
    return lambda folder: write(folder, table_of(folder).drop(columns=column))


def image(array, suffix="npy"):
    def apply(folder):
        np.save(folder / "i0.npy", array) if suffix == "npy" else Image.fromarray(array).save(
            folder / f"new.{suffix}"
        )

    return apply


def both(*steps):
    return lambda folder: [step(folder) for step in steps]


SMALL = np.full((20, 50), -500, np.int16)
HOLE = np.where(disc(3) == 1, np.nan, -500.0)
ERRORS = {
    "csv absent": (
        lambda folder: (folder / "cases.csv").unlink(),
        r"cases.csv does not exist; check data\.csv",
    ),
    "csv empty": (
        lambda folder: (folder / "cases.csv").write_text(""),
        r"cases.csv is no CSV table .*; mend it",
    ),
    "no rows": (lambda folder: (folder / "cases.csv").write_text("image,label\n"), "has no rows"),
    "ragged": (
        lambda folder: (folder / "cases.csv").write_text("image,label\na,1\na,1,2,3\n"),
        "is no CSV table",
    ),
    "binary": (
        lambda folder: (folder / "cases.csv").write_bytes(bytes(range(256)) * 9),
        "is no CSV table|no column",
    ),
    "no image column": (drop("image"), "no column image; add it"),
    "no label column": (drop("label"), "no column label; add it .*empty"),
    "label": (change("label", "2"), "line 2: label '2' is unknown; use 0, 1,"),
    "empty image": (change("image", "", 3), "line 5: image is empty"),
    "empty patient": (change("patient_id", "", 3), "line 5: patient_id is empty"),
    "split word": (change("split", "dev"), "line 2: split 'dev' is unknown; use train, val or test"),
    "split gaps": (change("split", "test"), "split is empty in some rows"),
    "spacing": (change("spacing_mm", "-1"), "spacing_mm '-1' is no number of at least 0.001"),
    "spacing text": (change("spacing_mm", "1 mm"), "spacing_mm '1 mm' is no number"),
    "diameter": (change("diameter_mm", "nan"), "diameter_mm 'nan' is no number"),
    "slice": (change("slice", "1.5"), "slice as a whole number"),
    "slice beyond": (change("slice", "3"), "i0.npy has no slice 3; its slices are 0 to 0"),
    "half a centre": (change("centre_row", "20"), "centre_row and centre_col together"),
    "centre outside": (both(change("centre_row", "70"), change("centre_col", "20")), "lies outside"),
    "same case": (change("case_id", "c1"), "line 3: case_id c1 stands in cases.csv line 2 too"),
    "case in another spelling": (
        change("case_id", "C01"),
        r"case_id 'C01' \(cases.csv line 2\) and 'c1' \(cases.csv line 3\) differ in spelling only",
    ),
    "rounded id": (
        change("patient_id", "1.23457E+12", 3),
        r"line 5: patient_id 1.23457E\+12 has lost digits",
    ),
    "rounded id of a German spreadsheet": (change("case_id", "1,2e+05"), "case_id 1,2e.05 has lost digits"),
    "no id": (change("patient_id", "NaN", 3), "line 5: patient_id is empty"),
    "file": (change("image", "gone.npy"), r"line 2: .*gone.npy does not exist \(1 files missing in all\)"),
    "mask file": (change("mask", "gone.npy"), "gone.npy does not exist"),
    "escape": (change("image", "../i0.npy"), "leaves the manifest's folder.*absolute path"),
    "hidden escape": (change("mask", "a/../../x.npy"), "leaves the manifest's folder"),
    "no spacing": (change("spacing_mm", ""), "no pixel size; add a column spacing_mm or set data.spacing_mm"),
    "NaN": (image(HOLE), "i0.npy has 32 NaN or infinite pixels; replace them"),
    "units": (image(disc(3) * 3.0 - 1.5), "i0.npy has values from -1.5 to 1.5, scaled already"),
    "range": (image(disc(3) * 0.5), "i0.npy has values from 0 to 0.5, scaled already"),
    "pickle": (image(np.array([[{}]], dtype=object)), "i0.npy cannot be read"),
    "small": (
        both(image(SMALL), change("mask", "")),
        r"i0.npy spans 19.0 mm, smaller than the window of 32 mm .*set data.fov_mm=19.3",
    ),
    "mask shape": (
        image(np.full((60, 60), -500, np.int16)),
        r"mask .*m0.npy is \(50, 50\), the image \(60, 60\)",
    ),
    "mask empty": (lambda folder: np.save(folder / "m0.npy", disc(3) * 0), "m0.npy is empty in this slice"),
    "mask values": (lambda folder: np.save(folder / "m0.npy", disc(3) * 4), "m0.npy has values from 0 to 4"),
    "one class": (lambda folder: write(folder, table_of(folder).assign(label=0)), "no malignant case"),
}


@pytest.mark.parametrize(("spoil", "message"), ERRORS.values(), ids=ERRORS)
def test_each_error_is_one_line_that_says_how_to_mend(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError, match=message) as caught:
        ready(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    stored = list((folder / "cache").glob("*")) if (folder / "cache").exists() else []
    assert all(path.suffix == ".npz" for path in stored)  # nothing partial is left behind


@pytest.mark.parametrize("pair", [("train", "test"), ("train", "val"), ("val", "test")])
def test_a_patient_in_two_parts_is_found_before_any_image_is_read(folder, reads, pair):
    parts = np.repeat(["train", "val", "test"], [12, 4, 8])
    table = table_of(folder).assign(split=parts)
    table.loc[np.flatnonzero(parts == pair[1])[0], "patient_id"] = table.patient_id[
        np.flatnonzero(parts == pair[0])[0]
    ]
    write(folder, table)
    with pytest.raises(
        UserError, match=f"patient P. is in both the {pair[0]} and the {pair[1]} part|patient P.* both"
    ):
        ready(folder)
    assert not reads


def test_settings_that_contradict_the_tables(folder):
    table = table_of(folder)
    first, second = write(folder, table[:16], "a.csv"), write(folder, table[16:], "b.csv")
    with pytest.raises(UserError, match=r"data\.folds excludes test_csv"):
        ready(folder, csv=first, test_csv=second, folds=3)
    with pytest.raises(UserError, match=r"case_id c0 stands in a.csv line 2 too"):
        ready(folder, csv=first, test_csv=first)
    write(folder, table.assign(split="train"))
    with pytest.raises(UserError, match="names no test row"):
        ready(folder)
    with pytest.raises(UserError, match=r"hu_range=.* is no range"):
        module(folder, hu_range=[400, -1000])


def test_absolute_paths_and_paths_within_the_folder_are_taken(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move(folder / "i0.npy", elsewhere / "i0.npy")
    table = table_of(folder)
    table.loc[0, "image"] = str(elsewhere / "i0.npy")
    table.loc[1, "image"] = "sub/../i1.npy"
    write(folder, table)
    assert len(ready(folder).cases) == 24


def test_byte_order_mark_and_spaces_do_not_matter(folder):
    text = (folder / "cases.csv").read_text().replace(",", " , ")
    (folder / "cases.csv").write_text(text, encoding="utf-8-sig")
    assert [row.image for row in read_rows(folder / "cases.csv")][:1] == [str(folder / "i0.npy")]


SPELLINGS = [
    (lambda number: f"{number:04d}", str),  # a spreadsheet drops the zeros
    (str, lambda number: f"{number}.0"),
    (lambda number: f"P{number}", lambda number: f"p{number}"),
    (lambda number: f"P{number:03d}", lambda number: f"P{number}"),
    (lambda number: f"Zo\u00eb {number}", lambda number: f"Zoe\u0308 {number}"),
]


@pytest.mark.parametrize(("train", "test"), SPELLINGS)
def test_a_patient_in_two_spellings_is_named_before_any_image_is_read(folder, reads, train, test):
    table = table_of(folder)
    write(folder, table[:16].assign(patient_id=[train(number // 2) for number in range(16)]), "train.csv")
    write(
        folder, table[16:].assign(patient_id=[test(number // 2 - 6) for number in range(16, 24)]), "test.csv"
    )
    message = r"patient_id '.+' \(train.csv line 6\) and '.+' \(test.csv line 2\) differ in spelling only"
    with pytest.raises(UserError, match=message) as caught:
        ready(folder, csv=folder / "train.csv", test_csv=folder / "test.csv")
    assert "\n" not in str(caught.value)
    assert not reads


def test_ids_of_different_patients_are_taken_as_they_are(folder):
    names = ["1", "10", "100", "P1", "P10", "P1a", "1.2.840.1", "1.2.840.10", "a b", "ab", "-1", "12.05"]
    write(folder, table_of(folder).assign(patient_id=np.repeat(names, 2)))
    assert set(ready(folder).cases.patient_id) == set(names)


def test_a_file_of_several_patients_is_pointed_out(folder):
    (folder / "link.npy").symlink_to(folder / "i0.npy")
    np.save(folder / "volume.npy", np.stack([np.load(folder / f"i{number}.npy") for number in (2, 3)]))
    table = table_of(folder).assign(slice="", mask="")
    table.loc[[2, 3, 6], "image"] = ["volume.npy", "volume.npy", "link.npy"]
    table.loc[[2, 3], "slice"] = ["0", "1"]
    write(folder, table)
    with pytest.warns(UserWarning, match=r"under several patients each: 1 \(as .*i0.npy: P0, P3\)"):
        ready(folder)
    table.loc[3, "patient_id"] = "other"
    write(folder, table)
    with pytest.warns(UserWarning, match="under several patients each: 2 "):
        ready(folder)


@pytest.mark.parametrize("name", ["v.mhd", "v.nhdr", "v.hdr"])
def test_cache_notices_the_file_that_holds_the_pixels(folder, name):
    image = sitk.GetImageFromArray(np.load(folder / "i0.npy"))
    sitk.WriteImage(image, str(folder / name))
    table = table_of(folder)
    table.loc[0, "image"] = name
    write(folder, table)
    before = ready(folder).cases.image[0]
    pixels = folder / ("v.img" if name == "v.hdr" else "v.raw")
    (np.fromfile(pixels, np.int16) + 100).astype(np.int16).tofile(pixels)
    np.testing.assert_allclose(ready(folder).cases.image[0] - before, 100 / 1400, atol=1e-5)


def test_cache_notices_the_file_that_holds_a_mask(folder):
    sitk.WriteImage(sitk.GetImageFromArray(disc(5)), str(folder / "m.mhd"))
    table = table_of(folder)
    table.loc[0, "mask"] = "m.mhd"
    write(folder, table)
    assert ready(folder).cases.diameter_mm[0] == pytest.approx(10, rel=0.05)
    disc(9).tofile(folder / "m.raw")
    assert ready(folder).cases.diameter_mm[0] == pytest.approx(18, rel=0.05)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("j.jpg", lambda path, grey: Image.fromarray(grey).save(path, dpi=(72, 72))),
        ("j.tif", lambda path, grey: Image.fromarray(grey).save(path)),
        ("j.nii", lambda path, grey: sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))),
    ],
)
def test_a_file_without_a_pixel_size_takes_the_configured_one(folder, name, save):
    path = folder / name
    save(path, (disc(12) * 200).astype(np.uint8))
    if name == "j.nii":
        head = bytearray(path.read_bytes())
        head[80:92] = bytes(12)  # pixdim
        path.write_bytes(head)
    table = table_of(folder).assign(mask="")
    table.loc[0, ["image", "spacing_mm"]] = [name, ""]
    write(folder, table)
    radius = np.sqrt((ready(folder, spacing_mm=0.7).cases.window()[0][0] > 0.4).sum().item() / np.pi) * 0.5
    assert radius == pytest.approx(12 * 0.7, rel=0.05)
    with pytest.raises(UserError, match=f"{name} has no pixel size; add a column spacing_mm"):
        ready(folder)


def test_a_spreadsheets_table_is_read_right(folder):
    expected = ready(folder).cases
    header, *rows = (folder / "cases.csv").read_text().splitlines()
    semicolons = [row.replace(",", ";").replace(";1.0", ";1,0") for row in rows]
    tables = {
        "comma at each end": [header, *(row + "," for row in rows)],
        "semicolons": [header.replace(",", ";"), *semicolons, ";;;;;;"],
        "tabs": [line.replace(",", "\t") for line in (header, *rows)],
        "capitals": [header.replace("patient_id", "Patient ID").upper(), *rows],
    }
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8-sig")
        assert ready(folder, csv=folder / f"{name}.csv").cases.digest() == expected.digest(), name


def test_a_row_that_has_lost_a_cell_is_refused(folder):
    text = (folder / "cases.csv").read_text().replace(",c5,", ",")
    (folder / "cases.csv").write_text(text)
    with pytest.raises(UserError, match="line 7 has 5 cells, the header 6"):
        ready(folder)


# Real CT


@pytest.fixture(scope="session")
def nodules(real_data):
    if not (real_data / "real_nodules").is_dir():
        pytest.skip(f"{real_data} has no real_nodules")
    return real_data / "real_nodules"


def test_real_crops_train_and_real_volumes_test(nodules, tmp_path):
    options = {
        "csv": nodules / "crops.csv",
        "test_csv": nodules / "volumes.csv",
        "cache_dir": tmp_path,
        "fov_mm": 26,
    }
    data = ready(nodules, **options)
    assert (len(data.train_cases) + len(data.val_cases), len(data.test_cases)) == (273, 59)
    assert data.cases.margin.min() >= 4
    assert data.test_cases.has_mask.all()
    assert not data.train_cases.has_mask.any()
    assert [int(np.sum(data.test_cases.label == value)) for value in (0, 1, -1)] == [12, 30, 17]
    image, mask = data.test_cases.window()
    core = mask >= 0.9
    assert (core[:, 0, 28:36, 28:36].any(2).any(1)).float().mean() > 0.95  # the nodule is in the middle
    dark = data.train_cases.window()[0].flatten(1).quantile(0.1, dim=1)
    assert 0.05 < dark.median() < 0.3  # lung at some -850 HU, as in the volumes
    assert dark.median().item() == pytest.approx(
        image.flatten(1).quantile(0.1, dim=1).median().item(), abs=0.06
    )


@pytest.mark.parametrize(("fov_mm", "margin"), [(26, 8), (45, 4)])
def test_real_volumes_have_the_margin_that_is_promised(nodules, tmp_path, fov_mm, margin):
    cases = ready(nodules, csv=nodules / "volumes.csv", cache_dir=tmp_path, fov_mm=fov_mm).cases
    assert cases.margin.tolist() == [margin] * 59
    for image, mask, case_id in zip(*cases.window(), cases.case_id, strict=True):
        hu, outline = (
            central_slice(nodules / "volumes" / f"{case_id}_{kind}.nii.gz") for kind in ("ct", "mask")
        )
        seen = np.abs(np.arange(51) - 25) <= fov_mm / 2  # the part of the slice that the window shows
        shown = scale_hu(hu[np.ix_(seen, seen)])[outline[np.ix_(seen, seen)] > 0]
        assert image[mask >= 0.5].mean().item() == pytest.approx(
            shown.mean(), abs=0.02
        )  # the mask lies as it lay


def central_slice(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[25]


def test_a_window_that_does_not_fit_names_the_field_of_view_that_does(nodules, tmp_path):
    with pytest.raises(UserError, match=r"in all\); set data.fov_mm=(\d+\.?\d*)") as caught:
        ready(nodules, csv=nodules / "crops.csv", cache_dir=tmp_path)
    fits = float(str(caught.value).split("fov_mm=")[1].split()[0])
    assert len(ready(nodules, csv=nodules / "crops.csv", cache_dir=tmp_path, fov_mm=fits).cases) == 273


LESION = (
    366.8,
    316.0,
    -115.0,
)  # row, column and z in mm of the lesion of LIDC-IDRI-0001 (its readers' midpoint)


def test_a_real_dicom_slice_lies_as_the_volume_that_others_cut_from_it(real_data, nodules, tmp_path):
    series = sorted((real_data / "lidc_dicom").rglob("*.dcm"))
    if not series:
        pytest.skip("no DICOM at hand")
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in series}
    (path,) = [path for path, header in headers.items() if float(header.ImagePositionPatient[2]) == LESION[2]]
    volume = read_rows(nodules / "volumes.csv")[0]
    assert volume.patient_id == headers[path].PatientID
    row, column, _ = LESION
    table = [
        {"image": str(path), "label": 1, "patient_id": "A", "centre_row": row, "centre_col": column},
        {"image": volume.image, "label": 1, "patient_id": "A"},
    ]
    csv = write(tmp_path, table)
    cases = ManifestDataModule(csv=csv, cache_dir=tmp_path).build_cases()
    one, other = cases.window()[0][:, 0].numpy()

    stored = pydicom.dcmread(path)
    hu = stored.pixel_array * float(stored.RescaleSlope) + float(stored.RescaleIntercept)
    steps = (np.arange(64) - 31.5) * 45 / 64 / float(stored.PixelSpacing[0])
    expected = map_coordinates(hu, np.meshgrid(row + steps, column + steps, indexing="ij"), order=1)
    np.testing.assert_allclose(one, scale_hu(expected), atol=1e-4)

    def likeness(image):
        return np.corrcoef(image.ravel(), other.ravel())[0, 1]

    assert likeness(one) > 0.85  # another slice position and centre, but the same lesion the same way up
    assert max(map(likeness, (one.T, one[::-1], one[:, ::-1], one[::-1, ::-1]))) < 0.65
