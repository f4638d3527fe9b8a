"""How an entry point ends: one line for a user's error, a record in the run's own folder, the user's own left alone."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf

from utils import entry
from utils.errors import UserError


def fails(error: Exception):
    def task(cfg):
        raise error

    return task


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "run/.hydra").mkdir(parents=True)
    return tmp_path / "run"


def config(folder):
    return OmegaConf.create({"paths": {"run_dir": str(folder)}})


def test_an_error_is_recorded_and_goes_with_the_next_start(run_dir):
    with pytest.raises(ValueError, match="not so"):
        entry.run(fails(ValueError("not so")), config(run_dir))
    assert json.loads((run_dir / "failed.json").read_text())["error"] == "ValueError: not so"
    assert "ValueError: not so" in (run_dir / "traceback.txt").read_text()
    assert entry.run(lambda cfg: "done", config(run_dir)) == "done"
    assert [path.name for path in run_dir.iterdir()] == [".hydra"]


def test_a_users_error_is_one_line_and_removes_a_folder_without_worth(run_dir, capsys):
    with pytest.raises(SystemExit) as end:
        entry.run(fails(UserError("do\nthis")), config(run_dir))
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: do this\n"
    assert not run_dir.exists()


def test_a_folder_with_a_checkpoint_stays(run_dir):
    (run_dir / "last.ckpt").touch()
    with pytest.raises(SystemExit):
        entry.run(fails(UserError("no")), config(run_dir))
    assert (run_dir / "last.ckpt").exists()


def test_the_users_own_folder_is_left_alone(tmp_path):
    with pytest.raises(SystemExit):
        entry.run(fails(UserError("no")), config(tmp_path))
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())
    (tmp_path / "failed.json").touch()
    entry.run(lambda cfg: "done", config(tmp_path))
    assert (tmp_path / "failed.json").exists()
