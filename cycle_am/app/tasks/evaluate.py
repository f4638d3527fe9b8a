"""Evaluation, without Hydra: a composed configuration in, the folder of tables, figures and report out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from cycle_am.app.callbacks.log_media import Results, log_image, log_table
from cycle_am.app.classifiers import find_classifiers, load_classifier
from cycle_am.app.config import check_config
from cycle_am.app.tasks.aggregate import aggregate_runs
from cycle_am.app.tasks.compare import compare_explainers
from cycle_am.app.tasks.evaluation import Evaluation, evaluate_classifier, evaluate_cycle_am
from cycle_am.app.tasks.train import build_data, prepare, say, warn
from cycle_am.app.tracking import lineage
from cycle_am.app.tracking import loggers as log
from cycle_am.errors import UserError
from cycle_am.estimate import Estimate
from cycle_am.files import write_atomically
from cycle_am.reports.dashboard import write_dashboard
from cycle_am.runs.checkpoints import load_module
from cycle_am.runs.index import collect
from cycle_am.runs.run import Run


def evaluate(cfg: DictConfig) -> Path:
    """Evaluate what `cfg.name` trained on this data; returns the folder of the results (of an overview, its page).

    Raises UserError where there is no such run, or where it was trained on patients that are to be tested.
    """
    if cfg.evaluation.task in OVERVIEWS:
        return OVERVIEWS[cfg.evaluation.task](cfg)
    check_config(cfg)
    prepare(cfg)
    run = find_run(cfg)
    say(f"run {run}")
    data = build_data(cfg)
    run.check_test_part(data)
    task = cfg.evaluation.task or cfg.task
    out_dir = Path(cfg.out_dir or run.folder / FOLDERS.get(task, "evaluation"))
    out_dir.mkdir(parents=True, exist_ok=True)
    evaluation = TASKS[task](cfg, run, data, out_dir)
    if cfg.logger:
        log_results(cfg, run, out_dir, evaluation, task)
    text = OmegaConf.to_yaml(OmegaConf.merge(cfg, {"run": str(run)}), resolve=True)
    write_atomically(out_dir / "config.yaml", lambda path: path.write_text(text, encoding="utf-8"))
    return out_dir


def find_run(cfg: DictConfig) -> Run:
    """The run as given by `run=`, else the latest one. Raises UserError where it has no best checkpoint."""
    run = Run(cfg.run) if cfg.run else Run.latest(cfg.paths.runs, cfg.name, cfg.data_name)
    if not run.checkpoint().is_file():
        raise UserError(f"run={run}: there is no best.ckpt; give the folder of a run that has one")
    if not run.finished():
        warn(f"the training of {run} has not finished; its best checkpoint so far is evaluated")
    return run


def device(cfg: DictConfig) -> torch.device:
    """A GPU where there is one, unless trainer=cpu."""
    wanted = cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if wanted else "cpu")


def _classifier(cfg: DictConfig, run: Run, data: pl.LightningDataModule, out_dir: Path) -> Evaluation:
    module = load_classifier(run.checkpoint(), data.task).to(device(cfg))
    return evaluate_classifier(module, data.test_cases, out_dir, notes=notes(run, data), **options(cfg))


def _cycle_am(cfg: DictConfig, run: Run, data: pl.LightningDataModule, out_dir: Path) -> Evaluation:
    classifiers = find_classifiers(cfg, data, run.checkpoint())
    say(classifiers.describe())
    classifiers.check_split(data)
    gan = load_module(run.checkpoint(), get_class(cfg.model._target_), **classifiers.networks())
    explained, judge = classifiers.load_explained(), load_classifier(classifiers.judge)
    modules = [module.to(device(cfg)) for module in (gan, explained, judge)]
    small_print = notes(run, data) | {"Classifiers": classifiers.describe()}
    return evaluate_cycle_am(
        *modules, data.train_cases, data.test_cases, out_dir, notes=small_print, **options(cfg)
    )


def _compare(cfg: DictConfig, run: Run, data: pl.LightningDataModule, out_dir: Path) -> Evaluation:
    return compare_explainers(cfg, run, data, out_dir, notes(run, data))


def _runs(cfg: DictConfig) -> Path:
    """The page of all runs. Raises UserError where there is no such folder."""
    runs_dir = Path(cfg.paths.runs)
    if not runs_dir.is_dir():
        raise UserError(
            f"paths.runs={runs_dir}: there is no such folder; train something, or name the folder of runs"
        )
    return write_dashboard(Path(cfg.out_dir or runs_dir) / "dashboard.html", collect(runs_dir))


def _aggregate(cfg: DictConfig) -> Path:
    """Many runs as one result; each is evaluated where it was not yet."""
    return aggregate_runs(cfg, evaluate)


def options(cfg: DictConfig) -> dict[str, Any]:
    """Keyword arguments for the evaluation, from the configuration."""
    given = OmegaConf.to_container(cfg.evaluation, resolve=True)
    return {key: value for key, value in given.items() if key != "task"}


def notes(run: Run, data: pl.LightningDataModule) -> dict[str, str]:
    """Small print of a report: what was evaluated on what."""
    return {
        "Checkpoint": str(run.checkpoint()) + ("" if run.finished() else " (of an unfinished training)"),
        "Data": f"fingerprint {data.fingerprint}\n{data.describe()}",
    }


def log_results(cfg: DictConfig, run: Run, out_dir: Path, evaluation: Evaluation, task: str) -> None:
    """Figures, tables and pictures of an evaluation to the loggers; the checkpoints that were evaluated are its
    lineage.
    """
    job_type = "compare" if task == "compare" else "evaluate"
    names = ("best", "classifier", "selector", "judge")
    sources = {name: file for name in names if (file := run.checkpoint(name)).is_file()}
    loggers = log.build_for_results(cfg, out_dir, run.group(cfg.name), job_type)
    failed = True
    try:
        facts = {"lineage": lineage.describe(sources, cfg.paths.runs)}
        for logger in loggers:
            logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True) | facts)
            logger.log_metrics(flat(evaluation.metrics), 0)
        lineage.use(loggers, sources)
        stage = Results(loggers, str(out_dir))
        for name, rows in evaluation.tables().items():
            log_table(stage, name, rows)
        for file in sorted((out_dir / "figures").glob("*.png")):
            log_image(stage, f"figures/{file.stem}", np.asarray(Image.open(file).convert("RGB")))
        failed = False
    finally:
        log.close(loggers, failed)


def flat(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    """The value by the figure's name, the interval's ends behind it; what is undefined left out."""
    values: dict[str, float] = {}
    for name, estimate in metrics.items():
        values |= {
            name: estimate["value"],
            f"{name}/ci_low": estimate["ci_low"],
            f"{name}/ci_high": estimate["ci_high"],
        }
    return {name: value for name, value in values.items() if np.isfinite(value)}


TASKS = {"classifier": _classifier, "cycle_am": _cycle_am, "compare": _compare}
FOLDERS = {"compare": "compare"}
OVERVIEWS = {"runs": _runs, "aggregate": _aggregate}  # of many runs, whose data settings are their own
