"""What is checked of a composed configuration before any work: top-level types, types of every argument,
missing values.
"""

from __future__ import annotations

import enum
import operator
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from cycle_am.arguments import check_arguments
from cycle_am.errors import UserError


class Action(enum.Enum):
    """What `python study.py action=` takes, and the function that does it."""

    create = "cycle_am.reader_study.design.create.create"
    serve = "cycle_am.reader_study.web.serve.serve"
    export = "cycle_am.reader_study.analysis.export.export"
    analyse = "cycle_am.reader_study.analysis.analyse.analyse"
    plan = "cycle_am.reader_study.planning.plan.plan"
    simulate = "cycle_am.reader_study.planning.simulate.simulate"


@dataclass
class PrepareSchema:
    """Types of the top level of conf/prepare.yaml."""

    data_name: str = MISSING
    seed: int = 0
    classifier_epochs: int = 40
    longer: int = 1
    shard: int | None = None
    shards: int = 1
    data: Any = None
    paths: Any = None


@dataclass
class TrainSchema:
    """Types of the top level of conf/train.yaml; Hydra refuses other keys and values of another type."""

    name: str = "run"
    data_name: str = MISSING
    task: str = MISSING
    seed: int = 0
    classifier_epochs: int = 40
    longer: int = 1
    ckpt_path: str | None = None
    init_from: str | None = None
    publish: bool | None = None
    objectives: list[str] | None = None
    trial: Any = None
    companions: Any = None
    data: Any = None
    model: Any = None
    classifier: Any = None
    trainer: Any = None
    callbacks: Any = None
    logger: Any = None
    paths: Any = None
    extras: Any = None


@dataclass
class EvaluateSchema(TrainSchema):
    """Types of the top level of conf/evaluate.yaml."""

    run: str | None = None
    runs: Any = None
    out_dir: str | None = None
    explainers: Any = None
    evaluation: Any = None


@dataclass
class StudySchema:
    """Types of the top level of conf/study.yaml."""

    action: Action = MISSING
    name: str = "study"
    dir: str = MISSING
    seed: int = 0
    study: Any = None
    paths: Any = None


def register() -> None:
    """Make the schemas and the resolvers known to Hydra; called once by the entry points and tests.

    `${add:a,b}` is a + b; `${best_precision:accelerator}` is what suits the hardware;
    `${three_quarters:n}` is 3 n / 4; `${group:run_dir,name}` what loggers put a run in (`Run.group`);
    `${cwd:}` the working folder (`${hydra:runtime.cwd}` is not known yet when a
    multirun's folder is named); `${home:path}` the path without a leading ~.
    """
    OmegaConf.register_new_resolver("add", operator.add, replace=True)
    OmegaConf.register_new_resolver("times", operator.mul, replace=True)
    OmegaConf.register_new_resolver("three_quarters", lambda n: 3 * n // 4, replace=True)
    OmegaConf.register_new_resolver("group", _group, replace=True)
    OmegaConf.register_new_resolver("cwd", os.getcwd, replace=True)
    OmegaConf.register_new_resolver("home", os.path.expanduser, replace=True)
    OmegaConf.register_new_resolver("best_precision", _best_precision, replace=True)
    ConfigStore.instance().store(name="prepare_schema", node=PrepareSchema)
    ConfigStore.instance().store(name="train_schema", node=TrainSchema)
    ConfigStore.instance().store(name="evaluate_schema", node=EvaluateSchema)
    ConfigStore.instance().store(name="study_schema", node=StudySchema)


def _group(run_dir: str, name: str) -> str:
    from cycle_am.runs.run import Run  # --help does not need it

    return Run(run_dir).group(name)


def _best_precision(accelerator: str) -> str:
    from cycle_am.app.precision import best_precision  # imports torch, which --help does not need

    return best_precision(accelerator)


def check_config(cfg: DictConfig) -> None:
    """Raise UserError for the first value that is missing, unknown to its constructor, or of another type."""
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise UserError(f"{key} is not set; give it on the command line: {key}=VALUE")
    for path, node in _targets(cfg, ""):
        check_arguments(path, node)


def _targets(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """All nodes below `node` that name a constructor, with their dotted paths."""
    if isinstance(node, DictConfig) and "_target_" in node:
        yield path, node
    for key, child in _children(node):
        yield from _targets(child, f"{path}.{key}".lstrip("."))


def _children(node: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(node, DictConfig):
        return node.items()
    return enumerate(node) if isinstance(node, ListConfig) else ()
