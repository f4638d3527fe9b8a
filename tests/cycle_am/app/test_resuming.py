"""Going on from a checkpoint: on whose patients, with which settings, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from cycle_am.app.classifiers import Classifiers
from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.train import train
from cycle_am.errors import UserError
from cycle_am.runs.run import Run
from lightning_modules.classifier import ClassifierModule
from tests.helpers import TINY_CLASSIFIER, TINY_CYCLE_AM, composed

COMPANIONS = "companions={selector:{seed:1},judge:{seed:2,model:{net:{width:3}}}}"


def longer(start: Path, folder: Path, name: str, *changes: str) -> dict:
    """The classifier `start` trained on for another epoch, in a folder of its own."""
    more = [*TINY_CLASSIFIER, "trainer.max_epochs=2", "publish=false", f"ckpt_path={start}", *changes]
    return train(composed(more, folder, name))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder whose runs/ holds a classifier of one epoch with companions."""
    folder = tmp_path_factory.mktemp("trained")
    train(composed([*TINY_CLASSIFIER, COMPANIONS, "trainer.max_epochs=1"], folder))
    return folder


@pytest.fixture(scope="module")
def start(trained) -> Path:
    """Its run."""
    return trained / "runs/classifier/blobs/run"


def seen(run_dir: Path) -> set[str]:
    return set(Run(run_dir).split["seen"])


def test_a_run_that_is_resumed_on_another_split_is_refused(trained, start):
    with pytest.raises(UserError, match=rf"\d+ patients of the test part trained {start}"):
        longer(start, trained, "leak", "data.split_seed=5")


def test_a_resumed_run_has_seen_what_the_run_before_saw_and_the_one_before_that(trained, start, capsys):
    first = Path(longer(start, trained, "few", "data.limit=20")["best"]).parent
    assert "the data are not those" in capsys.readouterr().out
    second = Path(longer(first, trained, "fewer", "data.limit=12", "trainer.max_epochs=3")["best"]).parent
    assert seen(start) == seen(first) == seen(second)
    assert len(seen(start)) > 12
    cfg = composed([*TINY_CLASSIFIER, "data.split_seed=5", f"run={second}"], trained, config="evaluate")
    with pytest.raises(UserError, match="patients of the test part trained"):
        evaluate(cfg)


def test_a_checkpoint_alone_does_not_say_whom_it_saw(trained, start, tmp_path, capsys):
    bare = tmp_path / "last.ckpt"
    bare.write_bytes((start / "last.ckpt").read_bytes())
    best = Path(longer(bare, trained, "bare", "data.split_seed=5")["best"])
    assert f"{tmp_path} does not say which patients trained it" in capsys.readouterr().out
    assert Run(best.parent).split["unknown"] is True
    longer(best.parent, trained, "bare again", "data.split_seed=5", "trainer.max_epochs=3")
    assert f"{best.parent} does not say which patients trained it" in capsys.readouterr().out
    assert Run(start).split["unknown"] is False


def test_a_finished_run_that_is_taken_over_keeps_its_split_and_its_settings(trained, start, capsys):
    again = [*TINY_CLASSIFIER, "trainer.max_epochs=1", "publish=false", f"ckpt_path={start}", "seed=7"]
    copy = Path(train(composed(again, trained, "copy"))["best"]).parent
    assert seen(copy) == seen(start)
    assert json.loads((copy / "environment.json").read_text())["config"]["seed"] == 0
    assert (
        "not in force, since the training had ended: model.seed=7, seed=7"
        in capsys.readouterr().out.replace("data.seed=7, ", "")
    )


def test_cycle_am_has_seen_what_its_classifiers_saw(trained, start):
    small = [*TINY_CYCLE_AM, "experiment=cycle_am_small", "publish=false", "data.limit=16"]
    first = train(composed([*small, "trainer.max_epochs=1"], trained, "few"))
    folder = Path(first["best"]).parent
    assert seen(folder) == seen(start)
    resume = [*small, "trainer.max_epochs=2", f"ckpt_path={folder}"]
    with pytest.raises(UserError, match="patients of the test part trained"):
        train(composed([*resume, "data.split_seed=5"], trained, "leak"))
    cfg = composed([*small, "data.split_seed=5", f"run={folder}"], trained, config="evaluate")
    with pytest.raises(UserError, match="patients of the test part trained"):
        evaluate(cfg)


def test_another_network_is_one_line(trained, start):
    with pytest.raises(
        UserError, match=r"does not fit this model \(net\.\S+\); give the model settings"
    ) as error:
        longer(start, trained, "wide", "model.net.width=3")
    assert "\n" not in str(error.value)


def test_what_is_no_training_and_fewer_epochs_are_one_line(trained, start, tmp_path):
    state = torch.load(start / "last.ckpt", weights_only=True)["state_dict"]
    torch.save({"state_dict": state}, tmp_path / "weights.ckpt")
    with pytest.raises(UserError, match="is no checkpoint of a training"):
        longer(tmp_path / "weights.ckpt", trained, "weights")
    two = Path(longer(start, trained, "two")["best"]).parent
    with pytest.raises(UserError, match=r"trainer\.max_epochs=1: .* has 2 epochs already"):
        longer(two, trained, "one", "trainer.max_epochs=1")


def test_what_the_optimiser_has_of_its_own_is_what_is_recorded(trained, start, capsys):
    changed = ["model.lr=1e-5", "model.weight_decay=0.5", "model.label_smoothing=0.1", f"ckpt_path={start}"]
    cfg = composed([*TINY_CLASSIFIER, "trainer.max_epochs=2", "publish=false", *changed], trained, "slower")
    file = Path(cfg.paths.run_dir) / ".hydra/config.yaml"
    file.parent.mkdir(parents=True)
    OmegaConf.save(cfg, file)
    best = train(cfg)["best"]
    out = capsys.readouterr().out
    assert "model.lr=1e-05 has no effect on a resumed run, its optimiser has 0.002" in out
    assert "model.weight_decay=0.5 has no effect on a resumed run, its optimiser has 0.01" in out
    assert "label_smoothing" not in out
    recorded = json.loads(Path(best).with_name("environment.json").read_text())["config"]["model"]
    for model in (recorded, OmegaConf.load(file).model, ClassifierModule.load(best).hparams):
        assert (model["lr"], model["weight_decay"], model["label_smoothing"]) == (0.002, 0.01, 0.1)
    group = torch.load(Path(best).with_name("last.ckpt"), weights_only=True)["optimizer_states"][0][
        "param_groups"
    ][0]
    assert (group["initial_lr"], group["weight_decay"]) == (0.002, 0.01)


def test_each_of_cycle_ams_optimisers_keeps_its_own_rate(trained, capsys):
    small = [*TINY_CYCLE_AM, "experiment=cycle_am_small", "publish=false"]
    first = train(composed([*small, "trainer.max_epochs=1"], trained, "rates"))
    more = [
        *small,
        "trainer.max_epochs=2",
        f"ckpt_path={Path(first['best']).parent}",
        "model.lr_discriminator=0.5",
    ]
    second = composed([*more, "model.betas=[0.1,0.2]"], trained, "rates again")
    before = composed(small, trained).model
    train(second)
    out = capsys.readouterr().out
    assert (
        f"model.lr_discriminator=0.5 has no effect on a resumed run, its optimiser has {before.lr_discriminator}"
        in out
    )
    assert out.count("has no effect") == 2
    assert (second.model.lr, second.model.lr_discriminator) == (before.lr, before.lr_discriminator)
    assert list(second.model.betas) == list(before.betas)


def test_a_training_that_begins_anew_does_not_mix_with_another(trained, start):
    with pytest.raises(UserError, match=r"holds a training already; go on with ckpt_path=auto"):
        train(composed([*TINY_CLASSIFIER, "trainer.max_epochs=1"], trained))


def test_while_it_goes_on_a_run_is_not_finished(trained, start, monkeypatch):
    first = Path(longer(start, trained, "going on")["best"]).parent
    assert Run(first).finished()["epochs"] == 2

    def look(*_, **__):
        raise RuntimeError(f"finished: {Run(first).finished()}")

    monkeypatch.setattr("cycle_am.app.tasks.train.run_trainer", look)
    with pytest.raises(RuntimeError, match="finished: None"):
        longer(first, trained, "going on", "ckpt_path=auto", "trainer.max_epochs=3")


def test_an_evaluation_says_that_the_training_goes_on(trained, start, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(start, copy)
    small = [*TINY_CLASSIFIER, "evaluation.resamples=20"]
    for folder, said in ((start, False), (copy, True)):
        if said:
            Run(folder).mark_begun()
        evaluate(composed([*small, f"run={folder}", f"out_dir={tmp_path}/out"], trained, config="evaluate"))
        assert ("has not finished; its best checkpoint so far" in capsys.readouterr().out) is said
        assert ("of an unfinished training" in (tmp_path / "out/report.html").read_text()) is said


def test_a_companion_of_another_split_is_asked_for_its_own(tmp_path):
    module = composed([*TINY_CLASSIFIER], tmp_path).data
    own, other = (instantiate(module, split_seed=seed) for seed in (0, 5))
    for data in (own, other):
        data.setup()
    Run(tmp_path / "run").write_split(own)
    Run(tmp_path / "run/judge").write_split(other)
    found = [tmp_path / f"run/{name}.ckpt" for name in ("best", "selector", "judge")]
    assert Classifiers(*found).folders() == [tmp_path / "run", tmp_path / "run/judge"]
    with pytest.raises(UserError, match=r"patients of the test part trained .*run/judge"):
        Classifiers(*found).check_split(own)


def test_a_run_has_finished_when_its_companions_have(start, tmp_path):
    assert Run(start).ended()["companions"] == ["selector", "judge"]
    assert Run(start).finished()
    Run(tmp_path).mark_finished(companions=["judge"])
    assert Run(tmp_path).ended()
    assert Run(tmp_path).finished() is None
    Run(tmp_path / "judge").mark_finished(companions=[])
    assert Run(tmp_path).finished()
    assert Run(start / "judge").ended()["companions"] == []


def test_the_end_of_max_time_is_not_the_end_of_the_run(tmp_path, capsys):
    overrides = [*TINY_CLASSIFIER, "trainer.max_epochs=3", "model.epochs=3"]
    whole = train(composed(overrides, tmp_path, "whole"))
    limited = [*overrides, "trainer.max_time={milliseconds:1}", "ckpt_path=auto"]
    for epochs in (1, 2):
        result = train(composed(limited, tmp_path, "part"))
        folder = Path(result["best"]).parent
        assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == epochs - 1
        assert Run(folder).finished() is None
        assert (tmp_path / "runs/classifier/blobs/latest").resolve().name == "whole"
        assert f"not finished; the same with ckpt_path={folder} goes on" in capsys.readouterr().out
    result = train(composed(limited, tmp_path, "part"))
    assert result["score"] == whole["score"]
    assert Run(folder).finished()["epochs"] == 3
    assert (tmp_path / "runs/classifier/blobs/latest").resolve().name == "part"
    with pytest.raises(UserError, match=r"trainer\.max_time=1h: give days"):
        train(composed([*overrides, "trainer.max_time=1h"], tmp_path, "hour"))
