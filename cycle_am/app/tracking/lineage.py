"""Which checkpoint came from which: classifier -> CycleAM -> evaluation, by the digests of the files.

A checkpoint is the same wherever its copy lies, so its digest names it: in the configuration of every logger
(`lineage/<role>/{sha256,run}`), and in W&B as the artifact `checkpoint-<digest>` that one run makes and others use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from cycle_am.app.tracking.loggers import RunLogger, forgiving, silent
from cycle_am.runs.provenance import ENVIRONMENT, digest

NAMED = 16  # digits of a digest in an artifact's name


def facts(
    run_dir: str | Path, runs: str | Path, data: pl.LightningDataModule, sources: Mapping[str, Path]
) -> dict[str, Any]:
    """What is logged beside the configuration: the data's fingerprint, code and machine as the run's folder holds
    them (`environment.json`), and the checkpoints that it builds on by their roles.
    """
    known = {"fingerprint": data.fingerprint, **_environment(Path(run_dir))}
    return known | {"lineage": describe(sources, runs)}


def describe(sources: Mapping[str, Path], runs: str | Path) -> dict[str, dict[str, str]]:
    """Digest and run of checkpoints, by their roles; the run's folder is named relative to `runs`."""
    return {role: {"sha256": digest(path), "run": _run(path, runs)} for role, path in sources.items()}


def use(loggers: Sequence[Logger], sources: Mapping[str, Path]) -> None:
    """Tell W&B which checkpoints this run builds on."""
    for role, path in sources.items():
        _artifact(loggers, path, {"role": role}, used=True)


def made(loggers: Sequence[Logger], path: str | Path, **metadata: Any) -> None:
    """Tell W&B which checkpoint this run has made."""
    _artifact(loggers, Path(path), metadata, used=False)


@rank_zero_only
def _artifact(loggers: Sequence[Logger], path: Path, metadata: dict[str, Any], used: bool) -> None:
    """`use_artifact` refuses offline runs and waits for the server; what it does inside, does neither: `wandb sync`
    then marks the artifact as used. A draft of the same name and content is the same artifact to the server.
    """
    for logger in loggers:
        if not isinstance(logger, RunLogger) or silent(logger):
            continue
        import wandb

        with forgiving(logger):
            artifact = wandb.Artifact(f"checkpoint-{digest(path)[:NAMED]}", "checkpoint", metadata=metadata)
            if logger.upload:
                artifact.add_file(
                    str(path), name="model.ckpt", policy="immutable"
                )  # else wandb copies it first
            else:
                artifact.add_reference(path.resolve().as_uri(), name="model.ckpt")
            logger.experiment._log_artifact(artifact, is_user_created=True, use_after_commit=used)


def _environment(run_dir: Path) -> dict[str, Any]:
    file = run_dir / ENVIRONMENT
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return {key: kept[key] for key in ("git", "machine") if key in kept}


def _run(path: Path, runs: str | Path) -> str:
    """The folder of a checkpoint, relative to `runs`; only its name where it lies elsewhere."""
    folder, home = path.resolve().parent, Path(runs).resolve()
    return str(folder.relative_to(home)) if folder.is_relative_to(home) else folder.name
