"""Checkpoints: written whole or not at all, read without running anybody's code."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from cycle_am.errors import UserError
from cycle_am.files import write_atomically

Module = TypeVar("Module", bound=nn.Module)


def save(content: dict, path: str | Path) -> None:
    """Write `content` to `path`, whole or not at all. Raises OSError, which names it, where that cannot be done."""
    write_atomically(path, lambda temporary: _save(content, temporary, path))


def _save(content: dict, temporary: Path, path: str | Path) -> None:
    try:
        with temporary.open("wb") as stream:  # given a path, torch hides why a file could not be written
            torch.save(content, stream)
    except RuntimeError as error:
        reason = error.__context__
        if isinstance(reason, OSError):
            raise OSError(reason.errno, reason.strerror, str(path)) from error
        if "inline_container" in str(error):  # torch's writer: it was given less room than it asked for
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict:
    """Read a checkpoint of tensors and plain values only.

    Raises UserError where the file is absent, cut short, or holds anything that would have to be executed.
    """
    if not Path(path).is_file():
        raise UserError(f"checkpoint {path} does not exist; give the path of a .ckpt file")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(
            f"checkpoint {path} cannot be read ({reason}); train again or give another file"
        ) from error


def resolve_checkpoint(path: str | Path) -> Path:
    """A checkpoint file as given, or a run folder's `last.ckpt`. Raises UserError where neither exists."""
    path = Path(path)
    file = path / "last.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"ckpt_path={path}: there is no checkpoint {file}; give a .ckpt file or a run folder")
    return file.resolve()


def resolve_start(path: str | Path, name: str = "best") -> Path:
    """The checkpoint whose weights another run begins with: `NAME.ckpt` of a run folder, or a file for `best`
    and `NAME.ckpt` beside it for a companion. Raises UserError where there is none.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    file = path if name == "best" and not path.is_dir() else folder / f"{name}.ckpt"
    if not file.is_file():
        raise UserError(f"init_from={path}: there is no checkpoint {file}; give a run folder or a .ckpt file")
    return file.resolve()


def load_weights(path: str | Path, module: nn.Module, apart: str) -> None:
    """Fill `module` with a checkpoint's weights, all but those whose names begin with `apart`.

    Raises UserError where the checkpoint was made for another network.
    """
    state = read_checkpoint(path).get("state_dict", {})
    kept = {name: value for name, value in state.items() if not name.startswith(apart)}
    try:
        missing, unknown = module.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        raise UserError(
            f"init_from: {path} has other sizes than this model; give its model settings"
        ) from error
    lacking = [name for name in missing if not name.startswith(apart)]
    if lacking or unknown:
        name = (lacking or unknown)[0]
        raise UserError(
            f"init_from: {path} does not fit this model ({name}); give a run of the same experiment"
        )


def load_module(path: str | Path, cls: type[Module], **modules: Any) -> Module:
    """Rebuild a Lightning module from its checkpoint alone, in eval mode on the CPU.

    `modules` are the constructor's arguments that a checkpoint cannot hold (other networks). Raises
    UserError where the file is absent or does not fit `cls`.
    """
    checkpoint = read_checkpoint(path)
    try:
        module = cls(**checkpoint["hyper_parameters"], **modules)
        module.load_state_dict(checkpoint["state_dict"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"checkpoint {path} does not fit {cls.__name__} ({reason}); give the right file"
        ) from error
    return module.eval()
