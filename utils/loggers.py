"""Loggers: W&B with or without an account and a network, and closing all of them."""

from __future__ import annotations

import netrc
import os
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only


def wandb_logger(save_dir: str, offline: bool = False, **arguments: Any) -> Logger:
    """A started WandbLogger; offline where `offline`, `WANDB_MODE=offline`, no account or no network says so.

    An offline run lies below `save_dir`/wandb and is sent later with `wandb sync`.
    """
    reason = "asked for" if offline else _why_offline()
    if reason is None:
        try:
            return _started(save_dir, arguments, offline=False)
        except Exception as error:  # wandb has no common class for "the server did not answer"
            reason = str(error).splitlines()[0]
    rank_zero_only(print)(f"W&B runs offline ({reason}); `wandb sync` sends the run later")
    return _started(save_dir, arguments, offline=True)


def _why_offline() -> str | None:
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


def _started(save_dir: str, arguments: dict[str, Any], offline: bool) -> Logger:
    from pytorch_lightning.loggers import WandbLogger

    os.makedirs(save_dir, exist_ok=True)
    mode = {"mode": "offline"} if offline else {}  # WandbLogger(offline=True) alone stays online
    logger = WandbLogger(save_dir=save_dir, offline=offline, **mode, **arguments)
    _ = logger.experiment  # starts the run, so that a failure shows here
    return logger


def close(loggers: Sequence[Logger], failed: bool = False) -> None:
    """End every logger's run, W&B's too: otherwise the next job of a multirun logs into this one."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
    if any(type(logger).__name__ == "WandbLogger" for logger in loggers):
        import wandb

        wandb.finish(exit_code=int(failed))
