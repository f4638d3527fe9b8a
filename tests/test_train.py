"""The training entry: every experiment composes and runs, resumes exactly, and refuses bad input in one
line.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cycle_am.app.config import check_config
from cycle_am.app.console import options
from cycle_am.app.tasks.train import train
from cycle_am.errors import UserError
from datamodules.planted import CUES
from lightning_modules.classifier import ClassifierModule
from tests.helpers import (
    BLOBS,
    ROOT,
    TINY_CLASSIFIER,
    TINY_CYCLE_AM,
    composed,
    environment,
    run,
    same_training,
)

EXPERIMENTS = sorted(options("experiment", [ROOT / "conf"]))
CYCLE_AM = [name for name in EXPERIMENTS if name.startswith("cycle_am")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder whose runs/ holds a classifier with companions for the stand-in data."""
    folder = tmp_path_factory.mktemp("trained")
    companions = "companions={selector:{seed:1},judge:{seed:2,model:{net:{width:3}}}}"
    train(composed([*TINY_CLASSIFIER, companions, "trainer.max_epochs=1"], folder))
    return folder


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment, tmp_path):
    cfg = composed([f"experiment={experiment}"], tmp_path)
    check_config(cfg)
    assert cfg.name == experiment
    assert (ROOT / "conf" / "experiment" / f"{experiment}.yaml").read_text().count(f"experiment={experiment}")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("cue", CUES)
def test_every_experiment_composes_for_every_planted_cue(experiment, cue, tmp_path):
    cfg = composed([f"experiment={experiment}", "data=planted", f"data.cue={cue}"], tmp_path)
    check_config(cfg)
    assert cfg.data_name == f"planted_{cue}"


def test_generated_images_are_turned_only_where_real_ones_are(tmp_path):
    for data, turns in (("phantom", True), ("planted", False)):
        cfg = composed(["experiment=cycle_am_small", f"data={data}"], tmp_path)
        assert cfg.data.augmentation.quarter_turns is turns
        assert cfg.model.terms.activation.function.augment.turns is turns


@pytest.mark.parametrize(
    "search", sorted(path.stem for path in (ROOT / "conf/hparams_search").glob("*.yaml"))
)
def test_every_search_composes(search, tmp_path):
    experiment = "cycle_am_small" if search.startswith("cycle_am") else "classifier"
    check_config(composed([f"experiment={experiment}", f"hparams_search={search}"], tmp_path))


@pytest.mark.parametrize("logger", ["csv", "tensorboard", "wandb", "mlflow", "many"])
@pytest.mark.parametrize("debug", ["fdr", "overfit", "limit"])
def test_loggers_and_debug_modes_compose(logger, debug, tmp_path):
    check_config(composed(["experiment=classifier", f"logger={logger}", f"debug={debug}"], tmp_path))


def test_a_few_batches_of_a_small_set_train(tmp_path):
    cfg = composed([*TINY_CLASSIFIER, "debug=limit", "trainer.max_epochs=1"], tmp_path)
    assert Path(train(cfg)["best"]).is_file()


def test_classifier_fast_dev_run(tmp_path):
    result = train(composed([*TINY_CLASSIFIER, "debug=fdr"], tmp_path))
    assert result["best"] is None
    assert result["metrics"]["val/loss"] > 0
    assert not (tmp_path / "runs/classifier/blobs/latest").exists()


@pytest.mark.parametrize("experiment", CYCLE_AM)
def test_cycle_am_fast_dev_run(experiment, trained):
    result = train(
        composed([*TINY_CYCLE_AM, f"experiment={experiment}", "debug=fdr"], trained, name=experiment)
    )
    assert result["metrics"]["loss/generator"] > 0
    assert 0 <= result["metrics"]["val/explanation_score"] <= 1


def test_classifier_leaves_its_companions(trained):
    latest = trained / "runs/classifier/blobs/latest"
    best, selector, judge = (
        ClassifierModule.load(latest / f"{n}.ckpt") for n in ("best", "selector", "judge")
    )
    assert judge.hparams["net"]["width"] == 3
    assert not torch.equal(best.net.linear.weight, selector.net.linear.weight)
    assert json.loads((latest / "selector/finished.json").read_text())["epochs"] == 1


def test_companions_can_be_switched_off(tmp_path):
    train(composed([*TINY_CLASSIFIER, "trainer.max_epochs=1"], tmp_path))
    assert not list(tmp_path.rglob("judge.ckpt"))


def test_stop_and_resume_at_an_epoch_is_the_same_run(tmp_path):
    whole = train(composed([*TINY_CLASSIFIER, "trainer.max_epochs=4"], tmp_path, "whole"))
    part = composed([*TINY_CLASSIFIER, "trainer.max_epochs=2"], tmp_path, "part")
    train(part)
    resume = [*TINY_CLASSIFIER, "trainer.max_epochs=4", f"ckpt_path={part.paths.run_dir}"]
    resumed = train(composed(resume, tmp_path, "resumed"))
    for name in ("best.ckpt", "last.ckpt"):
        assert same_training(Path(whole["best"]).with_name(name), Path(resumed["best"]).with_name(name))
    assert resumed["score"] == whole["score"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = train(composed([*TINY_CLASSIFIER, "trainer.max_epochs=1"], tmp_path, "first"))
    written = Path(first["best"]).with_name("last.ckpt").stat().st_mtime_ns
    again = train(composed([*TINY_CLASSIFIER, "trainer.max_epochs=1", "ckpt_path=auto"], tmp_path, "first"))
    assert again["score"] == pytest.approx(first["score"])
    assert Path(first["best"]).with_name("last.ckpt").stat().st_mtime_ns == written


def test_killed_in_an_epoch_it_goes_on_from_the_last_checkpoint(tmp_path):
    killed, epochs = tmp_path / "killed", 400
    overrides = [
        *TINY_CLASSIFIER,
        f"paths.runs={tmp_path}",
        f"hydra.run.dir={killed}",
        f"trainer.max_epochs={epochs}",
    ]
    kill_when(killed / "last.ckpt", [sys.executable, "train.py", *overrides, "callbacks.early_stopping=null"])
    kept = torch.load(killed / "last.ckpt", weights_only=True)["epoch"] + 1
    assert kept < epochs
    total = f"trainer.max_epochs={kept + 2}"
    train(composed([*TINY_CLASSIFIER, total, f"ckpt_path={killed}"], tmp_path, "resumed"))
    train(composed([*TINY_CLASSIFIER, total], tmp_path, "whole"))
    runs = tmp_path / "runs/classifier/blobs"
    assert same_training(runs / "resumed/last.ckpt", runs / "whole/last.ckpt")
    assert not list(killed.glob("*.tmp"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_training_with_one_line_and_its_status(number, status, tmp_path):
    folder = tmp_path / "classifier/blobs/run"
    overrides = [
        *TINY_CLASSIFIER,
        f"paths.runs={tmp_path}",
        f"hydra.run.dir={folder}",
        "trainer.max_epochs=5000",
    ]
    command = [sys.executable, "train.py", *overrides, "model.epochs=5000"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 180
    while not (folder / "last.ckpt").is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.communicate(timeout=60)[1].decode() == f"stopped; go on with ckpt_path={folder}\n"
    assert process.returncode == status
    assert not {"finished.json", "failed.json"} & {file.name for file in folder.iterdir()}


def kill_when(file: Path, command: list[str]) -> None:
    """Start, wait for the file and a moment more, SIGKILL."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not file.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert file.is_file()


def test_the_last_checkpoint_knows_that_its_epoch_is_the_best(tmp_path):
    result = train(composed([*TINY_CLASSIFIER, "trainer.max_epochs=1", "model.epochs=1"], tmp_path))
    last = torch.load(Path(result["best"]).with_name("last.ckpt"), weights_only=True)
    (best,) = (state for name, state in last["callbacks"].items() if "BestCheckpoint" in name)
    assert float(best["best_model_score"]) == result["score"]


def test_objectives_are_read_at_the_best_epoch(tmp_path):
    names = ["objectives=[val/loss,val/auc]", "trainer.max_epochs=3", "model.epochs=1"]
    result = train(composed([*TINY_CLASSIFIER, *names], tmp_path))
    assert result["objective"] == [result["score"], result["best_metrics"]["val/auc"]]
    with pytest.raises(UserError, match=r"val/colour was not logged; there are .*val/loss"):
        train(composed([*TINY_CLASSIFIER, *names[1:], "objectives=[val/colour]"], tmp_path, "other"))


def test_a_run_in_a_folder_of_the_users_own_leaves_latest_alone(tmp_path):
    own = tmp_path / "output"
    done = run(
        "train.py",
        *TINY_CLASSIFIER,
        f"paths.runs={tmp_path}/runs",
        f"hydra.run.dir={own}",
        "trainer.max_epochs=1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == str(own / "best.ckpt")
    assert "latest is left alone" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_multirun_of_two_seeds_gives_two_runs_and_leaves_latest_alone(tmp_path):
    overrides = [*TINY_CLASSIFIER, f"paths.runs={tmp_path}", "trainer.max_epochs=1"]
    done = run("train.py", "-m", "seed=0,1", *overrides)
    assert done.returncode == 0, done.stderr
    first, second = sorted(tmp_path.glob("classifier/blobs/multirun/*/*/best.ckpt"))
    assert not torch.equal(
        ClassifierModule.load(first).net.linear.weight, ClassifierModule.load(second).net.linear.weight
    )
    assert not (tmp_path / "classifier/blobs/latest").exists()


@pytest.mark.slow
def test_multirun_told_to_publish_lets_latest_point_to_each_datas_run(tmp_path):
    overrides = [*TINY_CLASSIFIER, f"paths.runs={tmp_path}", "trainer.max_epochs=1"]
    overrides.remove("data_name=blobs")
    done = run("train.py", "-m", "data_name=one,two", "publish=true", *overrides)
    assert done.returncode == 0, done.stderr
    for data in ("one", "two"):
        assert (tmp_path / "classifier" / data / "latest/best.ckpt").is_file()


def test_the_best_checkpoint_is_printed_last_and_latest_points_to_the_run(tmp_path):
    done = run("train.py", *TINY_CLASSIFIER, f"paths.runs={tmp_path}", "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    best = Path(done.stdout.strip().splitlines()[-1])
    assert best.is_file()
    assert (tmp_path / "classifier/blobs/latest").resolve() == best.parent.resolve()


def test_wandb_writes_an_offline_run_without_an_account(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(composed([*TINY_CLASSIFIER, "logger=wandb", "trainer.max_epochs=1"], tmp_path))
    assert len(list(tmp_path.rglob("offline-run-*/run-*.wandb"))) == 1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.batch_size=many", r"data\.batch_size=many: expected int"),
        ("model.lr=fast", r"model\.lr=fast: expected float"),
        ("trainer=gpu", "a GPU is asked for"),
        ("ckpt_path=/nowhere/last.ckpt", "there is no checkpoint /nowhere/last.ckpt"),
        ("+data.colour=red", "colour"),
        ("model.net.width=wide", "model: "),
    ],
)
def test_bad_input_is_one_clear_line(override, expected, tmp_path):
    if override == "trainer=gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    overrides = [*(o for o in TINY_CLASSIFIER if o.split("=")[0] != override.split("=")[0]), override]
    with pytest.raises(Exception, match=expected):
        train(composed(overrides, tmp_path))


def test_missing_data_paths_name_the_key(tmp_path):
    for data, key in (("lidc", "data.dicom_root"), ("manifest", "data.csv")):
        with pytest.raises(UserError, match=rf"{re.escape(key)} is not set; .*{re.escape(key)}=VALUE"):
            check_config(composed(["experiment=classifier", f"data={data}"], tmp_path))


def test_without_a_classifier_cycle_am_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"run `python train.py experiment=classifier data=blobs`"):
        train(composed([*TINY_CYCLE_AM, "experiment=cycle_am_small"], tmp_path))


def test_an_error_leaves_no_folder_no_traceback_and_status_1(tmp_path):
    done = run("train.py", "experiment=cycle_am_small", *BLOBS, f"paths.runs={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_hydra_stops_on_a_wrong_key_and_a_wrong_type(tmp_path):
    for override, expected in (
        ("data.colour=red", "There is no data.colour; there are "),
        ("seed=x", "could not be converted to Integer"),
    ):
        done = run("train.py", "experiment=classifier", override, f"paths.runs={tmp_path}")
        assert done.returncode == 1
        assert expected in done.stderr
    assert not list(tmp_path.iterdir())


def test_init_from_begins_with_the_weights_of_another_run(trained):
    start = trained / "runs/classifier/blobs/latest"
    # A learning rate of 0 keeps what training begins with.
    kept = [*TINY_CLASSIFIER, f"init_from={start}", "model.lr=0.0", "trainer.max_epochs=1", "publish=false"]
    companions = "companions={judge:{seed:2,model:{net:{width:3}}}}"
    result = train(composed([*kept, companions], trained, "tuned"))
    for name in ("best", "judge"):
        first, second = (
            ClassifierModule.load(f"{f}/{name}.ckpt") for f in (start, Path(result["best"]).parent)
        )
        assert torch.equal(first.net.linear.weight, second.net.linear.weight)
    with pytest.raises(UserError, match="has other sizes than this model"):
        train(composed([*kept, "model.net.width=3"], trained, "wide"))
    with pytest.raises(UserError, match=r"patients of the test part trained"):
        train(composed([*kept, "data.split_seed=3"], trained, "leaking"))


def test_init_from_passes_on_whose_patients_were_seen(trained):
    start = trained / "runs/classifier/blobs/latest"
    overrides = [
        *TINY_CLASSIFIER,
        f"init_from={start}",
        "data.limit=20",
        "trainer.max_epochs=1",
        "publish=false",
    ]
    result = train(composed(overrides, trained, "limited"))
    seen, seen_first = (
        json.loads((f / "split.json").read_text())["seen"] for f in (Path(result["best"]).parent, start)
    )
    assert set(seen) == set(seen_first)


def test_cycle_am_begins_with_generators_and_keeps_its_own_classifier(trained):
    fresh = [*TINY_CYCLE_AM, "experiment=cycle_am_small", "trainer.max_epochs=1", "publish=false"]
    first = train(composed(fresh, trained, "first"))
    other = train(
        composed([*TINY_CLASSIFIER, "seed=9", "trainer.max_epochs=1", "publish=false"], trained, "other")
    )
    folder = Path(other["best"]).parent
    start = trained / "runs/classifier/blobs/latest"
    chosen = [
        f"classifier.ckpt={other['best']}",
        *(f"classifier.{n}={start}/{n}.ckpt" for n in ("selector", "judge")),
    ]
    still = [*fresh, *chosen, f"init_from={first['best']}", "model.lr=0.0", "model.lr_discriminator=0.0"]
    second = train(composed(still, trained, "second"))
    a, b = (torch.load(r["best"], weights_only=True)["state_dict"] for r in (first, second))
    assert all(
        torch.equal(a[key], b[key]) for key in a if key.startswith(("g_pos", "g_neg", "d_pos", "d_neg"))
    )
    net = ClassifierModule.load(folder / "best.ckpt").net.linear.weight
    assert torch.equal(b["classifier.linear.weight"], net)


DDP = [*(o for o in TINY_CLASSIFIER if o != "trainer=cpu"), "trainer=ddp", "trainer.accelerator=cpu"]


@pytest.mark.slow
def test_two_processes_on_the_cpu_train_a_classifier(tmp_path):
    done = run("train.py", *DDP, "trainer.max_epochs=1", f"paths.runs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("classifier/blobs/*/best.ckpt"))) == 2  # the run and `latest`
    assert done.stdout.count("best.ckpt") == 1


@pytest.mark.slow
def test_two_processes_run_a_sweep_in_step_in_one_folder(tmp_path):
    sweep = ["seed=0,1", "trainer.max_epochs=1", f"paths.runs={tmp_path}"]
    done = run("train.py", "-m", *DDP, *sweep)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("classifier/blobs/multirun/*"))) == 1
    assert len(list(tmp_path.glob("classifier/blobs/multirun/*/[01]/finished.json"))) == 2
    assert done.stdout.count("best.ckpt") == 2
