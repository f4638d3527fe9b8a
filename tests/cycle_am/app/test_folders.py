"""Every run has a folder of its own, or says in one line why it has none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cycle_am.app.folders import new_folder
from tests.helpers import ROOT, TINY_CLASSIFIER, environment, run

SECOND = "2026-01-31_12-00-00"


def at_once(*commands: list[str], cwd=ROOT) -> list[str]:
    """Start the commands together; what they wrote on stderr."""
    started = [
        subprocess.Popen(
            [sys.executable, "train.py", *one], cwd=cwd, env=environment(), text=True, stderr=subprocess.PIPE
        )
        for one in commands
    ]
    return [process.communicate(timeout=240)[1] for process in started]


def test_two_runs_of_the_same_second_have_a_folder_each(tmp_path):
    # The year stands for the second: the two cannot miss it.
    overrides = [*TINY_CLASSIFIER, "trainer.max_epochs=1", f"paths.runs={tmp_path}"]
    overrides.append(f"hydra.run.dir={tmp_path}/classifier/blobs/${{now:%Y}}")
    at_once([*overrides, "seed=0"], [*overrides, "seed=1"])
    found = sorted(path for path in tmp_path.glob("classifier/blobs/*") if not path.is_symlink())
    assert [path.name[4:] for path in found] == ["", "-2"]
    seeds = [json.loads((path / "environment.json").read_text())["config"]["seed"] for path in found]
    assert sorted(seeds) == [0, 1]
    for path in found:
        assert (path / "best.ckpt").is_file()
        assert len(list(path.glob("csv/version_*"))) == 1


def test_a_new_folder_is_new(tmp_path):
    made = [new_folder(tmp_path / "a" / SECOND) for _ in range(3)]
    assert [path.name for path in made] == [SECOND, f"{SECOND}-2", f"{SECOND}-3"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        new_folder(tmp_path / "file")


def test_two_sweeps_of_the_same_second_are_one_and_a_refusal(tmp_path):
    sweep = ["-m", *TINY_CLASSIFIER, "seed=0,1", "trainer.max_epochs=1", f"paths.runs={tmp_path}"]
    sweep.append(f"hydra.sweep.dir={tmp_path}/${{now:%Y}}")
    errors = at_once(sweep, sweep)
    assert sorted("in the same second" in text for text in errors) == [False, True]
    (folder,) = tmp_path.glob("2*")
    assert len(list(folder.glob("[01]/finished.json"))) == 2


def test_a_folder_that_is_named_is_taken_as_it_is(tmp_path):
    folder = tmp_path / "classifier/blobs/mine"
    folder.mkdir(parents=True)
    done = run(
        "train.py",
        *TINY_CLASSIFIER,
        "trainer.max_epochs=1",
        f"paths.runs={tmp_path}",
        f"hydra.run.dir={folder}",
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "best.ckpt").is_file()


@pytest.mark.parametrize("multirun", [[], ["-m", "seed=0,1"]])
def test_a_folder_that_cannot_be_written_is_one_line(multirun, tmp_path):
    (tmp_path / "runs").touch()
    done = run("train.py", *multirun, *TINY_CLASSIFIER, f"paths.runs={tmp_path}/runs")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the folder {tmp_path}/runs/classifier/blobs/")
    assert "cannot be written (not a directory)" in done.stderr
    assert done.stderr.count("\n") == 1


def test_processes_that_would_each_name_the_folder_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run("train.py", *TINY_CLASSIFIER, f"paths.runs={tmp_path}")
    assert done.returncode == 1
    assert "give all of them the same hydra.run.dir=FOLDER" in done.stderr
    assert done.stderr.count("\n") == 1
