"""Where runs lie: `runs/<experiment>/<data>/<time>/`, `latest` is the newest finished one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from utils.config import expand_home
from utils.errors import UserError
from utils.files import copy_atomically, write_atomically
from utils.identity import loose_key

if TYPE_CHECKING:
    import pytorch_lightning as pl

LATEST = "latest"
MULTIRUN = "multirun"  # as in conf/hydra/default.yaml
FINISHED = "finished.json"
SPLIT = "split.json"
CONFIG = Path(".hydra") / "config.yaml"


def publish(run_dir: str | Path) -> None:
    """Let `latest` beside `run_dir` point to it, in one step: readers see the old target or the new one.

    For a job of a multirun, `multirun/<time>/<job>`, it lies beside `multirun`.
    """
    run_dir = Path(run_dir).resolve()
    home = run_dir.parents[2] if run_dir.parents[1].name == MULTIRUN else run_dir.parent
    temporary = home / f".{LATEST}.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(run_dir.relative_to(home))
    os.replace(temporary, home / LATEST)


def latest(runs: str | Path, experiment: str, data: str) -> Path:
    """The newest finished run of an experiment on some data. Raises UserError with the command to run."""
    link = Path(runs) / experiment / data / LATEST
    if not link.is_dir():
        command = f"python train.py experiment={experiment} data={data}"
        raise UserError(
            f"no finished run of experiment={experiment} for data={data} below {runs}; run `{command}`"
        )
    return link.resolve()


def multirun_of(run_dir: str | Path) -> str | None:
    """The name of the multirun whose job `run_dir` is, the same for all its experiments; None for a single run."""
    run_dir = Path(run_dir)
    return run_dir.parent.name if run_dir.parent.parent.name == MULTIRUN else None


def of_split_and_seed(folder: str | Path, fingerprint: str, seed: int) -> Path:
    """Among the runs in `folder`, e.g. a multirun's, the newest finished one of these data, split and seed.

    Raises UserError where there is none: another seed's run is no substitute.
    """
    found = [run for run in members(folder) if finished(run) and settings(run).seed == seed]
    found = [run for run in found if split(run).get("fingerprint") == fingerprint]
    if not found:
        raise UserError(
            f"{folder} has no finished run with seed={seed} on this split of these data; train it, with the same "
            "data settings, before what builds on it"
        )
    return max(found, key=lambda run: (run / FINISHED).stat().st_mtime_ns)


def members(folder: str | Path) -> list[Path]:
    """The runs in a folder, finished or not: what Hydra started there, in the order of their numbers."""
    found = [path.parents[1] for path in Path(folder).glob(f"*/{CONFIG}")]
    return sorted(found, key=lambda run: (len(run.name), run.name))


def settings(run_dir: str | Path) -> DictConfig:
    """The configuration that a run was trained with, as Hydra left it. Raises UserError where it is absent."""
    file = Path(run_dir) / CONFIG
    if not file.is_file():
        raise UserError(f"{run_dir} has no {CONFIG}, so it is no run; give the folder of a run")
    found = OmegaConf.load(file)
    expand_home(found)
    return found


def split(run_dir: str | Path) -> dict[str, Any]:
    """What `write_split` left: `fingerprint`, digests of patients `seen` and `test`; empty where it left none."""
    file = Path(run_dir) / SPLIT
    return json.loads(file.read_text()) if file.is_file() else {}


def group(run_dir: str | Path, name: str) -> str:
    """What loggers put a run in: its multirun, by the folder's name, else the experiment `name`."""
    parts = Path(run_dir).parts
    return parts[parts.index(MULTIRUN) + 1] if MULTIRUN in parts[:-1] else name


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


def mark_finished(run_dir: str | Path, **facts: Any) -> None:
    """Write `finished.json` into the folder: its training has come to its own end."""
    write_atomically(
        Path(run_dir) / FINISHED, lambda path: path.write_text(json.dumps(facts, indent=2) + "\n")
    )


def finished(run_dir: str | Path) -> dict[str, Any] | None:
    """What `mark_finished` wrote, or None while the training has not ended."""
    file = Path(run_dir) / FINISHED
    return json.loads(file.read_text()) if file.is_file() else None


def adopt(source: Path, run_dir: Path) -> None:
    """Copy what a resumed run builds on (best checkpoint, end mark) from the folder that it continues."""
    for name in ("best.ckpt", "last.ckpt", FINISHED):
        if source.resolve() != run_dir.resolve() and (source / name).is_file():
            copy_atomically(source / name, run_dir / name)


def write_split(run_dir: str | Path, data: pl.LightningDataModule, start: Path | None = None) -> None:
    """Write `split.json`: the data's fingerprint and digests of its patients' ids; of those seen, in any spelling.

    The patients of the run `start`, whose weights this one begins with, count as seen too.
    """
    seen = set(_spellings([*data.train_cases.patient_id, *data.val_cases.patient_id])) | _seen(start)
    facts = {
        "fingerprint": data.fingerprint,
        "seen": sorted(seen),
        "test": _digests(data.test_cases.patient_id),
    }
    write_atomically(Path(run_dir) / SPLIT, lambda path: path.write_text(json.dumps(facts) + "\n"))


def check_split(run_dir: str | Path, data: pl.LightningDataModule) -> None:
    """Raise UserError where patients that are to be tested trained or validated the run."""
    seen = _seen(run_dir)
    leaked = [one for one in set(data.test_cases.patient_id) if seen.intersection(_spellings([one]))]
    if leaked:
        raise UserError(
            f"{len(leaked)} patients of the test part trained {run_dir}; use the data settings of that run "
            "(data.split_seed, data.fold, ...), or train it again with these"
        )


def is_test_part(run_dir: str | Path, patients: Iterable[str]) -> bool:
    """Whether these are the patients, all of them and no other, that the run's split left for testing."""
    return split(run_dir).get("test") == _digests(patients)


def _seen(run_dir: str | Path | None) -> set[str]:
    """Digests of the patients that trained or validated a run; none where it left no `split.json`."""
    return set(split(run_dir).get("seen", ())) if run_dir else set()


def _digests(ids: Iterable[str]) -> list[str]:
    return sorted({hashlib.sha256(str(name).encode()).hexdigest()[:16] for name in ids})


def _spellings(ids: Iterable[str]) -> list[str]:
    """Digests of the ids as they stand, which is all that runs of before have, and of what their spellings share."""
    ids = list(ids)
    return _digests([*ids, *map(loose_key, ids)])
