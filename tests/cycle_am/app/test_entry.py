"""How an entry point ends: one line for a user's error, a record in the run's own folder, the user's own left alone."""

from __future__ import annotations

import errno
import json
import os
import signal

import pytest
from omegaconf import OmegaConf

from cycle_am.app import entry
from cycle_am.errors import UserError


def fails(error: Exception):
    def task(*_):
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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/runs/a/best.ckpt"),
            "/runs/a/best.ckpt cannot be written (no",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "a file cannot be written (no space left on device); make room",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/cache"),
            "/cache cannot be written (read-only file system)",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a/b"),
            "/a/b cannot be written (not a directory)",
        ),
    ],
)
def test_what_cannot_be_written_is_one_line(run_dir, capsys, monkeypatch, error, expected):
    (run_dir / "last.ckpt").touch()
    monkeypatch.setattr(
        "cycle_am.runs.failures.write_atomically", fails(error)
    )  # nor can the error be recorded
    with pytest.raises(SystemExit) as end:
        entry.run(fails(error), config(run_dir))
    assert end.value.code == 1
    line = capsys.readouterr().err
    assert expected in line
    assert line.count("\n") == 1


def test_an_error_of_the_system_that_is_not_the_disks_is_raised(run_dir):
    for error in (PermissionError(errno.EACCES, "Permission denied"), ConnectionRefusedError(111, "refused")):
        with pytest.raises(OSError, match=error.strerror):
            entry.run(fails(error), config(run_dir))


def test_ctrl_c_and_sigterm_say_how_the_run_goes_on(run_dir, capsys):
    (run_dir / "last.ckpt").touch()
    for ending, status in ((interrupt, 130), (lambda cfg: os.kill(os.getpid(), signal.SIGTERM), 143)):
        with pytest.raises(SystemExit) as end:
            entry.run(ending, config(run_dir))
        assert end.value.code == status
        assert capsys.readouterr().err == f"stopped; go on with ckpt_path={run_dir}\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not (run_dir / "failed.json").exists()


def test_what_was_stopped_before_it_began_leaves_nothing(run_dir, capsys):
    with pytest.raises(SystemExit):
        entry.run(interrupt, config(run_dir))
    assert capsys.readouterr().err == "stopped; there is nothing to go on from\n"
    assert not run_dir.exists()


def test_the_signal_is_left_to_whoever_waits_for_it(run_dir):
    got = []
    before = signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    try:
        assert (
            entry.run(lambda cfg: os.kill(os.getpid(), signal.SIGTERM) or "done", config(run_dir)) == "done"
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [1]


def interrupt(cfg):
    raise KeyboardInterrupt
