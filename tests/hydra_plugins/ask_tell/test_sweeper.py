"""Studies through the command line: several workers, kill -9, failures. The task is a stub, the sweeper is not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cycle_am.errors import UserError
from cycle_am.sweeps.study import database, open_storage
from tests.helpers import ROOT, environment
from tests.hydra_plugins.ask_tell.stub import jobs
from tests.postgres import new_postgres_database

STUDY = ["-m", "experiment=classifier", "hparams_search=classifier_optuna", "data_name=blobs"]
STUDY += ["hydra.sweeper.heartbeat=1"]


def start(folder: Path, *overrides: str, **env: object) -> subprocess.Popen:
    """A worker on the study in `folder`."""
    variables = {"STUB_LOG": str(folder / "log"), **{key: str(value) for key, value in env.items()}}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.hydra_plugins.ask_tell.stub",
            *STUDY,
            f"paths.runs={folder}",
            *overrides,
        ],
        cwd=ROOT,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen, status: int = 0) -> str:
    """What it printed."""
    output = process.communicate(timeout=280)[0]
    assert process.returncode == status, output
    return output


def table(folder: Path) -> list[dict[str, str]]:
    """study.csv."""
    with (folder / "classifier/blobs/multirun/classifier/study.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_workers_share_a_study_double_nothing_and_leave_the_best(kind, tmp_path, request):
    options = ["hydra.sweeper.n_trials=6"]
    if kind == "postgresql":
        options += [f"hydra.sweeper.storage={new_postgres_database(request.getfixturevalue('postgres'))}"]
    workers = [start(tmp_path, *options, STUB_WORKERS=2, STUB_SECONDS=0.3) for _ in range(2)]
    outputs = [end(worker) for worker in workers]
    ran = jobs(tmp_path / "log")
    assert len({process for process, *_ in ran}) == 2
    assert sorted(int(number) for _, number, *_ in ran) == sorted({int(number) for _, number, *_ in ran})
    assert len({lr for *_, lr in ran}) == len(ran) == 6
    assert [row["state"] for row in table(tmp_path)] == ["complete"] * 6
    assert all("best trial:" in output for output in outputs)

    folder = tmp_path / "classifier/blobs/multirun/classifier"
    (best,) = yaml.safe_load((folder / "best.yaml").read_text())
    values = {row["trial"]: float(row["val/loss"]) for row in table(tmp_path)}
    assert best["values"]["val/loss"] == min(values.values()) == values[str(best["trial"])]
    lr = next(value.split("=")[1] for value in best["overrides"] if value.startswith("model.lr="))
    assert [job[3] for job in ran if job[1] == str(best["trial"])] == [lr]
    assert (folder / "study.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_study_runs_only_what_is_missing(tmp_path):
    killed = start(tmp_path, "hydra.sweeper.n_trials=4", STUB_SECONDS=1)
    deadline = time.monotonic() + 120
    while len(jobs(tmp_path / "log")) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    before = jobs(tmp_path / "log")
    end(start(tmp_path, "hydra.sweeper.n_trials=4"))
    after = jobs(tmp_path / "log")[len(before) :]
    assert len(before) == 3
    assert len(after) == 2  # the one that was killed and the one that was left
    again = [job for job in after if job[2:] == before[2][2:]]
    assert len(again) == 1  # same folder, same values
    assert [row["state"] for row in table(tmp_path)].count("complete") == 4
    assert [row["trial"] for row in table(tmp_path) if row["state"] == "fail"] == ["2"]


def test_failed_trials_are_recorded_and_replaced_by_a_restart(tmp_path):
    # model.lr is no number: every job fails, and the study ends all the same.
    broken = start(tmp_path, "hydra.sweeper.n_trials=2", "model.lr=fast")
    output = end(broken, status=1)
    assert "2 jobs failed:" in output
    assert [row["state"] for row in table(tmp_path)] == ["fail", "fail"]
    assert all("could not" in row["error"] or "must be real" in row["error"] for row in table(tmp_path))
    other = end(start(tmp_path, "hydra.sweeper.n_trials=2"), status=1)
    assert "holds another sweep" in other
    split = end(start(tmp_path / "ddp", "trainer=ddp"), status=1)
    assert split.startswith("error: trainer.devices=2: several processes")
    unusable = end(start(tmp_path / "new", "hydra.sweeper.storage=study.db"), status=1)
    assert unusable.startswith("error: hydra.sweeper.storage=study.db is no URL")


@pytest.mark.parametrize("url", ["sqlite:////nowhere/study.db", "postgresql://me:secret@host/db", "study.db"])
def test_a_storage_that_cannot_be_used_is_one_clear_line(url, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(UserError, match=r"hydra\.sweeper\.storage") as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)


def test_the_default_storage_lies_in_the_sweeps_folder(tmp_path):
    open_storage(database(tmp_path))
    assert (tmp_path / "study.db").is_file()
