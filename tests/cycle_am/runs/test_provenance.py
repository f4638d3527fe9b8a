"""What a run can be repeated from: complete, nameless, and it does repeat the run bit for bit."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.helpers import ROOT, TINY_CLASSIFIER, TINY_CYCLE_AM, composed, run, same_training
from cycle_am.runs import provenance
from cycle_am.app.tasks.train import train


@pytest.fixture
def trained(tmp_path) -> Path:
    """The folder of a barely trained classifier."""
    return Path(train(composed([*TINY_CLASSIFIER, "trainer.max_epochs=1"], tmp_path))["best"]).parent


def repeated(run_dir: Path, *overrides: str) -> Path:
    """Repeat a run by its one-liner; the new run's folder."""
    line = shlex.split(provenance.command(run_dir))
    done = run(line[1], *line[2:], *overrides)
    assert done.returncode == 0, done.stderr
    new = Path(done.stdout.strip().splitlines()[-1]).parent
    assert new.resolve() != run_dir.resolve()
    return new


def assert_same(first: Path, second: Path) -> None:
    """Weights, optimizer, logged figures and result of two runs are the same to the last bit."""
    assert same_training(first / "last.ckpt", second / "last.ckpt")
    logs = [next(folder.glob("csv/version_*/metrics.csv")).read_bytes() for folder in (first, second)]
    assert logs[0] == logs[1]
    ends = [json.loads((folder / "finished.json").read_text()) for folder in (first, second)]
    assert [(e["score"], e["metrics"]) for e in ends[:1]] == [(e["score"], e["metrics"]) for e in ends[1:]]


def test_the_environment_is_complete(trained):
    facts = json.loads((trained / "environment.json").read_text())
    assert facts["packages"]["torch"].split("+")[0] == provenance.torch.__version__.split("+")[0]
    assert facts["machine"]["threads"] == provenance.torch.get_num_threads()
    assert facts["machine"]["precision"] == facts["config"]["trainer"]["precision"]
    assert facts["config"]["data"]["seed"] == 0  # resolved
    assert facts["git"] == provenance.git_state()[0]
    assert facts["earlier"] == []


def test_nobody_is_named(trained, monkeypatch):
    text = (trained / "environment.json").read_text() + (trained / "repeat.yaml").read_text()
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert str(ROOT) not in text
    assert str(Path.home()) + "/" not in text
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    assert provenance.nameless(["/home/somebody/a.csv", "/home/somebody", "/home/somebody2/a"]) == [
        "~/a.csv",
        "~",
        "/home/somebody2/a",
    ]
    assert provenance.nameless(f"x={Path.cwd()}/runs,{Path.cwd()}, /mnt{Path.cwd()}/y") == (
        f"x=runs,., /mnt{Path.cwd()}/y"
    )


def test_the_line_can_be_given_to_a_shell(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/somebody"))
    for folder, named in (
        ("/home/somebody/my runs/a", "~/'my runs/a'"),
        ("/x/$(b)", "'/x/$(b)'"),
        ("/x/y", "/x/y"),
    ):
        assert provenance.command(folder) == f"python train.py --config-dir {named} --config-name repeat"


def test_a_home_folder_is_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fixed = provenance.repeatable(composed([*TINY_CLASSIFIER, f"data.cache_dir={tmp_path}/cache"], tmp_path))
    assert OmegaConf.to_container(fixed)["data"]["cache_dir"] == "${oc.env:HOME}/cache"
    assert fixed.data.cache_dir == f"{tmp_path}/cache"


def test_a_run_repeats_bit_for_bit_in_a_new_folder(tmp_path):
    overrides = [
        *TINY_CLASSIFIER,
        "trainer.max_epochs=2",
        "seed=3",
        "model.lr=2e-3",
        f"paths.runs={tmp_path}",
    ]
    done = run("train.py", *overrides)
    assert done.returncode == 0, done.stderr
    first = Path(done.stdout.strip().splitlines()[-1]).parent
    second = repeated(first)
    assert_same(first, second)
    assert (tmp_path / "classifier/blobs/latest").resolve() == first.resolve()


@pytest.mark.slow
def test_a_job_of_a_multirun_repeats_and_its_repeat_does(tmp_path):
    overrides = [*TINY_CLASSIFIER, "trainer.max_epochs=1", f"paths.runs={tmp_path}"]
    done = run("train.py", "-m", "seed=0,1", *overrides)
    assert done.returncode == 0, done.stderr
    (job,) = tmp_path.glob("classifier/blobs/multirun/*/1")
    second = repeated(job)
    assert_same(job, second)
    assert_same(second, repeated(second))
    assert not same_training(job / "last.ckpt", repeated(job, "seed=4") / "last.ckpt")


@pytest.mark.slow
def test_cycle_am_repeats_with_the_classifier_that_it_explained(tmp_path):
    companions = "companions={selector:{seed:1},judge:{seed:2,model:{net:{width:3}}}}"
    quick = ["trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    classifier = composed([*TINY_CLASSIFIER, companions, *quick], tmp_path)
    train(classifier)
    cycle_am = composed(["experiment=cycle_am_small", *TINY_CYCLE_AM, *quick], tmp_path)
    first = Path(train(cycle_am)["best"]).parent
    shutil.rmtree(classifier.paths.run_dir)  # only the copies are left
    second = repeated(first, f"paths.root={tmp_path}")
    assert_same(first, second)
    kept = [json.loads((folder / "environment.json").read_text())["inputs"] for folder in (first, second)]
    assert kept[0] == kept[1]
    assert set(kept[0]) == {"classifier.ckpt", "classifier.selector", "classifier.judge"}


def test_what_it_began_with_is_pinned(trained, tmp_path):
    start = trained.parent / "latest"
    tuned = composed([*TINY_CLASSIFIER, f"init_from={start}", "trainer.max_epochs=1"], tmp_path, "tuned")
    train(tuned)
    settings = OmegaConf.load(Path(tuned.paths.run_dir) / "repeat.yaml")
    assert Path(settings.init_from).resolve() == trained.resolve()  # `latest` points elsewhere by now
    facts = json.loads((Path(tuned.paths.run_dir) / "environment.json").read_text())
    assert facts["inputs"] == {"init_from": provenance.digest(trained)}


def test_a_resumed_run_keeps_what_it_was_begun_with(tmp_path):
    for epochs in (1, 2):
        result = train(
            composed([*TINY_CLASSIFIER, f"trainer.max_epochs={epochs}", "ckpt_path=auto"], tmp_path)
        )
    folder = Path(result["best"]).parent
    train(
        composed([*TINY_CLASSIFIER, "trainer.max_epochs=2", "ckpt_path=auto"], tmp_path)
    )  # nothing left to do
    facts = json.loads((folder / "environment.json").read_text())
    assert [len(facts["earlier"]), facts["config"]["trainer"]["max_epochs"]] == [1, 2]
    assert facts["earlier"][0]["config"]["trainer"]["max_epochs"] == 1


def test_changed_code_is_restored_from_the_commit(tmp_path, monkeypatch):
    def git(*arguments: str, folder: Path) -> None:
        subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)

    code, again = tmp_path / "code", tmp_path / "again"
    code.mkdir()
    monkeypatch.setattr(provenance, "ROOT", code)
    assert provenance.git_state() == ("no repository", b"")
    (code / "a.py").write_text("a = 1\n")
    who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        git(*arguments, folder=code)
    assert provenance.git_state()[0]["dirty"] is False
    git("clone", "-q", str(code), str(again), folder=tmp_path)
    (code / "a.py").write_text("a = 2\n")
    (code / "new.py").write_text("b = 1\n")
    (code / "patients.csv").write_text("somebody\n")
    state, diff = provenance.git_state()
    assert state["dirty"] is True
    assert b"somebody" not in diff
    (tmp_path / "git.diff").write_bytes(diff)
    git("apply", str(tmp_path / "git.diff"), folder=again)
    assert [(again / name).read_text() for name in ("a.py", "new.py")] == ["a = 2\n", "b = 1\n"]
    assert state["diff_sha256"] == provenance.hashlib.sha256(diff).hexdigest()
