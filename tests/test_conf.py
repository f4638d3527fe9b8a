"""Every combination of the configurations' groups composes, resolves and fits what it constructs."""

from __future__ import annotations

from itertools import product

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cycle_am.app.config import Action, check_config, register
from cycle_am.runs.recorded import expand_home
from tests.helpers import ROOT

NEEDED = {
    "data=lidc": "data.dicom_root=/lidc",
    "data=manifest": "data.csv=/cases.csv",
    "data=arrays": "data.cases=/c.npz",
    "data=folder": "data.root=/images",
    "data=cifar10": "data.root=/cifar-10-batches-bin",
    "data=medmnist": "data.npz=/breastmnist.npz",
}  # no default


def options(group: str) -> list[str]:
    files = (ROOT / "conf" / group).glob("*.yaml")
    return sorted(file.stem for file in files if not file.stem.endswith("base"))


LOGGERS = f"logger=[{','.join(name for name in options('logger') if name != 'many')}]"


@pytest.fixture(autouse=True)
def hydra():
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def resolved(config: str, *overrides: str) -> dict:
    """The configuration as its tasks would see it; raises for what cannot be resolved, is missing or does not fit."""
    needed = [NEEDED[override] for override in overrides if override in NEEDED]
    cfg = compose(config, [*overrides, *needed, "paths.run_dir=/run"])
    check_config(cfg)
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_with_all_data_debugging_and_loggers(experiment):
    debugs = [[], *([f"debug={name}"] for name in options("debug"))]
    for data, debug in product(options("data"), debugs):
        cfg = resolved("train", f"experiment={experiment}", f"data={data}", *debug, LOGGERS)
        assert cfg["data_name"].startswith(data)
        assert set(cfg["logger"]) == {"csv", "mlflow", "tensorboard", "wandb"}


@pytest.mark.parametrize("group", ["trainer", "hparams_search", "classifier", "logger", "debug"])
def test_every_option_of_a_group_with_both_kinds_of_experiment(group):
    for experiment, option in product(("classifier", "cycle_am_small"), options(group)):
        assert resolved("train", f"experiment={experiment}", f"{group}={option}")["name"] == experiment


@pytest.mark.parametrize("evaluation", options("evaluation"))
def test_every_evaluation_with_all_data(evaluation):
    for experiment, data in product(("classifier", "cycle_am"), options("data")):
        cfg = resolved("evaluate", f"experiment={experiment}", f"evaluation={evaluation}", f"data={data}")
        assert cfg["publish"] is False


def test_every_preparation_and_every_action_of_a_study():
    assert [resolved("prepare", f"data={data}")["shards"] for data in options("data")] == [1] * len(
        options("data")
    )
    assert [resolved("study", f"action={action.name}")["action"] for action in Action] == list(Action)


def test_the_classifier_is_not_turned_where_the_data_are_not_augmented():
    turns = lambda cfg: cfg["model"]["terms"]["activation"]["function"]["augment"]["turns"]  # noqa: E731
    assert turns(resolved("train", "experiment=cycle_am")) is True
    assert turns(resolved("train", "experiment=cycle_am", "debug=overfit")) is False
    assert turns(resolved("train", "experiment=cycle_am", "data=planted")) is False


def test_a_leading_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    given = [
        'data.csv="~/cases.csv"',
        'init_from="a~/b"',
        'paths.runs="~/runs"',
        "logger.csv.save_dir=${paths.runs}",
    ]
    cfg = compose("train", ["experiment=classifier", "data=manifest", *given])
    expand_home(cfg)
    assert cfg.data.csv == "/home/me/cases.csv"
    assert cfg.init_from == "a~/b"
    assert cfg.logger.csv.save_dir == "/home/me/runs"


@pytest.mark.parametrize("search", [[], ["hparams_search=classifier_optuna"]])
def test_runs_in_the_home_folder_lie_there_and_not_below_a_folder_of_that_name(search, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    given = ["experiment=classifier", 'paths.runs="~/runs"', *search]
    cfg = compose("train", given, return_hydra_config=True)
    assert cfg.hydra.run.dir.startswith("/home/me/runs/classifier/phantom/")
    assert cfg.hydra.sweep.dir.startswith("/home/me/runs/classifier/phantom/multirun/")
