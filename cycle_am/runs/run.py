"""Where runs lie: `runs/<experiment>/<data>/<time>/`, `latest` is the newest finished one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from cycle_am.runs.recorded import expand_home
from cycle_am.errors import UserError
from cycle_am.files import copy_atomically, write_atomically
from cycle_am.identity import loose_key
from cycle_am.processes import is_first_process
from cycle_am.runs.recorded import update_targets

if TYPE_CHECKING:
    import pytorch_lightning as pl

LATEST = "latest"
MULTIRUN = "multirun"  # as in conf/hydra/default.yaml
FINISHED = "finished.json"
SPLIT = "split.json"
CONFIG = Path(".hydra") / "config.yaml"
CHECKPOINTS = ("best.ckpt", "last.ckpt")
RECORDS = (FINISHED, SPLIT, "environment.json", "repeat.yaml", CONFIG)  # cycle_am.runs.provenance imports this module


def publish(run_dir: str | Path, home: str | Path | None = None) -> str | None:
    """Let `latest` in `home` point to `run_dir`, in one step: readers see the old target or the new one.

    home: the folder of the experiment on the data; by default the one that the run lies in, of a multirun's job,
    `multirun/<time>/<job>`, that of `multirun`. Returns in one line why `latest` was left alone, None where it was
    moved: a run elsewhere is not what it is for, and a folder or a link of that name that was not made here stays.
    """
    run_dir = Path(run_dir).resolve()
    own = run_dir.parents[2] if run_dir.parent.parent.name == MULTIRUN else run_dir.parent
    home = own if home is None else Path(home).resolve()
    if own != home:
        return f"{home / LATEST} is left alone, since {run_dir} is not one of the runs in {home}"
    if not _is_ours(home / LATEST):
        return f"{home / LATEST} is left alone, since it is no link to a run beside it; move it away"
    try:
        _link(home / LATEST, run_dir.relative_to(home))
    except OSError as error:
        return f"{home / LATEST} could not be moved ({error.strerror}); give run={run_dir} where it is meant"
    return None


def _link(link: Path, target: Path) -> None:
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        os.replace(temporary, link)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_ours(link: Path) -> bool:
    """Whether `publish` may write there: nothing is there, or a link as it makes them, into the same folder."""
    if not link.is_symlink():
        return not link.exists()
    target = Path(os.readlink(link))
    return not target.is_absolute() and ".." not in target.parts


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
    return update_targets(found)


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
    """Write `finished.json` into the folder: its training has come to its own end.

    facts: with `companions`, the names of the classifiers that are trained after this one.
    """
    write_atomically(
        Path(run_dir) / FINISHED, lambda path: path.write_text(json.dumps(facts, indent=2) + "\n")
    )


def mark_begun(run_dir: str | Path) -> None:
    """Remove the mark of an earlier end: the training goes on, or begins again."""
    (Path(run_dir) / FINISHED).unlink(missing_ok=True)


def ended(run_dir: str | Path) -> dict[str, Any] | None:
    """What `mark_finished` wrote, or None while the training has not ended. Companions may still be trained."""
    file = Path(run_dir) / FINISHED
    return json.loads(file.read_text()) if file.is_file() else None


def finished(run_dir: str | Path) -> dict[str, Any] | None:
    """What `mark_finished` wrote, or None while the run's training or one of its companions' has not ended."""
    facts = ended(run_dir)
    return None if facts is None or lacking(run_dir, facts) else facts


def lacking(run_dir: str | Path, facts: Mapping[str, Any]) -> list[str]:
    """The companions of an ended training that have not ended themselves. facts: of its `finished.json`."""
    return [name for name in facts.get("companions", ()) if not (Path(run_dir) / name / FINISHED).is_file()]


def adopt(source: Path, run_dir: Path, whole: bool = True) -> None:
    """Copy what a resumed run builds on from the folder that it continues: the checkpoints, and of a `whole` one, whose
    training has ended, all that says how it was trained.
    """
    if source.resolve() == run_dir.resolve():
        return
    for name in (*CHECKPOINTS, *(RECORDS if whole else ())):
        if (source / name).is_file():
            copy_atomically(source / name, run_dir / name)


def write_split(run_dir: str | Path, data: pl.LightningDataModule, starts: Iterable[Path] = ()) -> None:
    """Write `split.json`: the data's fingerprint and digests of its patients' ids; of those seen, in any spelling.

    The patients of the runs that this one builds on, the folders `starts`, count as seen too. Where one of them left no
    `split.json`, `unknown` says that there may be more.
    """
    starts = list(starts)
    seen = set(_spellings([*data.train_cases.patient_id, *data.val_cases.patient_id]))
    facts = {
        "fingerprint": data.fingerprint,
        "seen": sorted(seen.union(*map(_seen, starts))),
        "test": _digests(data.test_cases.patient_id),
        "unknown": any(map(unknown, starts)),
    }
    write_atomically(Path(run_dir) / SPLIT, lambda path: path.write_text(json.dumps(facts) + "\n"))


def check_split(run_dir: str | Path, data: pl.LightningDataModule) -> None:
    """Raise UserError where patients that are to be tested trained or validated the run; one line where it is not known
    which patients did.
    """
    seen = _seen(run_dir)
    leaked = [one for one in set(data.test_cases.patient_id) if seen.intersection(_spellings([one]))]
    if leaked:
        raise UserError(
            f"{len(leaked)} patients of the test part trained {run_dir}; use the data settings of that run "
            "(data.split_seed, data.fold, ...), or train it again with these"
        )
    if unknown(run_dir):
        _say_unknown(Path(run_dir).resolve())


@cache
def _say_unknown(run_dir: Path) -> None:
    """Once for each run, by the first process."""
    if is_first_process():
        print(
            f"warning: {run_dir} does not say which patients trained it ({SPLIT}), so it is not checked that none of "
            "them is tested",
            flush=True,
        )


def unknown(run_dir: str | Path) -> bool:
    """Whether a run does not know of all patients that trained it."""
    return split(run_dir).get("unknown", not (Path(run_dir) / SPLIT).is_file())


def is_test_part(run_dir: str | Path, patients: Iterable[str]) -> bool:
    """Whether these are the patients, all of them and no other, that the run's split left for testing."""
    return split(run_dir).get("test") == _digests(patients)


def _seen(run_dir: str | Path) -> set[str]:
    """Digests of the patients that trained or validated a run; none where it left no `split.json`."""
    return set(split(run_dir).get("seen", ()))


def _digests(ids: Iterable[str]) -> list[str]:
    return sorted({hashlib.sha256(str(name).encode()).hexdigest()[:16] for name in ids})


def _spellings(ids: Iterable[str]) -> list[str]:
    """Digests of the ids as they stand, which is all that runs of before have, and of what their spellings share."""
    ids = list(ids)
    return _digests([*ids, *map(loose_key, ids)])
