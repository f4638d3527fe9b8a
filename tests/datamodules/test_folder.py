"""Folders of pictures: classes, parts, patients, boxes, and what is wrong with them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from cycle_am.errors import UserError
from datamodules.folder import FolderDataModule
from tests.helpers import ready

LEVEL = {"dark": 60, "bright": 180}


def picture(path, level: int, seed: int, colour: bool = True, size: tuple[int, int] = (40, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size, 3) if colour else size
    noise = np.random.default_rng(seed).integers(-20, 20, shape)
    Image.fromarray((level + noise).astype(np.uint8)).save(path)


def fill(root, parts=("",), count: int = 12, **options) -> None:
    """`count` pictures of each class in each part, two of a patient."""
    seed = 0
    for part in parts:
        for name, level in LEVEL.items():
            for i in range(count):
                picture(
                    root / part / name / f"P{part}{name}{i // 2:02d}_{i}.png",
                    level,
                    seed := seed + 1,
                    **options,
                )


def module(root, tmp_path, **settings) -> FolderDataModule:
    settings = {"size": 32, "batch_size": 4, "pattern": "^(P[a-z]+[0-9]+)_"} | settings
    return ready(FolderDataModule(root=root, cache_dir=tmp_path / "cache", **settings))


@pytest.fixture
def root(tmp_path):
    fill(tmp_path / "images")
    return tmp_path / "images"


def test_sub_folders_are_the_classes_in_order(root, tmp_path):
    data = module(root, tmp_path)
    assert (data.task.classes, data.task.shape, data.task.fov_mm) == (("bright", "dark"), (3, 32, 32), None)
    mean = data.cases.image.mean((1, 2, 3))
    assert mean[data.cases.label == 1].max() < 0.4 < mean[data.cases.label == 0].min()


def test_classes_choose_and_order(root, tmp_path):
    fill_other = root / "grey" / "a.png"
    picture(fill_other, 120, 99)
    data = module(root, tmp_path, classes=["dark", "bright"])
    assert len(data.cases) == 24
    mean = data.cases.image.mean((1, 2, 3))
    assert mean[data.cases.label == 0].max() < mean[data.cases.label == 1].min()
    assert FolderDataModule(root=root, cache_dir=tmp_path).task.classes == ("bright", "dark", "grey")
    with pytest.raises(UserError, match=r"not dark; see data.classes"):
        module(root, tmp_path, classes=["dark"])
    with pytest.raises(UserError, match="there is no class cat; there are bright, dark, grey"):
        module(root, tmp_path, classes=["cat", "dark"])


def test_batches_keep_the_contract(root, tmp_path):
    data = module(root, tmp_path, pairs=True)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == batch["other"].shape == (4, 3, 32, 32)
    assert data.class_weights.shape == (2,)


def test_no_patient_is_in_two_parts(root, tmp_path):
    data = module(root, tmp_path)
    parts = [set(part.patient_id) for part in (data.train_cases, data.val_cases, data.test_cases)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12


def test_named_parts_are_kept_and_validation_is_drawn_where_there_is_none(tmp_path):
    fill(tmp_path / "images", ("train", "test"))
    data = module(tmp_path / "images", tmp_path)
    assert {name.split("/")[0] for name in data.test_cases.case_id} == {"test"}
    assert {name.split("/")[0] for name in data.val_cases.case_id} == {"train"}
    fill(tmp_path / "images", ("val",), count=4)
    assert len(module(tmp_path / "images", tmp_path).val_cases) == 8


def test_a_patient_in_two_named_parts_is_a_leak(tmp_path):
    fill(tmp_path / "images", ("train", "test"))
    with pytest.raises(UserError, match=r"patient \d+ is in both the train and the test part"):
        module(tmp_path / "images", tmp_path, pattern="_([0-9]+)")


def test_without_patients_near_copies_may_leak_and_that_is_said(root, tmp_path):
    with pytest.warns(UserWarning, match="near-copies may be in two parts"):
        module(root, tmp_path, pattern=None)


def test_a_table_names_patients_and_boxes(root, tmp_path):
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = ["image,patient_id,box_left,box_top,box_right,box_bottom"]
    rows += [f"{name},{i // 2},{'4,8,24,28' if i else '7,7,7,7'}" for i, name in enumerate(names)]
    (tmp_path / "cells.csv").write_text("\n".join(rows))
    with pytest.warns(UserWarning, match="line 2: the box has no area"):
        data = module(root, tmp_path, pattern=None, patients=tmp_path / "cells.csv", size=40)
    cases = data.cases
    assert len(np.unique(cases.patient_id)) == 12
    assert cases.has_mask.sum() == 23
    assert cases.mask[cases.has_mask][0].sum() == 20 * 20  # 40 x 48 pixels: cut by 4 left and right
    assert cases.mask[cases.has_mask][0][8:28, 0:20].all()


def test_grey_pictures_make_one_channel_and_a_mixture_asks(root, tmp_path):
    fill(tmp_path / "grey", colour=False)
    assert module(tmp_path / "grey", tmp_path).task.channels == 1
    assert module(tmp_path / "grey", tmp_path, channels=3).cases.image.shape[1] == 3
    picture(root / "dark" / "Pdark99_a.png", 60, 1, colour=False)
    with pytest.raises(UserError, match=r"dark/Pdark99_a.png is grey and .* in colour; set data.channels"):
        module(root, tmp_path)
    assert module(root, tmp_path, channels=1).task.channels == 1


def test_changed_files_are_read_again(root, tmp_path):
    before = module(root, tmp_path).fingerprint
    assert module(root, tmp_path).fingerprint == before
    picture(root / "dark" / "Pdark00_0.png", 90, 7)
    assert module(root, tmp_path).fingerprint != before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": "^P"}, "has no group"),
        ({"pattern": "^X([0-9])"}, "finds no patient in bright/"),
        ({"patients": "absent.csv"}, "not both"),
        ({"patients": "absent.csv", "pattern": None}, "cannot be read"),
        ({"size": 16}, "sides of 28 to 256"),
        ({"range": [3, 1]}, "no range"),
    ],
)
def test_wrong_settings_are_one_line(root, tmp_path, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        module(root, tmp_path, **settings)
    assert "\n" not in str(caught.value)


def test_wrong_folders_are_one_line(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        module(tmp_path / "none", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no sub-folders"):
        module(tmp_path / "empty", tmp_path)
    fill(tmp_path / "one", ("train",))
    with pytest.raises(UserError, match="has train only"):
        module(tmp_path / "one", tmp_path)
    (tmp_path / "two" / "a").mkdir(parents=True)
    picture(tmp_path / "two" / "b" / "x.png", 1, 1)
    with pytest.raises(UserError, match="a holds no picture"):
        module(tmp_path / "two", tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.npy"])
def test_a_damaged_file_is_one_line(root, tmp_path, name):
    (root / "dark" / f"Pdark00_{name}").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read; mend the file or leave it out"):
        module(root, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\nbright/a.png\n", "no column patient_id"),
        ("image,patient_id\nbright/Pbright00_0.png,\n", "patient_id is empty"),
        ("image,patient_id\nbright/Pbright00_0.png,1\n", "has no row for"),
        (
            "image,patient_id,box_left,box_top,box_right,box_bottom\nbright/Pbright00_0.png,1,9,0,3,5\n",
            "are no box: 9, 0, 3, 5",
        ),
    ],
)
def test_wrong_tables_are_one_line(root, tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message), warnings.catch_warnings():
        module(root, tmp_path, pattern=None, patients=tmp_path / "t.csv")
