"""A hopeless trial is stopped early, and only where a study asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from cycle_am.app.tasks.train import train
from cycle_am.sweeps.study import database, open_storage, open_study, tell
from tests.helpers import TINY_CLASSIFIER, composed

SPACE = {"model.lr": FloatDistribution(0.0, 1.0)}
PRUNER = "{_target_:optuna.pruners.MedianPruner,n_startup_trials:2,n_warmup_steps:2}"


@pytest.fixture
def study(tmp_path) -> optuna.Study:
    """Three good trials of four epochs, and one that is running."""
    study = open_study(open_storage(database(tmp_path)), "study", ["minimize"])
    for value in (0.1, 0.11, 0.12):
        study.add_trial(
            create_trial(
                value=value,
                params={"model.lr": 0.1},
                distributions=SPACE,
                intermediate_values=dict.fromkeys(range(1, 5), value),
            )
        )
    return study


def trained(folder: Path, trial: str, *overrides: str) -> dict:
    """`finished.json` of a training of at most four epochs, whose validation loss stays near .69."""
    callback = (
        f"{{_target_:cycle_am.app.callbacks.pruning.Pruning,monitor:val/loss,trial:{trial},pruner:{PRUNER}}}"
    )
    extra = [f"+callbacks.pruning={callback}", "model.lr=0.0", "trainer.max_epochs=4", *overrides]
    cfg = composed([*TINY_CLASSIFIER, *extra], folder)
    train(cfg)
    return json.loads((Path(cfg.paths.run_dir) / "finished.json").read_text())


def handed(study: optuna.Study, folder: Path, trial: optuna.Trial) -> str:
    """As the sweeper hands a trial to its job."""
    return f"{{storage:'{database(folder)}',study:study,number:{trial.number},id:{trial._trial_id}}}"


def test_a_hopeless_trial_ends_after_the_epochs_that_each_is_given(tmp_path, study):
    trial = study.ask(SPACE)
    assert trained(tmp_path, handed(study, tmp_path, trial))["epochs"] == 2
    ended = tell(study, trial, 0.69)
    assert ended.state == TrialState.PRUNED
    assert ended.intermediate_values[2] == pytest.approx(0.69, abs=0.1)


def test_the_trainers_first_epochs_are_trained_in_any_case(tmp_path, study):
    trial = study.ask(SPACE)
    assert trained(tmp_path, handed(study, tmp_path, trial), "trainer.min_epochs=3")["epochs"] == 3


def test_without_a_study_or_once_the_trial_has_ended_nothing_is_pruned(tmp_path, study):
    assert trained(tmp_path, "null")["epochs"] == 4
    trial = study.ask(SPACE)
    study.tell(trial, 0.5)
    assert trained(tmp_path / "again", handed(study, tmp_path, trial))["epochs"] == 4
    assert study.trials[trial.number].intermediate_values == {}
