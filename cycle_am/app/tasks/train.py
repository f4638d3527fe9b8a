"""Training, without Hydra: a composed configuration in, the best checkpoint and the metrics out."""

from __future__ import annotations

import inspect
import logging
import signal
import time
import warnings
from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from cycle_am.app import resuming
from cycle_am.app.callbacks.checkpoint import BestCheckpoint, LastCheckpoint
from cycle_am.app.callbacks.progress import progress
from cycle_am.app.callbacks.time_limit import TimeLimit
from cycle_am.app.checkpoint_io import AtomicCheckpointIO
from cycle_am.app.classifiers import Classifiers, find_classifiers
from cycle_am.app.config import check_config
from cycle_am.app.tracking import lineage
from cycle_am.app.tracking import loggers as log
from cycle_am.errors import UserError
from cycle_am.files import copy_atomically
from cycle_am.model.custom import Custom
from cycle_am.runs import provenance
from cycle_am.runs.checkpoints import load_weights, resolve_checkpoint, resolve_start
from cycle_am.runs.run import Run
from cycle_am.task import Task

say = rank_zero_only(partial(print, flush=True))
# best: path of the best checkpoint or None; score: its monitored value; metrics: the last values; best_metrics: those
# of the best checkpoint's epoch; objective: what a sweep is told
Result = dict[str, Any]


def train(cfg: DictConfig) -> Result:
    """Train what `cfg.task` names and, where it came to its own end, point `latest` to the run.

    Raises UserError for bad input.
    """
    check_config(cfg)
    prepare(cfg)
    check_own_folder(cfg)
    result = TASKS[cfg.task](cfg)
    result["objective"] = objective(cfg.objectives, result)
    if not cfg.trainer.fast_dev_run:
        publish(cfg)
    return result


@rank_zero_only
def publish(cfg: DictConfig) -> None:
    """Let `latest` point to the run where it has finished; in one line why not, where that cannot be done."""
    run = Run(cfg.paths.run_dir)
    if not run.finished():
        say(f"not finished; the same with ckpt_path={run} goes on")
    elif cfg.publish is not False:  # null: yes, but for an entry point's multirun (cycle_am.app.entry.settle)
        warn(run.publish(Path(cfg.paths.runs) / cfg.name / cfg.data_name))


def warn(*lines: str | None) -> None:
    """Print each line that there is, once for all processes."""
    for line in filter(None, lines):
        say(f"warning: {line}")


def check_own_folder(cfg: DictConfig) -> None:
    """Raise UserError where a training that begins anew would mix with another one in its folder."""
    run_dir = Path(cfg.paths.run_dir)
    if not cfg.ckpt_path and (run_dir / "last.ckpt").is_file() and not cfg.trainer.fast_dev_run:
        raise UserError(
            f"{run_dir} holds a training already; go on with ckpt_path=auto, or give another hydra.run.dir"
        )


def objective(names: Sequence[str] | None, result: Result) -> float | list[float] | None:
    """The values of `names` at the best checkpoint, without names its monitored value.

    Raises UserError for a figure that was not logged.
    """
    if names is None:
        return result["score"]
    figures = result["best_metrics"]
    for name in names:
        if name not in figures:
            raise UserError(f"objectives: {name} was not logged; there are {', '.join(sorted(figures))}")
    return [figures[name] for name in names]


def prepare(cfg: DictConfig) -> None:
    """What a run sets for the whole process: warnings, threads, precision; checks the hardware asked for."""
    if cfg.extras.ignore_warnings:
        quieten()
    if (
        cfg.trainer.check_val_every_n_epoch != 1
    ):  # the epochs between have no monitored value, as was asked for
        warnings.filterwarnings("ignore", message=".*could not find the monitored key.*")
    if cfg.extras.threads:
        torch.set_num_threads(cfg.extras.threads)
    torch.set_float32_matmul_precision(cfg.extras.matmul_precision)
    if cfg.trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise UserError("a GPU is asked for and this machine has none; use trainer=cpu, or trainer=default")
    time_limit(cfg)
    if cfg.extras.print_config:
        say(OmegaConf.to_yaml(cfg, resolve=True))


def quieten() -> None:
    """Leave out Lightning's announcements and its advice that does not apply here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for text in (
        ".*many workers.*",
        ".*logging interval.*",
        ".*exists and is not empty.*",
        ".*LeafSpec.*",
        ".*in eval mode.*",
        ".*srun.*is available on your system but is not used.*",
        ".*sync_dist=True.*",  # torchmetrics synchronises the classifier's figures
    ):
        warnings.filterwarnings("ignore", message=text)


def train_classifier(cfg: DictConfig) -> Result:
    """The explained classifier and its companions: `<companion>.ckpt` beside `best.ckpt`."""
    source = resume_source(cfg)
    result = train_one_classifier(cfg, source)
    train_companions(cfg, source)
    return result


def train_companions(cfg: DictConfig, source: Path | None = None) -> None:
    """The independent classifiers of `cfg.companions`, going on from beside the checkpoint `source`."""
    for name, changes in (cfg.companions or {}).items():
        say(f"companion: {name}")
        other = train_one_classifier(
            companion(cfg, name, changes), source and source.parent / name / "last.ckpt"
        )
        if other["best"]:
            rank_zero_only(copy_atomically)(other["best"], Path(cfg.paths.run_dir) / f"{name}.ckpt")


def companion(cfg: DictConfig, name: str, changes: DictConfig) -> DictConfig:
    """The configuration of a companion: the explained classifier's with `changes`, in a folder of its own."""
    start = str(resolve_start(cfg.init_from, name)) if cfg.init_from else None
    folder = {
        "paths": {"run_dir": str(Path(cfg.paths.run_dir) / name)},
        "ckpt_path": None,
        "init_from": start,
    }
    merged = OmegaConf.merge(cfg, OmegaConf.to_container(changes, resolve=True), folder)
    merged.companions = {}  # it has none of its own
    return merged


def train_one_classifier(cfg: DictConfig, resume: Path | None = None) -> Result:
    """One classifier, from the checkpoint `resume` where that exists; not at all where that run had ended."""
    resume = resume if resume and resume.is_file() else None
    ended = take_over(cfg, resume)
    if ended:
        return ended
    data = build_data(cfg)
    settle_split(cfg, data, resume)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    module = build_module(cfg, data.task, class_weights=data.class_weights.tolist())
    return fit(cfg, module, data, resume, start_from(cfg, module))


def train_cycle_am(cfg: DictConfig, own: Custom | None = None) -> Result:
    """CycleAM's generators for a classifier; copies of the classifiers are kept in the run's folder.

    own: a user's network that is at hand, instead of what `cfg.classifier` names.
    """
    resume = resume_source(cfg)
    ended = take_over(cfg, resume)
    if ended:
        return ended
    data = build_data(cfg)
    classifiers = find_classifiers(cfg, data, resume, own)
    say(classifiers.describe())
    settle_split(cfg, data, resume, classifiers.folders())
    for doubt in classifiers.doubts(data):
        say(f"warning, training and validation cases: {doubt}")
    module = build_cycle_am(cfg, data.task, classifiers)
    sources = classifiers.paths() | start_from(cfg, module)
    rank_zero_only(classifiers.keep)(cfg.paths.run_dir)
    return fit(cfg, module, data, resume, sources)


def build_cycle_am(cfg: DictConfig, task: Task, classifiers: Classifiers) -> pl.LightningModule:
    """CycleAMGAN around the explained network and the selector."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    takes = inspect.signature(get_class(cfg.model._target_)).parameters
    networks = {name: net for name, net in classifiers.networks().items() if name in takes}
    return build_module(cfg, task, **networks)


def build_module(cfg: DictConfig, task: Task, **arguments: Any) -> pl.LightningModule:
    """`cfg.model` for the task's images, with further arguments. Raises UserError where a value does not suit."""
    # Partial, because OmegaConf would copy the arguments.
    build = instantiate(suited(cfg, task).model, _partial_=True, _convert_="all")
    try:
        return build(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"model: {error}; see conf/model/ for what it takes") from error


def suited(cfg: DictConfig, task: Task) -> DictConfig:
    """The settings, in which the networks know the task's images where these are other than the networks' own."""
    channels = {} if task.channels == Task.channels else {"in_channels": task.channels}
    side = {} if task.size == Task.size else {"image_size": task.size}
    classes = {} if task.is_pair else {"classes": len(task.classes)}
    cfg = deepcopy(cfg)
    if "conditional" in cfg.model:
        OmegaConf.update(cfg, "model.classes", len(task.classes), force_add=True)
    for part, sizes in (
        ("net", channels | side | classes),
        ("generator", channels),
        ("discriminator", channels),
    ):
        for name, value in sizes.items():
            if part in cfg.model:
                OmegaConf.update(cfg, f"model.{part}.{name}", value, force_add=True)
    return cfg


TASKS = {"classifier": train_classifier, "cycle_am": train_cycle_am}


def resume_source(cfg: DictConfig) -> Path | None:
    """The checkpoint to go on from: `ckpt_path`, or with `auto` the run folder's own where there is one."""
    if cfg.ckpt_path == "auto":
        own = Path(cfg.paths.run_dir) / "last.ckpt"
        return own if own.is_file() else None
    return resolve_checkpoint(cfg.ckpt_path) if cfg.ckpt_path else None


def take_over(cfg: DictConfig, resume: Path | None) -> Result | None:
    """Copy what the resumed run had; its result, if it had ended and no more epochs are asked for."""
    if resume is None:
        return None
    run, before = Run(cfg.paths.run_dir), Run(resume.parent)
    run.folder.mkdir(parents=True, exist_ok=True)
    ended = before.ended()
    if ended and (resume.name != "last.ckpt" or asks_for_more(cfg, ended)):
        ended = None
    rank_zero_only(run.adopt)(before, whole=bool(ended))
    if not ended:
        warn(*resuming.hold(cfg, resume))
        return None
    say(f"{run} has finished before")
    warn(*resuming.unused(resume.parent, cfg))
    return {key: ended[key] for key in ("score", "metrics", "best_metrics")} | {"best": str(run.checkpoint())}


def asks_for_more(cfg: DictConfig, ended: dict[str, Any]) -> bool:
    """Whether a training that has ended is to be as long as another one."""
    steps = cfg.trainer.get("max_steps", -1)
    return (ended["max_epochs"], ended.get("max_steps", steps)) != (cfg.trainer.max_epochs, steps)


def build_data(cfg: DictConfig) -> pl.LightningDataModule:
    """The data module, prepared and split; its summary is printed."""
    data = instantiate(cfg.data, _convert_="all")
    data.prepare_data()
    data.setup()
    say(data.describe())
    return data


def settle_split(
    cfg: DictConfig, data: pl.LightningDataModule, resume: Path | None, others: Iterable[Path] = ()
) -> None:
    """Write `split.json`, in which the patients of all that this training builds on count as seen.

    resume: the checkpoint that it goes on from; others: folders of further runs. Raises UserError where patients that
    are to be tested were seen by one of them.
    """
    start = resolve_start(cfg.init_from).parent if cfg.init_from else None
    folders = dict.fromkeys(filter(None, (resume and resume.parent, start, *others)))
    starts = list(map(Run, folders))
    for earlier in starts:
        earlier.check_test_part(data)
    if resume:
        warn(*resuming.check_data(resume, data))
    rank_zero_only(Run(cfg.paths.run_dir).write_split)(data, starts)


def start_from(cfg: DictConfig, module: pl.LightningModule) -> dict[str, Path]:
    """Begin with the weights of the run `cfg.init_from`, where it is given; CycleAM's classifier stays its own.

    Returns the checkpoint taken, as the source `init_from`.
    """
    if not cfg.init_from:
        return {}
    path = resolve_start(cfg.init_from)
    say(f"weights of {path}")
    load_weights(path, module, apart="classifier.")
    return {"init_from": path}


def fit(
    cfg: DictConfig,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    resume: Path | None,
    sources: dict[str, Path],
) -> Result:
    """Run the trainer; loggers are closed whatever happens. sources: checkpoints that it builds on, by their roles."""
    if resume:
        resuming.check_checkpoint(resume, module, cfg.trainer.max_epochs)
    rank_zero_only(provenance.record)(cfg)
    rank_zero_only(Run(cfg.paths.run_dir).mark_begun)()
    callbacks = [instantiate(c, _convert_="all") for c in (cfg.callbacks or {}).values() if c]
    callbacks.sort(
        key=lambda c: isinstance(c, LastCheckpoint)
    )  # last.ckpt holds what the others know of an epoch
    loggers = log.build(cfg)
    failed, start = True, time.monotonic()
    try:
        trainer = build_trainer(cfg, callbacks, loggers)
        begin_log(cfg, loggers, data, sources | ({"resumed": resume} if resume else {}))
        run_trainer(trainer, module, data, resume)
        result = conclude(cfg, trainer, time.monotonic() - start)
        if result["best"]:
            lineage.made(
                loggers, result["best"], fingerprint=data.fingerprint, score=result["score"], task=cfg.task
            )
        failed = False
    finally:
        log.close(loggers, failed)
    return result


def run_trainer(
    trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule, resume: Path | None
) -> None:
    """Train. A signal that ends it is SystemExit with the status of shells: 143 for SIGTERM, 130 for Ctrl-C, which
    Lightning turns into 0 and 1.
    """
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    except SIGTERMException as error:
        if not trainer.is_global_zero:  # the first process would be killed for another status than 0
            raise
        raise SystemExit(128 + signal.SIGTERM) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise SystemExit(128 + signal.SIGINT) from error
        raise


@rank_zero_only
def begin_log(cfg: DictConfig, loggers: list, data: pl.LightningDataModule, sources: dict[str, Path]) -> None:
    """Log what a run is: configuration, code, machine, data, and what it builds on."""
    facts = lineage.facts(cfg.paths.run_dir, cfg.paths.runs, data, sources)
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True) | facts)
    lineage.use(loggers, sources)


def build_trainer(cfg: DictConfig, callbacks: list, loggers: list) -> pl.Trainer:
    """The trainer, with checkpoints that are written whole or not at all and a bar on terminals only."""
    shown = progress() if cfg.trainer.enable_progress_bar else None
    bar = shown is not None and isinstance(shown, pl.callbacks.ProgressBar)
    return instantiate(
        cfg.trainer,
        callbacks=[*callbacks, *time_limit(cfg), *([shown] if shown else [])],
        max_time=None,
        logger=loggers or False,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=bar,
        _convert_="all",
    )


def time_limit(cfg: DictConfig) -> list[TimeLimit]:
    """The callback of `trainer.max_time`, where it is given. Raises UserError for a time that is none."""
    duration = cfg.trainer.max_time
    try:
        given = OmegaConf.to_container(duration) if OmegaConf.is_config(duration) else duration
        return [] if given is None else [TimeLimit(given)]
    except (MisconfigurationException, TypeError, AttributeError) as error:
        raise UserError(
            f"trainer.max_time={duration}: give days, hours, minutes, seconds as 00:12:00:00"
        ) from error


def out_of_time(trainer: pl.Trainer) -> bool:
    """Whether `trainer.max_time` ended the training, and nothing else in the same epoch."""
    early = any(
        isinstance(callback, EarlyStopping) and callback.stopped_epoch for callback in trainer.callbacks
    )
    reached = any(isinstance(callback, TimeLimit) and callback.reached for callback in trainer.callbacks)
    return reached and not early and trainer.current_epoch != trainer.max_epochs


def conclude(cfg: DictConfig, trainer: pl.Trainer, seconds: float) -> Result:
    """The result; where no epoch was late enough to count as the best, the last one stands in.

    seconds: of the training since it was last started.
    """
    run = Run(cfg.paths.run_dir)
    best, last = run.checkpoint(), run.checkpoint("last")
    if trainer.is_global_zero and last.is_file() and not has_best(trainer):
        copy_atomically(last, best)
    trainer.strategy.barrier()  # the other processes look for best.ckpt too
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    result = {
        "best": str(best) if best.is_file() else None,
        "score": best_score(trainer),
        "metrics": metrics,
        "best_metrics": best_metrics(trainer) or metrics,
    }
    if out_of_time(trainer):
        say(f"stopped after {trainer.current_epoch} of {trainer.max_epochs} epochs (trainer.max_time)")
    elif trainer.is_global_zero and not trainer.fast_dev_run:
        facts = {
            "max_epochs": trainer.max_epochs,
            "max_steps": trainer.max_steps,
            "epochs": trainer.current_epoch,
        }
        run.mark_finished(**facts, companions=list(cfg.companions or {}), seconds=seconds, **result)
    return result


def has_best(trainer: pl.Trainer) -> bool:
    """Whether a callback chose a best checkpoint, in this run or in the one that it continues."""
    return any(callback.monitor and callback.best_model_path for callback in trainer.checkpoint_callbacks)


def best_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """All figures of the best checkpoint's epoch; empty where no epoch was late enough to count."""
    chosen = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint)]
    return chosen[0].metrics if chosen else {}


def best_score(trainer: pl.Trainer) -> float | None:
    """The monitored value of the best checkpoint, else of the last epoch; None without a monitor."""
    for callback in trainer.checkpoint_callbacks:
        if callback.monitor:
            score = callback.best_model_score
            score = trainer.callback_metrics.get(callback.monitor) if score is None else score
            return None if score is None else float(score)
    return None
