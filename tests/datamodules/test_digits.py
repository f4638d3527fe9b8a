"""scikit-learn's digits as pictures."""

from __future__ import annotations

import numpy as np
import pytest

from cycle_am.errors import UserError
from datamodules.digits import DigitsDataModule
from tests.helpers import ready


def test_digits_are_scikit_learns(tmp_path):
    data = ready(DigitsDataModule(classes=["8", "3"], size=32, cache_dir=tmp_path))
    assert np.bincount(data.cases.label).tolist() == [174, 183]
    assert data.cases.image.shape == (357, 32, 32)
    assert (data.cases.image.min(), data.cases.image.max()) == (0, 1)
    with pytest.raises(UserError, match="choose two"):
        DigitsDataModule(cache_dir=tmp_path).prepare_data()
