"""Going on from a checkpoint: whether it fits, what it decides itself, and what has ended already."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cycle_am.errors import UserError
from cycle_am.files import write_atomically
from cycle_am.runs import provenance
from cycle_am.runs.checkpoints import read_checkpoint
from cycle_am.runs.run import CONFIG, Run

# Of each task's optimisers, in their order: the group's value -> the setting of the model that it was made with.
OPTIMISERS: dict[str, tuple[dict[str, str], ...]] = {
    "classifier": ({"lr": "lr", "weight_decay": "weight_decay"},),
    "cycle_am": ({"lr": "lr", "betas": "betas"}, {"lr": "lr_discriminator", "betas": "betas"}),
}
# Settings that say where and how a run is made, not what it comes to.
ASIDE = (
    "paths.",
    "logger.",
    "trainer.",
    "extras.",
    "callbacks.",
    "data.cache_dir",
    "data.num_workers",
    "trial",
)
ASIDE += ("ckpt_path", "publish", "objectives")


def check_checkpoint(path: Path, module: nn.Module, max_epochs: int | None) -> None:
    """Raise UserError where a training with this module cannot go on from the checkpoint `path`."""
    checkpoint = read_checkpoint(path)
    if not {"state_dict", "epoch", "optimizer_states"} <= checkpoint.keys():
        raise UserError(
            f"ckpt_path: {path} is no checkpoint of a training; give last.ckpt of a run, or init_from"
        )
    theirs, own = checkpoint["state_dict"], module.state_dict()
    for name in sorted(theirs.keys() | own.keys()):
        if name not in theirs or name not in own or theirs[name].shape != own[name].shape:
            raise UserError(
                f"ckpt_path: {path} does not fit this model ({name}); give the model settings of that run"
            )
    done = checkpoint["epoch"] + 1
    if max_epochs is not None and 0 <= max_epochs < done:
        raise UserError(f"trainer.max_epochs={max_epochs}: {path} has {done} epochs already; give more")


def hold(cfg: DictConfig, path: Path) -> list[str]:
    """Set in `cfg` what the optimisers of the checkpoint `path` have of their own, so that what is recorded is what is
    in force. Returns a line for each setting that was given another value.
    """
    lines = []
    for name, value in dict(_in_force(cfg.task, read_checkpoint(path))).items():
        given = cfg.model.get(name)
        if given is not None and _plain(given) != value:
            lines.append(f"model.{name}={given} has no effect on a resumed run, its optimiser has {value}")
            cfg.model[name] = value
            _record(Path(cfg.paths.run_dir) / CONFIG, f"model.{name}", value)
    return lines


def _in_force(task: str, checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for state, names in zip(checkpoint.get("optimizer_states", ()), OPTIMISERS[task], strict=False):
        group = state["param_groups"][0]
        for key, name in names.items():
            # A schedule changes lr, and keeps what it began with.
            yield name, _plain(group["initial_lr"] if key == "lr" and "initial_lr" in group else group[key])


def _plain(value: Any) -> Any:
    return (
        [float(number) for number in value]
        if isinstance(value, (list, tuple)) or OmegaConf.is_list(value)
        else value
    )


def _record(file: Path, key: str, value: Any) -> None:
    """The same in Hydra's record of the run, where it is one of Hydra's."""
    if file.is_file():
        recorded = OmegaConf.load(file)
        OmegaConf.update(recorded, key, value)
        write_atomically(file, lambda path: OmegaConf.save(recorded, path))


def check_data(path: Path, data: pl.LightningDataModule) -> list[str]:
    """A line where the data are not those that the run of the checkpoint `path` was begun with."""
    then = Run(path.parent).fingerprint or data.fingerprint
    if then == data.fingerprint:
        return []
    return [
        f"the data are not those that {path.parent} was trained with (fingerprint {data.fingerprint}, then {then})"
    ]


def unused(run_dir: Path, cfg: DictConfig) -> list[str]:
    """A line where `cfg` differs in its settings from the run in `run_dir`, which has ended and is taken as it is."""
    then, now = _recorded(run_dir / provenance.ENVIRONMENT), _flat(provenance.plain(cfg))
    keys = [key for key in now.keys() & then.keys() if now[key] != then[key] and not key.startswith(ASIDE)]
    if not keys:
        return []
    shown = ", ".join(f"{key}={now[key]}" for key in sorted(keys)[:4]) + (", ..." if len(keys) > 4 else "")
    return [
        f"not in force, since the training had ended: {shown}; train it in another folder, without ckpt_path"
    ]


def _recorded(file: Path) -> dict[str, Any]:
    """Dotted key -> value of the settings in `environment.json`; none where it is absent or of another form."""
    try:
        return _flat(json.loads(file.read_text())["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _flat(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {path: node}
    nested = (_flat(child, f"{path}.{key}".lstrip(".")) for key, child in node.items())
    return {key: value for part in nested for key, value in part.items()}
