"""Explaining files: `Model.explain` of a path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cycle_am.errors import UserError
from cycle_am.model.model import Model
from cycle_am.networks import ConvNet, UNetGenerator
from cycle_am.task import Task
from tests.cycle_am.sources.conftest import ball, write_series  # noqa: F401 (fixtures)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    narrow = {"channels": (2, 2, 2, 2), "padding_mode": "reflect"}
    networks = {"classifier": ConvNet(width=2), "judge": ConvNet(width=2)}
    networks |= {name: UNetGenerator(**narrow) for name in ("g_neg", "g_pos")}
    return Model(networks, Task())


def test_a_path_is_explained_with_its_places(tmp_path, write_series, ball, model):  # noqa: F811
    folder = write_series(tmp_path / "scan")
    with pytest.warns(match=r"lesion 2: no slice of it lies at \(0, 0, 900\) mm"):
        explanation = model.explain(folder, at=[ball.centre, (0, 0, 900), ball.centre])
    assert [place.name for place in explanation.place] == ["lesion 1", "lesion 3"]
    np.testing.assert_allclose(explanation.place[1].centre_mm, ball.centre, atol=1e-6)
    same = model.explain(explanation.x)
    np.testing.assert_array_equal(explanation.relevance, same.relevance)
    assert len(model.explain(str(folder), at=ball.centre)) == 1


def test_a_path_without_windows_raises_the_line(tmp_path, write_series, ball, model):  # noqa: F811
    with pytest.raises(UserError, match="scan: it is larger than the model's window, so say where"):
        model.explain(write_series(tmp_path / "scan"))
    with pytest.raises(UserError, match="does not exist"):
        model.explain(str(tmp_path / "absent.nii"))
    with pytest.raises(UserError, match="at say where in a file"):
        model.explain(np.zeros((64, 64)), at=(1, 2, 3))
