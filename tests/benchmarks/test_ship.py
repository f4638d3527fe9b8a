"""What the package brings along: how it is made smaller, and which cases are drawn."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from benchmarks import ship
from tests.fakes import BlobDataModule


def test_rounded_weights_are_near_and_end_in_zeros():
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    rounded = ship.rounded(weights)
    assert ((rounded - weights) / weights).abs().max() <= 2.0**-17
    assert not (rounded.view(torch.int32) & 0x7F).any()
    assert (rounded != weights).any()
    assert ship.rounded(torch.tensor([3])).item() == 3


def test_bundled_cases_are_windows_of_different_patients(tmp_path):
    data = BlobDataModule(count=60)
    data.prepare_data()
    data.setup()
    files = ship.write_cases(data.test_cases, tmp_path)
    windows = data.test_cases.window()[0][:, 0].numpy()
    patients = []
    for file in files:
        image = np.asarray(Image.open(file)) / 65535
        apart = np.abs(windows - image).max((1, 2))
        assert apart.min() < 1e-4
        patients.append(data.test_cases.patient_id[apart.argmin()])
    assert len(set(patients)) == len(files) == ship.COUNT
