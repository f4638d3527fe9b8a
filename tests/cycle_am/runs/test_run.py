"""Where runs lie and which one is the latest."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import BlobDataModule
from cycle_am.runs import latest
from cycle_am.runs.checkpoints import resolve_checkpoint, resolve_start
from cycle_am.runs.run import SPLIT, Run
from cycle_am.errors import UserError


def test_latest_is_the_last_published_one(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / "classifier/phantom" / name).mkdir(parents=True)
    for name in ("a", "c", "b"):
        Run(tmp_path / "classifier/phantom" / name).publish()
    assert Run.latest(tmp_path, "classifier", "phantom").folder.name == "b"


def test_a_multiruns_job_becomes_the_latest_of_its_data(tmp_path):
    job = tmp_path / "classifier/phantom/multirun/2026-01-31_12-00-00/3"
    job.mkdir(parents=True)
    Run(job).publish()
    assert Run.latest(tmp_path, "classifier", "phantom").folder == job.resolve()


def test_latest_is_moved_by_runs_of_its_own_folder_only(tmp_path):
    home, run = tmp_path / "runs/classifier/mine", tmp_path / "runs/classifier/mine/a"
    run.mkdir(parents=True)
    for elsewhere in (tmp_path / "output", tmp_path / "runs/classifier/phantom/a", Path("/output")):
        assert "is left alone" in Run(elsewhere).publish(home)
        assert not list(tmp_path.rglob("latest"))
    assert Run(run).publish(home) is None
    assert Run.latest(tmp_path / "runs", "classifier", "mine").folder == run


def test_latest_that_is_not_ours_stays(tmp_path):
    theirs, run = tmp_path / "theirs", tmp_path / "runs/a"
    for folder in (theirs, run):
        folder.mkdir(parents=True)
    for target in (theirs, Path("../theirs"), theirs / "gone"):
        (run.parent / "latest").symlink_to(target)
        assert "is no link to a run beside it" in Run(run).publish()
        assert (run.parent / "latest").readlink() == target
        (run.parent / "latest").unlink()
    (run.parent / "latest").mkdir()
    assert "is no link to a run beside it" in Run(run).publish()
    assert sorted(path.name for path in run.parent.iterdir()) == ["a", "latest"]


def test_a_link_that_cannot_be_made_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(latest.os, "replace", full)
    assert "could not be moved (No space left on device)" in Run(tmp_path / "a").publish()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_jobs_of_a_multirun_form_a_group_and_so_do_single_runs_of_an_experiment():
    job = "runs/classifier/phantom/multirun/2026-01-31_12-00-00/3"
    for folder in (job, f"{job}/selector"):
        assert Run(folder).group("classifier") == "2026-01-31_12-00-00"
    for folder in ("runs/classifier/phantom/2026-01-31_12-00-00", "multirun"):
        assert Run(folder).group("classifier") == "classifier"


def test_moved_runs_keep_their_latest(tmp_path):
    (tmp_path / "old/classifier/phantom/a").mkdir(parents=True)
    Run(tmp_path / "old/classifier/phantom/a").publish()
    (tmp_path / "old").rename(tmp_path / "new")
    assert Run.latest(tmp_path / "new", "classifier", "phantom").folder.is_dir()


def test_no_finished_run_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"run `python train.py experiment=classifier data=lidc`"):
        Run.latest(tmp_path, "classifier", "lidc").folder


def test_a_checkpoint_is_a_file_or_the_last_one_of_a_run(tmp_path):
    (tmp_path / "last.ckpt").touch()
    assert resolve_checkpoint(tmp_path) == resolve_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="there is no checkpoint"):
        resolve_checkpoint(tmp_path / "first.ckpt")


def test_a_run_is_not_tested_on_its_training_patients(tmp_path):
    def data(**arguments) -> BlobDataModule:
        module = BlobDataModule(count=40, cache_dir=tmp_path, **arguments)
        module.setup()
        return module

    Run(tmp_path).write_split(data())
    Run(tmp_path).check_test_part(data())
    Run(tmp_path).check_test_part(data(seed=5))
    with pytest.raises(UserError, match=r"\d+ patients of the test part trained"):
        Run(tmp_path).check_test_part(data(split_seed=5))
    assert "patient-0" not in (tmp_path / SPLIT).read_text()


def test_weights_to_begin_with_are_a_file_or_the_best_of_a_run(tmp_path):
    for name in ("best.ckpt", "judge.ckpt"):
        (tmp_path / name).touch()
    assert (
        resolve_start(tmp_path) == resolve_start(tmp_path / "best.ckpt") == tmp_path / "best.ckpt"
    )
    assert resolve_start(tmp_path / "best.ckpt", "judge") == tmp_path / "judge.ckpt"
    with pytest.raises(UserError, match=r"there is no checkpoint .*selector\.ckpt"):
        resolve_start(tmp_path, "selector")


def test_a_resumed_run_gets_copies(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "best.ckpt").write_text("best")
    Run(old).mark_finished(score=0.5)
    Run(new).adopt(Run(old))
    Run(old).adopt(Run(old))
    assert (new / "best.ckpt").read_text() == "best"
    assert Run(new).finished() == {"score": 0.5}
    assert Run(tmp_path).finished() is None


class Written(BlobDataModule):
    """Blobs whose patients are written in another way."""

    def __init__(self, write, **arguments) -> None:
        super().__init__(**arguments)
        self.write = write

    def build_cases(self):
        cases = super().build_cases()
        return replace(cases, patient_id=np.array([self.write(name) for name in cases.patient_id]))


def test_a_patient_that_trained_a_run_is_known_in_another_spelling(tmp_path):
    def data(write, split_seed=0):
        module = Written(write, count=40, cache_dir=tmp_path, split_seed=split_seed)
        module.setup()
        return module

    Run(tmp_path).write_split(data(lambda name: name))
    for write in (str.upper, lambda name: name.replace("-0", "-")):
        with pytest.raises(UserError, match=r"\d+ patients of the test part trained"):
            Run(tmp_path).check_test_part(data(write, split_seed=5))
        number = len(set(data(write, 5).test_cases.patient_id) - set(data(write).test_cases.patient_id))
        with pytest.raises(UserError, match=f"^{number} patients"):
            Run(tmp_path).check_test_part(data(write, split_seed=5))


def test_a_run_of_before_is_known_by_the_ids_as_they_stood(tmp_path):
    data = BlobDataModule(count=40, cache_dir=tmp_path)
    data.setup()
    digest = hashlib.sha256(str(data.test_cases.patient_id[0]).encode()).hexdigest()[:16]
    (tmp_path / SPLIT).write_text(json.dumps({"fingerprint": "", "seen": [digest], "test": []}))
    with pytest.raises(UserError, match=r"^1 patients of the test part"):
        Run(tmp_path).check_test_part(data)
    assert Run(tmp_path).is_test_part([])
    assert not Run(tmp_path).is_test_part(data.test_cases.patient_id)
    Run(tmp_path).write_split(data)
    assert Run(tmp_path).is_test_part(data.test_cases.patient_id)
