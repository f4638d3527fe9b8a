"""Loggers: started with or without an account and a network, kept from ending a training, and closed."""

from __future__ import annotations

import netrc
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from cycle_am.errors import UserError

GUARDED = ("log_metrics", "log_hyperparams", "save", "finalize")  # what a trainer calls


# ------------------------------------------------------------------------------------------------- starting
def build(cfg: DictConfig) -> list[Logger]:
    """The loggers of a training."""
    return [guard(instantiate(c, _convert_="all")) for c in (cfg.logger or {}).values() if c]


def build_for_results(cfg: DictConfig, out_dir: Path, group: str, job_type: str) -> list[Logger]:
    """The loggers of an evaluation, their files in `out_dir`; not CSV, whose files an evaluation writes anyway."""
    changed = {"save_dir": str(out_dir), "group": group, "job_type": job_type}
    nodes = [
        OmegaConf.merge(c, {k: changed[k] for k in changed if k in c})
        for c in (cfg.logger or {}).values()
        if c
    ]
    loggers = [instantiate(node, _convert_="all") for node in nodes]
    return [guard(logger) for logger in loggers if not isinstance(logger, CSVLogger)]


class RunLogger(WandbLogger):
    """W&B. upload: whether `lineage` sends checkpoints to the server, or only their names and digests."""

    def __init__(self, *, upload: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.upload = upload


def wandb_logger(
    save_dir: str, offline: bool = False, finish_timeout: float = 120.0, **arguments: Any
) -> RunLogger:
    """A started W&B logger; offline where `offline`, `WANDB_MODE=offline`, no account or no network says so.

    An offline run lies below `save_dir`/wandb and is sent later with `wandb sync`. So is one that was online and lost
    the network: it is kept there as well, and `finish_timeout` seconds are waited for the rest to be sent.
    """
    import wandb

    arguments["settings"] = wandb.Settings(finish_timeout=finish_timeout)
    reason = "asked for" if offline else why_offline()
    if reason is None:
        try:
            return _started(save_dir, arguments, offline=False)
        except Exception as error:  # wandb has no common class for "the server did not answer"
            reason = str(error).splitlines()[0]
    rank_zero_only(print)(f"W&B runs offline ({reason}); `wandb sync` sends the run later")
    return _started(save_dir, arguments, offline=True)


def why_offline() -> str | None:
    """In words, what keeps W&B from being online; None where nothing does."""
    url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    if os.environ.get("WANDB_MODE") in ("offline", "dryrun"):
        return "WANDB_MODE=offline"
    if not _has_account(url):
        return "no account: `wandb login`"
    return None if _reachable(url) else f"no connection to {url}"


def _has_account(url: str) -> bool:
    """Whether a key is in the environment or, as `wandb login` leaves it, in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(url).hostname) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _reachable(url: str, seconds: float = 3.0) -> bool:
    """Whether a connection can be opened; wandb itself would try for minutes."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port or 443), timeout=seconds):
            return True
    except OSError:
        return False


def _started(save_dir: str, arguments: dict[str, Any], offline: bool) -> RunLogger:
    os.makedirs(save_dir, exist_ok=True)
    mode = {"mode": "offline"} if offline else {}  # WandbLogger(offline=True) alone stays online
    logger = RunLogger(save_dir=save_dir, offline=offline, **mode, **arguments)
    _ = logger.experiment  # starts the run, so that a failure shows here
    return logger


def mlflow_logger(store: str, files: str, group: str, job_type: str, **arguments: Any) -> MLFlowLogger:
    """A started MLflow logger.

    store: a database below a folder, `sqlite:///FOLDER/mlflow.db`, shared by all runs, or a server's address. files:
    the folder of pictures and tables. Raises UserError where MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    Path(files).mkdir(parents=True, exist_ok=True)
    tags = {"group": group, "job_type": job_type}
    place = None if store.startswith("http") else Path(files).resolve().as_uri()  # a server has its own
    try:
        logger = MLFlowLogger(tracking_uri=store, artifact_location=place, tags=tags, **arguments)
    except ModuleNotFoundError as error:
        raise UserError('logger=mlflow needs MLflow: pip install -e ".[mlflow]"') from error
    _ = logger.run_id  # creates tables and the run, so that a failure shows here
    return logger


# ------------------------------------------------------------------------------------------ while it is running
def guard(logger: Logger) -> Logger:
    """The logger, whose failures no longer end the training: it says so once and is silent from then on.

    Silent, because most fail after waiting for a network, and would let every further step wait.
    """
    for name in GUARDED:
        setattr(logger, name, _guarded(logger, getattr(logger, name)))
    return logger


def _guarded(logger: Logger, method: Any) -> Any:
    @wraps(method)
    def call(*arguments: Any, **options: Any) -> None:
        if not silent(logger):
            with forgiving(logger):
                method(*arguments, **options)

    return call


def silent(logger: Logger) -> bool:
    """Whether a logger has failed before."""
    return getattr(logger, "failed", False)


@contextmanager
def forgiving(logger: Logger) -> Iterator[None]:
    """What a logger raises inside is printed in one line; it is then `silent`."""
    try:
        yield
    except Exception as error:  # whatever a logger, its server or its disk comes up with
        logger.failed = True
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        print(f"{type(logger).__name__} failed and logs no more, the training goes on ({reason})", flush=True)


def close(loggers: Sequence[Logger], failed: bool = False) -> None:
    """End every logger's run, W&B's too: otherwise the next job of a multirun logs into this one."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        wandb.finish(exit_code=int(failed))
