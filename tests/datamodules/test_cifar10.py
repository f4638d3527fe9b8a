"""CIFAR-10's binary files in exactly their layout, written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cycle_am.errors import UserError
from datamodules.cifar10 import FILES, Cifar10DataModule
from tests.helpers import ready


def write(root, count: int = 40):
    """Records of a label and three planes; red is the label's number times 20, green the row, blue the column."""
    root.mkdir(exist_ok=True)
    rows, columns = np.mgrid[:32, :32].astype(np.uint8)
    for number, name in enumerate(FILES):
        with (root / name).open("wb") as file:
            for i in range(count):
                label = (i + number) % 10
                red = np.full((32, 32), 20 * label, np.uint8)
                red[0, 0] = number * count % 256  # no two files hold the same picture
                red[0, 1] = i
                file.write(bytes([label]) + red.tobytes() + rows.tobytes() + columns.tobytes())
    return root


def module(root, tmp_path, **settings) -> Cifar10DataModule:
    return ready(Cifar10DataModule(root=root, cache_dir=tmp_path / "cache", batch_size=4, **settings))


def test_planes_labels_and_the_published_test_part(tmp_path):
    data = module(write(tmp_path / "c"), tmp_path, classes=["dog", "cat"])
    assert (data.task.shape, data.task.classes) == ((3, 32, 32), ("dog", "cat"))
    assert len(data.cases) == 6 * 8
    assert len(data.test_cases) == 8
    assert set(np.char.partition(data.test_cases.case_id, "-")[:, 0]) == {"test_batch"}
    image, label = data.cases.image[0], data.cases.label[0]
    assert image[0, 5, 5] == pytest.approx({0: 5, 1: 3}[label] * 20 / 255)
    assert image[1, :, 9].tolist() == pytest.approx((np.arange(32) / 255).tolist())
    assert image[2, 9, :].tolist() == pytest.approx((np.arange(32) / 255).tolist())


def test_all_ten_classes(tmp_path):
    data = module(write(tmp_path / "c"), tmp_path)
    assert data.task.classes[:2] == ("airplane", "automobile")
    assert set(data.cases.label.tolist()) == set(range(10))


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no folder of CIFAR-10, data_batch_1.bin is absent \(it needs"):
        module(tmp_path, tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"pickle")
    with pytest.raises(UserError, match="pickles are not opened"):
        module(tmp_path, tmp_path)
    root = write(tmp_path / "c")
    (root / FILES[2]).write_bytes(b"cut short")
    with pytest.raises(UserError, match="has 9 bytes, no multiple of 3073"):
        module(root, tmp_path)
    (root / FILES[2]).write_bytes(bytes([77]) + bytes(3072))
    with pytest.raises(UserError, match="holds label 77"):
        module(root, tmp_path, classes=["cat", "dog"])
