"""The batch contract: what passes, and that each breach is named."""

import numpy as np
import pytest
import torch

from cycle_am.contract import HU_MAX, HU_MIN, check_batch, scale_hu
from cycle_am.errors import UserError


def batch(**changes):
    whole = {
        "image": torch.rand(3, 1, 64, 64),
        "label": torch.tensor([0, 1, -1]),
        "case_id": ["a", "b", "c"],
        "patient_id": ["p", "p", "q"],
        "mask": torch.zeros(3, 1, 64, 64),
        "other": torch.ones(3, 1, 64, 64),
    }
    whole.update(changes)
    return {key: value for key, value in whole.items() if value is not None}


def test_scale_is_linear_between_its_ends_and_clipped_beyond():
    hu = np.array([-3024, HU_MIN, -300.0, HU_MAX, 3000])
    expected = np.array([0, 0, 0.5, 1, 1], dtype=np.float32)
    for given in (hu, hu.astype(np.int16), torch.tensor(hu), torch.tensor(hu.astype(np.int16))):
        scaled = scale_hu(given)
        assert type(scaled) is type(given)
        assert str(scaled.dtype).endswith("float32")
        np.testing.assert_allclose(np.asarray(scaled), expected, atol=1e-7)
    assert np.isnan(scale_hu(np.array([np.nan]))).all()  # NaN must survive to be found by the checks


def test_a_right_batch_passes_with_and_without_the_optional_parts():
    check_batch(batch())
    check_batch(batch(mask=None, other=None))
    check_batch(batch(image=torch.zeros(3, 1, 64, 64), mask=torch.ones(3, 1, 64, 64)))


NAN = torch.full((3, 1, 64, 64), float("nan"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "no 'image'"),
        ({"label": None}, "no 'label'"),
        ({"case_id": None}, "no 'case_id'"),
        ({"patient_id": None}, "no 'patient_id'"),
        ({"image": torch.rand(3, 1, 64, 64).double()}, "float64; convert it to a float32"),
        ({"image": np.zeros((3, 1, 64, 64), np.float32)}, "convert it to a float32 tensor"),
        ({"image": torch.rand(3, 64, 64)}, r"shape \(3, 64, 64\), not \(3, 1, 64, 64\)"),
        ({"image": torch.rand(3, 3, 64, 64)}, "resample"),
        ({"image": torch.rand(3, 1, 32, 32)}, "resample"),
        ({"image": torch.rand(3, 1, 64, 64) * 2}, r"scale it to \[0, 1\]"),
        ({"image": torch.rand(3, 1, 64, 64) - 0.5}, r"scale it to \[0, 1\]"),
        ({"image": torch.rand(3, 1, 64, 64).index_fill(3, torch.tensor([5]), float("nan"))}, "without NaN"),
        ({"mask": NAN}, r"'mask'.*without NaN"),
        ({"mask": torch.zeros(2, 1, 64, 64)}, r"'mask'.*shape"),
        ({"other": torch.zeros(3, 1, 64, 65)}, r"'other'.*shape"),
        ({"label": torch.tensor([0.0, 1.0, 0.0])}, "int64"),
        ({"label": torch.tensor([0, 1])}, r"shape \(3,\)"),
        ({"label": torch.tensor([0, 2, 1])}, r"holds \[2\]; use 0 to 1"),
        ({"case_id": ["a", "b"]}, "'case_id'.* list of 3 str"),
        ({"patient_id": [1, 2, 3]}, "'patient_id'.* list of 3 str"),
    ],
)
def test_every_breach_is_named_in_one_line(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        check_batch(batch(**changes))
    assert "\n" not in str(caught.value)
