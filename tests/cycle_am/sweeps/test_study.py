"""Who runs which trial, and what comes out of a study, without Hydra."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from cycle_am.errors import UserError
from cycle_am.sweeps import report
from cycle_am.sweeps.study import (
    PRUNED,
    SURPLUS,
    SeededSampler,
    alive,
    ask,
    database,
    folder_of,
    open_storage,
    open_study,
    tell,
)

SPACE = {"x": FloatDistribution(0.0, 1.0)}


def study_in(folder: Path, *directions: str, **options) -> optuna.Study:
    """A worker's view of the study in a folder."""
    storage = open_storage(database(folder), heartbeat=1)
    return open_study(storage, "study", directions or ("minimize",), **options)


def test_no_more_trials_than_asked_for(tmp_path):
    study = study_in(tmp_path)
    first = ask(study, SPACE, n_trials=3, n_jobs=2, failures=0)
    assert [trial.number for trial in first] == [0, 1]
    assert [tell(study, trial, 0.5).state for trial in first] == [TrialState.COMPLETE] * 2
    (last,) = ask(study, SPACE, n_trials=3, n_jobs=2, failures=0)
    assert tell(study, last, float("nan")).state == TrialState.FAIL
    assert ask(study, SPACE, n_trials=3, n_jobs=2, failures=1) == []  # its own failures count, in this run
    assert len(ask(study, SPACE, n_trials=3, n_jobs=2, failures=0)) == 1


def test_two_workers_that_ask_at_once_do_not_run_one_too_many(tmp_path, monkeypatch):
    study, other = study_in(tmp_path), study_in(tmp_path)
    asked, taken = study.ask, []

    def overtaken(space):
        """The other worker asks for the last trial just before this one does."""
        if not taken:
            taken.extend(ask(other, SPACE, n_trials=1, n_jobs=1, failures=0))
            tell(other, taken[0], 0.1)
        return asked(space)

    monkeypatch.setattr(study, "ask", overtaken)
    assert ask(study, SPACE, n_trials=1, n_jobs=1, failures=0) == []
    assert [SURPLUS in trial.user_attrs for trial in study.trials] == [False, True]
    report.write_tables(study, ["value"], tmp_path)
    assert len((tmp_path / "study.csv").read_text().splitlines()) == 2  # the surplus one is no row


def test_trials_of_a_worker_that_was_stopped_are_asked_again_in_their_folder(tmp_path):
    study = study_in(tmp_path)
    batch = ask(study, SPACE, n_trials=2, n_jobs=2, failures=0)
    tell(study, batch[0], 0.5)
    with pytest.raises(KeyboardInterrupt), alive(study, batch):
        raise KeyboardInterrupt
    (again,) = ask(study, SPACE, n_trials=2, n_jobs=2, failures=0)
    assert again.number == 2
    assert again.params == batch[1].params
    assert folder_of(again) == "1"


def test_a_trials_random_numbers_come_from_seed_and_number(tmp_path):
    def values(folder: Path, seed: int, *batches: int) -> list[float]:
        """Of trials that were asked for in several starts of a worker."""
        folder.mkdir()
        for n_trials in batches:
            study = study_in(folder, sampler=SeededSampler(optuna.samplers.TPESampler, seed))
            for trial in ask(study, SPACE, n_trials, n_jobs=3, failures=0):
                tell(study, trial, trial.params["x"])
        return [trial.params["x"] for trial in study.trials]

    whole = values(tmp_path / "whole", 0, 3)
    assert whole == values(tmp_path / "parts", 0, 1, 3)
    assert len(set(whole)) == 3
    assert not set(whole) & set(values(tmp_path / "other", 1, 3))


def test_another_direction_is_one_clear_line(tmp_path):
    study_in(tmp_path, "minimize")
    with pytest.raises(UserError, match=r"the study study has \['minimize'\]"):
        study_in(tmp_path, "maximize")


def test_the_front_is_the_one_worked_out_by_hand(tmp_path):
    study = study_in(tmp_path, "maximize", "maximize")
    # 0 and 2 are best in one objective each, 3 lies between; 1 is beaten by 3 in both, 4 by 0 in the second alone.
    for values in [(0.9, 0.2), (0.5, 0.5), (0.1, 0.8), (0.6, 0.6), (0.9, 0.1)]:
        study.tell(study.ask(SPACE), values)
    assert sorted(trial.number for trial in report.best(study)) == [0, 2, 3]
    names = ["val/ssim", "val/localisation"]
    report.write_tables(study, names, tmp_path)
    report.write_picture(study, names, tmp_path)
    chosen = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert {one["trial"]: one["values"]["val/ssim"] for one in chosen} == {0: 0.9, 2: 0.1, 3: 0.6}
    assert report.summary(study, names, tmp_path).startswith("Pareto front, 3 of 5 trials:")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")


def test_a_study_without_a_result_says_so(tmp_path):
    study = study_in(tmp_path)
    study.tell(study.ask(SPACE), state=TrialState.FAIL)
    report.write_picture(study, ["value"], tmp_path)
    assert not (tmp_path / "study.png").exists()
    assert report.summary(study, ["value"], tmp_path).startswith("no trial was completed")


def test_a_pruned_trial_is_told_as_such(tmp_path):
    study = study_in(tmp_path)
    (trial,) = ask(study, SPACE, n_trials=1, n_jobs=1, failures=0)
    trial.report(0.7, 1)
    trial.set_user_attr(PRUNED, 1)
    assert tell(study, trial, 0.7).state == TrialState.PRUNED
    assert report.best(study) == []
