"""A study of Optuna that several workers share: where it is stored, who is alive, which random numbers a trial has."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cycle_am.errors import UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
# Optuna's own use of what it deprecates, and its advice for those who give no signs of life themselves.
warnings.filterwarnings("ignore", "system_attrs has been deprecated", FutureWarning)
warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")

PRUNED = "pruned"  # a trial's attribute, set by its job: the epoch after which it was stopped
SURPLUS = "surplus"  # set on a trial that two workers asked for at once and that nobody ran
DEAD_AFTER = 3  # heartbeats missed
SQLITE_SECONDS = 60  # how long a worker waits while others write
ATTEMPTS = 5
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
# The same values again, with what was reported so far: the job goes on from its last checkpoint.
retry = RetryHeartbeatStaleTrialCallback(max_retry=3, inherit_intermediate_values=True)


def open_storage(url: str, heartbeat: int | None = None) -> RDBStorage:
    """The database at `url`, e.g. sqlite:////folder/study.db or postgresql+psycopg://user@host/database.

    heartbeat: seconds between signs of life of a worker; None for a job, which gives none itself.
    Raises UserError for a URL with a password, which would be written into every run's folder, and where the
    database does not answer.
    """
    _check(url)
    options: dict[str, Any] = {}
    if url.startswith("sqlite"):
        options["engine_kwargs"] = {"connect_args": {"timeout": SQLITE_SECONDS}}
    if heartbeat:
        options |= {"heartbeat_interval": heartbeat, "grace_period": DEAD_AFTER * heartbeat}
        options["heartbeat_stale_trial_callback"] = retry
    for attempt in range(ATTEMPTS):  # workers that start at once may both create the tables
        try:
            return RDBStorage(url, **options)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            reason = " ".join(str(error).split())[:160]
            time.sleep(0.2 * 2**attempt)
    raise UserError(f"hydra.sweeper.storage={url} cannot be opened ({reason}); check the URL and the server")


def _check(url: str) -> None:
    try:
        password = make_url(url).password
    except ArgumentError as error:
        raise UserError(
            f"hydra.sweeper.storage={url} is no URL; give e.g. sqlite:////folder/study.db"
        ) from error
    if password:
        raise UserError("hydra.sweeper.storage: leave the password out of the URL and put it in ~/.pgpass")


def open_study(storage: RDBStorage, name: str, directions: Sequence[str], **options: Any) -> Study:
    """The study of that name, created where there is none; `options` are its sampler and pruner.

    Raises UserError where it optimises in other directions.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, directions=directions, load_if_exists=True, **options
    )
    stored = [direction.name.lower() for direction in study.directions]
    if stored != list(directions):
        raise UserError(
            f"hydra.sweeper.direction: the study {name} has {stored}; give it, or another study_name"
        )
    return study


class SeededSampler(BaseSampler):
    """A sampler built anew for each trial, its seed made of `seed` and the trial's number.

    So two workers never draw the same values, and a study that was interrupted goes on as if it had not been.

    Args:
        build: `seed=...` -> the sampler, e.g. a partial of optuna.samplers.TPESampler.
        seed: of the study.
    """

    def __init__(self, build: Callable[..., BaseSampler], seed: int) -> None:
        self.build, self.seed = build, seed
        self.sampler = build(seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """The sampler for this trial."""
        seed = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0]
        self.sampler = self.build(seed=int(seed))
        self.sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler does."""
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does."""
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler does."""
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the sampler does."""
        self.sampler.after_trial(study, trial, state, values)


def ask(
    study: Study, space: Mapping[str, BaseDistribution], n_trials: int, n_jobs: int, failures: int
) -> list[Trial]:
    """The next trials to run, at most `n_jobs`; none where `n_trials` of the whole study are done.

    Trials of dead workers come first. While other workers run all that is left, this one waits: they may die.

    failures: of this worker. They count as run, so that a study whose every job fails comes to an end.
    """
    while True:
        optuna.storages.fail_stale_trials(study)
        trials = study.get_trials(deepcopy=False)
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        left = n_trials - failures - running - sum(trial.state in DONE for trial in trials)
        asked = [study.ask(dict(space)) for _ in range(min(left, n_jobs))]
        kept = [trial for trial in asked if _needed(study, trial, n_trials - failures)]
        if kept or (left <= 0 and not running):
            return kept
        if not asked:
            time.sleep(study._storage.get_heartbeat_interval())


def _needed(study: Study, trial: Trial, n_trials: int) -> bool:
    """Whether fewer than `n_trials` others come before it; else another worker asked at the same moment."""
    study._storage.record_heartbeat(trial._trial_id)
    earlier = [other for other in study.get_trials(deepcopy=False) if other.number < trial.number]
    if sum(other.state != TrialState.FAIL for other in earlier) < n_trials:
        return True
    trial.set_user_attr(SURPLUS, True)
    study.tell(trial, state=TrialState.FAIL)
    return False


def tell(study: Study, trial: Trial, values: float | Sequence[float] | None) -> FrozenTrial:
    """Record how a trial ended: stopped by the pruner, failed (None, NaN), or with its value or values."""
    stored = study.get_trials(deepcopy=False)[trial.number]
    if PRUNED in stored.user_attrs:
        return study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    if values is None:
        return study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    return study.tell(trial, values, skip_if_finished=True)


@contextmanager
def alive(study: Study, trials: Sequence[Trial]) -> Iterator[None]:
    """Give signs of life for the trials while the block runs; where it is left by an error, ask them again later."""
    stop = Event()
    thread = Thread(
        target=_beat, args=(study._storage, [trial._trial_id for trial in trials], stop), daemon=True
    )
    thread.start()
    try:
        yield
    except BaseException:  # Ctrl-C too
        stored = study.get_trials(deepcopy=False)
        for trial in trials:
            if not stored[trial.number].state.is_finished():
                retry(study, study.tell(trial, state=TrialState.FAIL))
        raise
    finally:
        stop.set()
        thread.join()


def _beat(storage: RDBStorage, trial_ids: Sequence[int], stop: Event) -> None:
    while not stop.wait(storage.get_heartbeat_interval()):
        for trial_id in trial_ids:
            try:
                storage.record_heartbeat(trial_id)
            except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
                print(f"study: no sign of life could be given ({str(error).splitlines()[0]})", flush=True)


def folder_of(trial: Trial | FrozenTrial) -> str:
    """Name of the trial's run folder: its number, or that of the trial it repeats, whose checkpoint it goes on from."""
    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return str(trial.number if first is None else first)


def database(folder: str | Path) -> str:
    """URL of the SQLite file in a sweep's folder."""
    return f"sqlite:///{Path(folder).resolve() / 'study.db'}"
