"""scikit-learn's digits as pictures."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cycle_am.errors import UserError
from datamodules.digits import DigitsDataModule
from tests.helpers import ready


def test_digits_are_scikit_learns(tmp_path):
    data = ready(DigitsDataModule(classes=["8", "3"], size=32, cache_dir=tmp_path))
    assert np.bincount(data.cases.label).tolist() == [174, 183]
    assert data.cases.image.shape == (357, 32, 32)
    assert (data.cases.image.min(), data.cases.image.max()) == (0, 1)
    every = ready(DigitsDataModule(size=32, cache_dir=tmp_path))
    assert every.task.classes == tuple("0123456789")
    assert np.bincount(every.cases.label).tolist() == np.bincount(load_digits().target).tolist()
    with pytest.raises(UserError, match="two or more classes"):
        DigitsDataModule(classes=["3"], cache_dir=tmp_path).prepare_data()
