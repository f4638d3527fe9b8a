import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import sim_to_real
from cycle_am.runs.run import Run
from lightning_modules.classifier import ClassifierModule
from tests.fakes import BlobDataModule


@pytest.fixture(scope="module")
def cases():
    return BlobDataModule(count=32).build_cases()


def test_the_mean_p_and_each_seed_are_measured(cases):
    right = cases.label.astype(float)
    measured = sim_to_real.figures(np.stack([right, 1 - right]), cases)
    assert measured["auc_seed_0"]["value"] == 1
    assert measured["auc_seed_1"]["value"] == 0
    assert measured["auc"]["value"] == 0.5


def test_the_shipped_recipe_is_trained_without_the_real_patients(cases, monkeypatch, tmp_path):
    """The command is train.py's own, and its checkpoint is what predicts."""
    network, called = ClassifierModule(net={"width": 4}).eval(), []
    monkeypatch.setattr(sim_to_real.subprocess, "run", lambda command, check: called.append(command))
    monkeypatch.setattr(sim_to_real.ClassifierModule, "load", lambda path: (called.append(path), network)[1])
    options = SimpleNamespace(
        out=tmp_path, fov=26.0, real=tmp_path / "real.csv", settings=["trainer.max_epochs=1"]
    )
    trained = sim_to_real.train(2, options)
    command, checkpoint = called
    folder = tmp_path / "fov26_seed2"
    assert command[2:4] == ["experiment=classifier", f'data.without=["{tmp_path}/real.csv"]']
    assert {"data.fov_mm=26.0", "seed=2", f'hydra.run.dir="{folder}"', "trainer.max_epochs=1"} < set(command)
    assert checkpoint == Run(folder).checkpoint()
    p = sim_to_real.predict(trained, cases)
    expected = network.probability(cases.window()[0]).detach().numpy()
    np.testing.assert_allclose(p, expected, atol=1e-6)
    assert not np.array_equal(p, sim_to_real.predict(trained, replace(cases, image=1 - cases.image)))


def test_a_missing_table_is_one_line(tmp_path, capsys):
    assert sim_to_real.main(["--real", str(tmp_path / "none.csv"), "--out", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_report_is_written(tmp_path, capsys):
    figure = {"value": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 10}
    sim_to_real.report({"auc": figure}, tmp_path / "runs")
    assert json.loads((tmp_path / "runs" / "figures.json").read_text()) == {"auc": figure}
    assert "0.900 [0.800, 0.950]" in capsys.readouterr().out
