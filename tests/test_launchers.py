"""Multiruns side by side: joblib on one machine, submitit in processes of its own as on a cluster."""

from __future__ import annotations

import json

import pytest

from tests.helpers import TINY_CLASSIFIER, run

PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", PLUGINS)
def test_two_jobs_side_by_side(launcher, tmp_path):
    pytest.importorskip(PLUGINS[launcher])
    overrides = [
        *TINY_CLASSIFIER,
        "trainer.max_epochs=1",
        f"paths.runs={tmp_path}",
        f"hydra/launcher={launcher}",
    ]
    done = run("train.py", "-m", "seed=0,1", *overrides)
    assert done.returncode == 0, done.stderr
    jobs = sorted(tmp_path.glob("classifier/blobs/multirun/*/[01]"))
    assert len(jobs) == 2
    scores = [json.loads((job / "finished.json").read_text())["metrics"]["val/loss"] for job in jobs]
    assert scores[0] != scores[1]
    alone = run(
        "train.py", "seed=1", *TINY_CLASSIFIER, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/alone"
    )
    assert alone.returncode == 0, alone.stderr
    assert json.loads((tmp_path / "alone/finished.json").read_text())["metrics"]["val/loss"] == scores[1]
