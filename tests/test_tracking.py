"""Every logger gets the same, and an offline W&B run holds what its dashboard needs; nobody is named."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.train import train
from cycle_am.runs.provenance import digest
from tests.helpers import TINY_CLASSIFIER, TINY_CYCLE_AM, composed
from tests.wandb_records import OfflineRun

EPOCHS = 2
MLFLOW = find_spec("mlflow") is not None  # an extra
LOGGERS = f"logger=[csv,tensorboard,wandb{',mlflow' if MLFLOW else ''}]"


@pytest.fixture(scope="module")
def quiet():
    """No server; nothing said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory, quiet) -> Path:
    """A folder with a classifier and a CycleAM that logged everywhere, as the jobs of one multirun, and the CycleAM's
    evaluation."""
    folder = tmp_path_factory.mktemp("runs")
    companions = "companions={selector:{seed:1},judge:{seed:2,model:{net:{width:3}}}}"
    train(composed([*TINY_CLASSIFIER, companions, "trainer.max_epochs=1", "logger=wandb"], folder))
    job = "multirun/2026-01-31_12-00-00/0"
    kept = folder / "runs/cycle_am_small/blobs" / job
    kept.mkdir(parents=True)
    (kept / "environment.json").write_text(
        json.dumps({"git": {"commit": "c0ffee", "dirty": True}, "packages": {}})
    )
    cycle_am = [*TINY_CYCLE_AM, "experiment=cycle_am_small"]
    quick = [f"trainer.max_epochs={EPOCHS}", "trainer.limit_train_batches=2", "trainer.log_every_n_steps=1"]
    train(composed([*cycle_am, *quick, LOGGERS], folder, job))
    results = [*cycle_am, f"run={kept}", f"out_dir={folder}/results", LOGGERS]
    results += ["evaluation.resamples=20", "+evaluation.realism=false", "+evaluation.progress=false"]
    evaluate(composed(results, folder, config="evaluate"))
    return folder


@pytest.fixture(scope="module")
def cycle_am(runs) -> Path:
    """The run's folder."""
    return runs / "runs/cycle_am_small/blobs/multirun/2026-01-31_12-00-00/0"


@pytest.fixture(scope="module")
def offline(cycle_am) -> OfflineRun:
    """The run as W&B kept it."""
    return OfflineRun(cycle_am)


@pytest.fixture(scope="module")
def events(cycle_am) -> EventAccumulator:
    """The run as TensorBoard kept it."""
    found = EventAccumulator(str(cycle_am / "tensorboard/version_0"))
    found.Reload()
    return found


@pytest.fixture(scope="module")
def mlflow_run(runs):
    """The run as MLflow kept it."""
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{runs}/runs/mlflow.db")
    (run,) = client.search_runs(
        [client.get_experiment_by_name("cycle-am").experiment_id], "tags.job_type = 'cycle_am'"
    )
    return run


def scalars(cycle_am: Path) -> dict[str, float]:
    """The last values in the CSV file."""
    table = pd.read_csv(cycle_am / "csv/version_0/metrics.csv").drop(columns=["step", "epoch"])
    return {key: table[key].dropna().iloc[-1] for key in table}


def test_all_loggers_hold_the_same_scalars(cycle_am, offline, events):
    expected = scalars(cycle_am)
    assert {"val/explanation_score", "transfer/selector/pos", "loss/generator"} <= expected.keys()
    tensorboard = {key: events.Scalars(key)[-1].value for key in events.Tags()["scalars"] if key != "epoch"}
    own = {"epoch", "trainer/global_step"}  # and `_step` and the like; keys with a dot are parts of pictures
    wandb = {k: v[-1] for k, v in offline.history.items() if k not in own and k[0] != "_" and "." not in k}
    for found in (tensorboard, wandb):
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, rel=1e-6)


def test_all_loggers_hold_the_same_pictures(cycle_am, offline, events):
    for epoch in range(EPOCHS):
        expected = np.asarray(Image.open(cycle_am / f"panels/epoch_{epoch:03d}.png"))
        kept = offline.file.parent / "files" / offline.history["panels.filenames"][epoch][0]
        assert np.array_equal(np.asarray(Image.open(kept)), expected)
        kept = BytesIO(events.Images("panels")[epoch].encoded_image_string)
        assert np.array_equal(np.asarray(Image.open(kept)), expected)


def test_mlflow_holds_the_same(runs, cycle_am, mlflow_run):
    metrics = {key: value for key, value in mlflow_run.data.metrics.items() if key != "epoch"}
    expected = scalars(cycle_am)
    assert metrics.keys() == expected.keys()
    assert metrics == pytest.approx(expected, rel=1e-6)
    assert mlflow_run.data.tags["group"] == "2026-01-31_12-00-00"
    assert mlflow_run.data.tags["job_type"] == "cycle_am"
    assert (
        mlflow_run.data.params["fingerprint"]
        == json.loads((cycle_am / "split.json").read_text())["fingerprint"]
    )
    files = runs / "runs/mlflow" / mlflow_run.info.run_id / "artifacts"
    for key in ("panels/epoch_001.png", "transfer_histograms/epoch_000.png"):
        assert np.array_equal(*(np.asarray(Image.open(folder / key)) for folder in (files, cycle_am)))
    assert (files / "panel_table/epoch_001.csv").read_text() == (
        cycle_am / "panel_table/epoch_001.csv"
    ).read_text()


def test_the_panel_shows_the_same_cases_in_every_epoch(offline):
    first, second = (
        json.loads((offline.file.parent / "files" / path).read_text())
        for path in offline.history["panel_table.path"]
    )
    column = first["columns"].index("x")
    images = [{row[column]["sha256"] for row in table["data"]} for table in tables_with_pictures(offline)]
    assert len(images) == EPOCHS
    assert images[0] == images[1]
    assert [row[0] for row in first["data"]] == [row[0] for row in second["data"]]


def tables_with_pictures(offline: OfflineRun) -> list[dict]:
    """The tables as they lie in their artifacts, which also hold the pictures."""
    found = []
    for artifact in offline.of("artifact"):
        for entry in artifact["manifest"]["contents"]:
            if entry["path"] == "panel_table.table.json":
                found.append(json.loads(Path(entry["local_path"]).read_text()))
    return found


def test_an_offline_run_says_what_it_is(cycle_am, offline):
    (run,) = {
        json.dumps({k: r.get(k) for k in ("run_group", "job_type", "project")}) for r in offline.of("run")
    }
    assert json.loads(run) == {
        "run_group": "2026-01-31_12-00-00",
        "job_type": "cycle_am",
        "project": "cycle-am",
    }
    config = offline.config
    assert config["git"] == json.loads((cycle_am / "environment.json").read_text())["git"]
    assert config["fingerprint"] == json.loads((cycle_am / "split.json").read_text())["fingerprint"]
    assert config["model"]["generator"]["channels"] == [2, 2, 2, 2]
    assert "transfer_histograms/explained/x._type" in offline.history


def test_lineage_leads_from_the_classifier_to_the_evaluation(runs, cycle_am, offline):
    classifier = (runs / "runs/classifier/blobs/latest").resolve()
    names = {
        role: f"checkpoint-{digest(classifier / f'{role}.ckpt')[:16]}"
        for role in ("best", "selector", "judge")
    }
    assert OfflineRun(classifier).artifacts[names["best"]].get("use_after_commit") is None
    for name in names.values():
        assert offline.artifacts[name]["use_after_commit"] is True
    assert offline.config["lineage"]["classifier"] == {
        "sha256": digest(cycle_am / "classifier.ckpt"),
        "run": str(classifier.relative_to(runs / "runs")),
    }
    own = offline.artifacts[f"checkpoint-{digest(cycle_am / 'best.ckpt')[:16]}"]
    assert json.loads(own["metadata"])["fingerprint"] == offline.config["fingerprint"]
    assert not own.get("use_after_commit")
    results = OfflineRun(runs / "results")
    assert results.artifacts[own["name"]]["use_after_commit"] is True
    # The same content under the same name: to the server one artifact, which one run made and another used.
    assert results.artifacts[own["name"]]["digest"] == own["digest"]


def test_the_evaluation_is_logged_with_figures_table_and_pictures(runs):
    results = OfflineRun(runs / "results")
    assert results.of("run")[0]["job_type"] == "evaluate"
    assert results.of("run")[0]["run_group"] == "2026-01-31_12-00-00"
    figure = json.loads((runs / "results/metrics.json").read_text())["transfer/explained/pos"]
    assert results.history["transfer/explained/pos"] == [pytest.approx(figure["value"])]
    assert results.history["transfer/explained/pos/ci_low"] == [pytest.approx(figure["ci_low"])]
    assert "figures/explanations.filenames" in results.history
    (path,) = results.history["cases.path"]
    table = json.loads((results.file.parent / "files" / path).read_text())
    assert {"x", "G-(x)", "G+(x)", "R = G+(x) - G-(x)", "label", "p_explained_x"} <= set(table["columns"])
    assert table["data"][0][0] == "Image"


def test_other_loggers_get_the_evaluation_too(runs):
    figure = json.loads((runs / "results/metrics.json").read_text())["transfer/explained/pos"]
    found = EventAccumulator(str(runs / "results/tensorboard/version_0"))
    found.Reload()
    assert found.Scalars("transfer/explained/pos")[0].value == pytest.approx(figure["value"])
    assert "figures/explanations" in found.Tags()["images"]
    assert "cases/text_summary" in found.Tags()["tensors"]
    assert not (runs / "results/csv").exists(), "an evaluation's own files are its CSV log"


def test_nothing_logged_names_a_case(runs, offline):
    for run in (offline, OfflineRun(runs / "results")):
        text = json.dumps(run.of("history") + run.of("config"))
        for file in run.file.parent.rglob("files/media/table/*.json"):
            text += file.read_text()
        assert "patient-" not in text
        assert "case-" not in text


def test_an_offline_run_is_ready_to_be_sent(offline):
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", str(offline.file.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert f"run-{offline.file.stem.removeprefix('run-')}.wandb" in done.stdout + done.stderr
