import json
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import sim_to_real
from benchmarks.sim_to_real import class_weights, figures, fit, main, predict, without_patients
from cycle_am.data.cases import Cases
from cycle_am.networks import ConvNet


def spots(n: int = 64, seed: int = 0) -> Cases:
    """Malignant cases are brighter in the middle."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    image = rng.uniform(0.0, 0.2, (n, 80, 80)).astype(np.float32)
    image[:, 34:46, 34:46] += 0.2 + 0.4 * label[:, None, None]
    return Cases(
        image=image,
        mask=None,
        label=label.astype(np.int64),
        case_id=np.array([f"{seed}-{i}" for i in range(n)]),
        patient_id=np.array([f"p{i // 2}" for i in range(n)]),
        margin=np.full(n, 8),
        diameter_mm=np.full(n, np.nan, np.float32),
        pixel_mm=45 / 64,
    )


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """A narrow network: the rules are the same, the seconds fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sim_to_real, "ConvNet", partial(ConvNet, width=4))
        yield


@pytest.fixture(scope="module")
def net():
    return fit(spots(), epochs=15, seed=0)


def test_patients_of_the_real_cases_are_left_out():
    kept = without_patients(spots(8), np.array(["p0", "P02", "elsewhere"]))
    assert set(kept.patient_id) == {"p1", "p3"}


def test_class_weights_balance_the_classes():
    torch.testing.assert_close(class_weights(np.array([0, 0, 0, 1])), torch.tensor([4 / 6, 2.0]))


def test_same_seed_same_weights(net):
    again = fit(spots(), epochs=15, seed=0)
    for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_what_is_learnt_is_measured(net):
    unseen = spots(32, seed=1)
    found = figures(predict(net, unseen)[None], unseen)
    assert found["auc"]["value"] > 0.9
    assert found["auc_seed_0"]["value"] == found["auc"]["value"]
    turned = figures(1 - predict(net, unseen)[None], unseen)
    assert turned["auc"]["value"] == pytest.approx(1 - found["auc"]["value"])


def test_a_missing_table_is_one_line(tmp_path, capsys):
    assert main(["--real", str(tmp_path / "none.csv"), "--cache", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_report_is_written(tmp_path, capsys):
    figure = {"value": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 10}
    sim_to_real.report({"auc": figure}, tmp_path / "runs" / "out.json")
    assert json.loads((tmp_path / "runs" / "out.json").read_text()) == {"auc": figure}
    assert "0.900 [0.800, 0.950]" in capsys.readouterr().out
