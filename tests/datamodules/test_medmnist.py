"""MedMNIST's files in exactly the layout that its package writes, and the real BreastMNIST."""

from __future__ import annotations

import numpy as np
import pytest

from cycle_am.errors import UserError
from datamodules.medmnist import MedMNISTDataModule
from tests.helpers import ready

COUNTS = {"train": 40, "val": 12, "test": 20}


def write(path, size: int = 28, colour: bool = False, flat: bool = False, classes: int = 2, **changes):
    """As `np.savez_compressed` in MedMNIST: uint8 images, labels (N, 1) uint8. Label 0 is dark."""
    random, arrays = np.random.default_rng(0), {}
    for part, count in COUNTS.items():
        label = (np.arange(count) % classes).astype(np.uint8)
        shape = (count, size, size, 3) if colour else (count, size, size)
        image = random.integers(0, 40, shape) + 60 * label.reshape(-1, *[1] * (len(shape) - 1))
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = image.astype(np.uint8), label[:, None]
        if flat:
            arrays[f"{part}_labels"] = label
    np.savez_compressed(path, **(arrays | changes))
    return path


def module(path, tmp_path, **settings) -> MedMNISTDataModule:
    return ready(MedMNISTDataModule(npz=path, cache_dir=tmp_path / "cache", batch_size=4, **settings))


@pytest.mark.parametrize("flat", [False, True])
def test_in_breastmnist_label_0_is_malignant_and_malignant_is_the_second_class(tmp_path, flat):
    data = module(write(tmp_path / "breastmnist.npz", flat=flat), tmp_path)
    assert data.task.classes == ("normal or benign", "malignant")
    mean = data.test_cases.image.mean((1, 2))
    assert (
        mean[data.test_cases.label == 1].max() < mean[data.test_cases.label == 0].min()
    )  # 0 in the file is dark


def test_the_published_split_is_kept(tmp_path):
    data = module(write(tmp_path / "pneumoniamnist_64.npz", size=64), tmp_path)
    assert (len(data.train_cases), len(data.val_cases), len(data.test_cases)) == tuple(COUNTS.values())
    assert data.task.classes == ("normal", "pneumonia")
    assert (data.task.size, data.task.channels) == (64, 1)


def test_of_more_classes_two_are_chosen_in_colour(tmp_path):
    path = write(tmp_path / "bloodmnist.npz", colour=True, classes=8)
    every = module(path, tmp_path)
    assert len(every.task.classes) == 8
    assert set(every.cases.label.tolist()) == set(range(8))
    data = module(path, tmp_path, classes=["platelet", "monocyte"])
    assert (data.task.channels, set(data.cases.label.tolist())) == (3, {0, 1})
    assert len(data.cases) == sum(np.isin(np.arange(count) % 8, (5, 7)).sum() for count in COUNTS.values())


def test_classes_of_an_unknown_set_are_numbers(tmp_path):
    assert module(write(tmp_path / "mine.npz"), tmp_path).task.classes == ("0", "1")


def test_another_size_is_resized(tmp_path):
    assert module(write(tmp_path / "breastmnist.npz"), tmp_path, size=48).cases.image.shape[1:] == (48, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_labels": np.zeros((20, 14), np.uint8)}, "one label an image"),
        ({"val_images": np.zeros((12, 28, 28, 28, 1), np.uint8)}, "one label an image"),
        ({"val_labels": np.zeros((3, 1), np.uint8)}, "one label an image"),
    ],
)
def test_other_sets_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        module(write(tmp_path / "a.npz", **change), tmp_path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        module(tmp_path / "none.npz", tmp_path)
    (tmp_path / "a.npz").write_text("no archive")
    with pytest.raises(UserError, match="no file of MedMNIST"):
        module(tmp_path / "a.npz", tmp_path)
    np.savez(tmp_path / "b.npz", train_images=np.zeros(1))
    with pytest.raises(UserError, match="no file of MedMNIST"):
        module(tmp_path / "b.npz", tmp_path)
    np.savez(
        tmp_path / "c.npz",
        **{f"{part}_{what}": np.array([{}]) for part in COUNTS for what in ("images", "labels")},
    )
    with pytest.raises(UserError, match="no file of MedMNIST"):  # pickles are not opened
        module(tmp_path / "c.npz", tmp_path)


def test_the_real_breastmnist(real_data, tmp_path):
    data = module(real_data / "medmnist" / "breastmnist.npz", tmp_path)
    assert [len(part) for part in (data.train_cases, data.val_cases, data.test_cases)] == [546, 78, 156]
    assert np.bincount(data.cases.label).tolist() == [570, 210]  # 210 malignant, as published
    assert data.cases.image.shape[1:] == (28, 28)
