"""A grid of four jobs, one of which fails: the others finish, and a second run does that one only."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.helpers import ROOT, TINY_CLASSIFIER, environment, run


def test_a_failed_job_does_not_end_the_sweep_and_a_restart_runs_only_it(tmp_path):
    sweep = tmp_path / "classifier/blobs/multirun/grid"
    command = ["-m", *TINY_CLASSIFIER, "seed=0,1,2,3", "trainer.max_epochs=1", f"paths.runs={tmp_path}"]
    command.append(f"hydra.sweep.dir={sweep}")
    obstacle = sweep / "2/last.ckpt"  # a folder where the checkpoint is to be written
    obstacle.mkdir(parents=True)
    first = run("train.py", *command)
    assert first.returncode == 1
    assert "1 jobs failed:" in first.stderr
    failed = json.loads((sweep / "2/failed.json").read_text())
    assert "IsADirectoryError" in failed["error"]
    assert (sweep / "2" / failed["traceback"]).read_text().startswith("Traceback")
    assert [(sweep / str(job) / "finished.json").is_file() for job in range(4)] == [True, True, False, True]

    written = {job: (sweep / str(job) / "last.ckpt").stat().st_mtime_ns for job in (0, 1, 3)}
    obstacle.rmdir()
    second = run("train.py", *command)
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("has finished before") == 3
    assert second.stdout.count("epoch 1/1") == 1
    assert {job: (sweep / str(job) / "last.ckpt").stat().st_mtime_ns for job in written} == written
    assert (sweep / "2/finished.json").is_file()
    assert not (sweep / "2/failed.json").exists()

    command[command.index("seed=0,1,2,3")] = "seed=3,4"
    other = run("train.py", *command)
    assert other.returncode == 1
    assert other.stderr.count("\n") == 1
    assert "holds another sweep" in other.stderr


def test_failures_of_a_sweep_over_experiments_are_found_wherever_the_jobs_lie(tmp_path):
    command = ["-m", "experiment=cycle_am_small,cycle_am_few", "data.margin=wide"]
    done = run("train.py", *command, f"paths.runs={tmp_path}", f"paths.cache={tmp_path}")
    assert done.returncode == 1, done.stderr
    assert "2 jobs failed:" in done.stderr
    assert {file.parents[4].name for file in tmp_path.glob("*/*/multirun/*/*/failed.json")} == {
        "cycle_am_small",
        "cycle_am_few",
    }
    (again,) = [line for line in done.stderr.splitlines() if "runs only what is missing" in line]
    assert "hydra.sweep.dir='${home:${paths.runs}}/${name}/${data_name}/multirun/" in again


def test_an_error_is_recorded_where_the_system_writes_ascii(tmp_path):
    error = "'zu gro\\xdf'"
    script = (
        f"from cycle_am.runs.failures import record; record(Path({str(tmp_path)!r}), ValueError({error}), {error})"
    )
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", f"from pathlib import Path; {script}"]
    subprocess.run(command, cwd=ROOT, env={**environment(), **variables}, check=True)
    assert "zu groß" in (tmp_path / "traceback.txt").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "failed.json").read_text())["error"] == "zu groß"
