"""Files that evaluation writes."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest

from cycle_am.estimate import Estimate, undefined
from cycle_am.estimate import prefixed
from cycle_am.runs.results import read_metrics, write_cases, write_maps, write_metrics


def test_metrics_are_valid_json_and_come_back(tmp_path):
    metrics = {"a/b": Estimate(value=0.5, ci_low=0.4, ci_high=0.6, n=3), "a/c": undefined()}
    path = write_metrics(tmp_path / "deep" / "metrics.json", metrics)
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["a/b"] == {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 3}
    assert content["a/c"] == {"value": None, "ci_low": None, "ci_high": None, "n": 0}
    back = read_metrics(path)
    assert back["a/b"] == metrics["a/b"]
    assert np.isnan(back["a/c"]["value"])
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_cases_and_maps(tmp_path):
    table = pd.read_csv(
        write_cases(tmp_path / "cases.csv", {"case_id": np.array(["a", "b"]), "p": np.array([0.25, np.nan])})
    )
    assert table["case_id"].tolist() == ["a", "b"]
    assert table["p"].isna().tolist() == [False, True]
    path = write_maps(tmp_path / "relevance.npz", np.array(["a", "b"]), cycle_am=np.ones((2, 4, 4)))
    with np.load(path, allow_pickle=False) as stored:
        assert stored["case_id"].tolist() == ["a", "b"]
        assert stored["cycle_am"].dtype == np.float32
        assert stored["cycle_am"].shape == (2, 4, 4)


def test_prefixed():
    assert list(prefixed("transfer/explained", {"x": undefined()})) == ["transfer/explained/x"]


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(stream, **_):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_maps(tmp_path / "relevance.npz", np.array(["a"]), lrp=np.zeros((1, 2, 2)))
    assert raised.value.filename == str(tmp_path / "relevance.npz")
    assert not list(tmp_path.iterdir())
