"""`hydra/sweeper=optuna`: asks a study of Optuna what to run, launches it, tells it how it went.

Hydra takes sweepers from the namespace `hydra_plugins` only, and imports all of it whenever it starts: what takes
time to import comes later. The official Optuna plugin needs Optuna below 3 and does not tell a job which trial it is,
so a job cannot be pruned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from cycle_am.errors import UserError
from cycle_am.files import write_atomically


class AskTellSweeper(Sweeper):
    """Runs trials through whichever launcher is chosen. conf/hydra/sweeper/optuna.yaml says what each setting is.

    A job returns its value, or a list of values where there are several directions; None where it failed. It lies in
    `hydra.sweep.dir`/NUMBER and is given `trial={storage, study, number, id}`.
    """

    def __init__(
        self,
        study_name: str,
        storage: str | None,
        direction: str | Sequence[str],
        names: Sequence[str] | None,
        n_trials: int,
        n_jobs: int,
        seed: int,
        heartbeat: int,
        sampler: Callable[..., Any],
        pruner: Any,
        params: DictConfig | None,
    ) -> None:
        self.study_name, self.storage, self.names = study_name, storage, names
        self.directions = [direction] if isinstance(direction, str) else list(direction)
        self.n_trials, self.n_jobs, self.heartbeat = n_trials, n_jobs, heartbeat
        self.seed, self.sampler, self.pruner = seed, sampler, pruner
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the sweep: the launcher that the user chose."""
        self.context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run what the study lacks, then print and write what came out of it; exit with one line for a UserError."""
        try:
            self._run(arguments)
        except UserError as error:
            sys.exit(f"error: {error}")

    def _run(self, arguments: list[str]) -> None:
        from cycle_am.sweeps import report
        from cycle_am.sweeps import study as studies
        from hydra_plugins.ask_tell import space

        self._check_processes()
        folder = Path(self.config.hydra.sweep.dir)
        write_atomically(folder / "multirun.yaml", lambda path: OmegaConf.save(self.config, path))
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        given = [f"{key}={value}" for key, value in self.params.items()]
        fixed, distributions = space.split(parser.parse_overrides([*given, *arguments]))
        study = self._open(folder)
        failures = 0
        while batch := studies.ask(study, distributions, self.n_trials, self.n_jobs, failures):
            with studies.alive(study, batch):
                jobs = [[*fixed, *self._overrides(study, trial)] for trial in batch]
                returned = self.launcher.launch(jobs, initial_job_idx=batch[0].number)
                for trial, job in zip(batch, returned, strict=True):
                    value = job.return_value if job.status == JobStatus.COMPLETED else None
                    ended = studies.tell(study, trial, value)
                    failures += ended.state.name == "FAIL"
                    print(report.line(study, ended, self.n_trials), flush=True)
            report.write_tables(study, self._names(), folder)
        print(report.summary(study, self._names(), folder))
        report.write_picture(study, self._names(), folder)

    def _check_processes(self) -> None:
        """Each process that Lightning starts is given the whole command: it would ask for trials of its own."""
        devices = OmegaConf.select(self.config, "trainer.devices", default=1)
        count = len(devices) if isinstance(devices, ListConfig) else devices
        if str(count) != "1" and "slurm" not in self.config.hydra.launcher._target_.lower():
            raise UserError(
                f"trainer.devices={devices}: several processes for a trial need hydra/launcher=submitit_slurm with "
                "hydra.launcher.tasks_per_node; else give each trial one device"
            )

    def _open(self, folder: Path) -> Any:
        from cycle_am.sweeps import study as studies

        self.url = self.storage or studies.database(folder)
        storage = studies.open_storage(self.url, self.heartbeat)
        sampler = studies.SeededSampler(self.sampler, self.seed)
        return studies.open_study(
            storage, self.study_name, self.directions, sampler=sampler, pruner=self.pruner
        )

    def _overrides(self, study: Any, trial: Any) -> list[str]:
        """The trial's values, its folder, and what its job needs to report to the study."""
        from cycle_am.sweeps.study import folder_of

        values = [f"{key}={value}" for key, value in trial.params.items()]
        facts = f"storage:{_quoted(self.url)},study:{_quoted(self.study_name)}"
        job = f"trial={{{facts},number:{trial.number},id:{trial._trial_id}}}"
        return [*values, f"hydra.sweep.subdir={folder_of(trial)}", job]

    def _names(self) -> list[str]:
        return list(self.names or [f"value {i}" for i, _ in enumerate(self.directions)])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
