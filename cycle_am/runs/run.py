"""A run: the folder that a training leaves, `runs/<experiment>/<data>/<time>/`, and all that is asked of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from cycle_am.errors import UserError
from cycle_am.files import copy_atomically, write_atomically
from cycle_am.identity import loose_key
from cycle_am.processes import is_first_process
from cycle_am.runs import latest
from cycle_am.runs.recorded import read

if TYPE_CHECKING:
    import pytorch_lightning as pl

MULTIRUN = "multirun"  # as in conf/hydra/default.yaml
FINISHED = "finished.json"
SPLIT = "split.json"
CONFIG = Path(".hydra") / "config.yaml"
CHECKPOINTS = ("best.ckpt", "last.ckpt")
RECORDS = (FINISHED, SPLIT, "environment.json", "repeat.yaml", CONFIG)  # what says how a run was trained


class Run:
    """One training by its folder, which need not be there yet."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __str__(self) -> str:
        return str(self.folder)

    # ------------------------------------------------------------------------------------------ which there are

    @classmethod
    def latest(cls, runs: str | Path, experiment: str, data: str) -> Run:
        """The newest finished run of an experiment on some data. Raises UserError with the command to run."""
        link = Path(runs) / experiment / data / latest.NAME
        if not link.is_dir():
            command = f"python train.py experiment={experiment} data={data}"
            raise UserError(
                f"no finished run of experiment={experiment} for data={data} below {runs}; run `{command}`"
            )
        return cls(link.resolve())

    @classmethod
    def all_in(cls, folder: str | Path) -> list[Run]:
        """The runs in a folder, finished or not: what Hydra started there, in the order of their numbers."""
        folders = [path.parents[1] for path in Path(folder).glob(f"*/{CONFIG}")]
        return [cls(path) for path in sorted(folders, key=lambda path: (len(path.name), path.name))]

    @classmethod
    def of_split_and_seed(cls, folder: str | Path, fingerprint: str, seed: int) -> Run:
        """Among the runs in `folder`, e.g. a multirun's, the newest finished one of these data, split and seed.

        Raises UserError where there is none: another seed's run is no substitute.
        """
        finished = [run for run in cls.all_in(folder) if run.finished()]
        fitting = [run for run in finished if (run.seed, run.fingerprint) == (seed, fingerprint)]
        if not fitting:
            raise UserError(
                f"{folder} has no finished run with seed={seed} on this split of these data; train it, with the same "
                "data settings, before what builds on it"
            )
        return max(fitting, key=Run.finished_at)

    # ------------------------------------------------------------------------------------------------ what it is

    def is_one(self) -> bool:
        """Whether Hydra began a training in the folder."""
        return (self.folder / CONFIG).is_file()

    @property
    def settings(self) -> DictConfig:
        """The configuration that it was trained with, as Hydra left it. Raises UserError where it is absent."""
        if not self.is_one():
            raise UserError(f"{self} has no {CONFIG}, so it is no run; give the folder of a run")
        return read(self.folder / CONFIG)

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.settings.seed

    @property
    def multirun(self) -> str | None:
        """The name of the multirun whose job it is, the same for all its experiments; None for a single run."""
        parent = self.folder.parent
        return parent.name if parent.parent.name == MULTIRUN else None

    def group(self, name: str) -> str:
        """What loggers put it in: its multirun, by the folder's name, else the experiment `name`."""
        parts = self.folder.parts
        return parts[parts.index(MULTIRUN) + 1] if MULTIRUN in parts[:-1] else name

    def checkpoint(self, name: str = "best") -> Path:
        """`NAME.ckpt`, whether it is there or not: `best`, `last`; a classifier's companions by their names."""
        return self.folder / f"{name}.ckpt"

    # ------------------------------------------------------------------------------------------------- its end

    def mark_finished(self, **facts: Any) -> None:
        """Write `finished.json`: its training has come to its own end.

        facts: with `companions`, the names of the classifiers that are trained after this one.
        """
        text = json.dumps(facts, indent=2) + "\n"
        write_atomically(self.folder / FINISHED, lambda path: path.write_text(text))

    def mark_begun(self) -> None:
        """Remove the mark of an earlier end: the training goes on, or begins again."""
        (self.folder / FINISHED).unlink(missing_ok=True)

    def ended(self) -> dict[str, Any] | None:
        """What `mark_finished` wrote, or None while the training has not ended. Companions may still be trained."""
        file = self.folder / FINISHED
        return json.loads(file.read_text()) if file.is_file() else None

    def finished(self) -> dict[str, Any] | None:
        """What `mark_finished` wrote, or None while its training or one of its companions' has not ended."""
        facts = self.ended()
        return None if facts is None or self.lacking(facts) else facts

    def lacking(self, facts: Mapping[str, Any]) -> list[str]:
        """The companions of an ended training that have not ended themselves. facts: of its `finished.json`."""
        return [name for name in facts.get("companions", ()) if not (self.folder / name / FINISHED).is_file()]

    def finished_at(self) -> int:
        """When it ended, in nanoseconds; 0 while it has not."""
        return (self.folder / FINISHED).stat().st_mtime_ns if self.finished() else 0

    def publish(self, home: str | Path | None = None) -> str | None:
        """Let `latest` in `home`, by default the folder of its experiment on its data, point to it.

        Returns in one line why `latest` was left alone, None where it was moved.
        """
        folder = self.folder.resolve()
        own = folder.parents[2] if folder.parent.parent.name == MULTIRUN else folder.parent
        return latest.publish(folder, own, own if home is None else Path(home).resolve())

    def adopt(self, source: Run, whole: bool = True) -> None:
        """Copy what a resumed run builds on from the one that it continues: the checkpoints, and of a `whole` one,
        whose training has ended, all that says how it was trained.
        """
        if source.folder.resolve() == self.folder.resolve():
            return
        for name in (*CHECKPOINTS, *(RECORDS if whole else ())):
            if (source.folder / name).is_file():
                copy_atomically(source.folder / name, self.folder / name)

    # -------------------------------------------------------------------------------------------- whom it has seen

    @property
    def split(self) -> dict[str, Any]:
        """What `write_split` left: `fingerprint`, digests of patients `seen` and `test`; empty where it left none."""
        file = self.folder / SPLIT
        return json.loads(file.read_text()) if file.is_file() else {}

    @property
    def fingerprint(self) -> str | None:
        """Of its data and their split, where that is known."""
        return self.split.get("fingerprint")

    def write_split(self, data: pl.LightningDataModule, starts: Iterable[Run] = ()) -> None:
        """Write `split.json`: the data's fingerprint and digests of its patients' ids; of those seen, in any spelling.

        The patients of the runs that this one builds on, `starts`, count as seen too. Where one of them left no
        `split.json`, `unknown` says that there may be more.
        """
        starts = list(starts)
        seen = set(_spellings([*data.train_cases.patient_id, *data.val_cases.patient_id]))
        facts = {
            "fingerprint": data.fingerprint,
            "seen": sorted(seen.union(*(start._seen() for start in starts))),
            "test": _digests(data.test_cases.patient_id),
            "unknown": any(start.saw_unknown() for start in starts),
        }
        write_atomically(self.folder / SPLIT, lambda path: path.write_text(json.dumps(facts) + "\n"))

    def check_test_part(self, data: pl.LightningDataModule) -> None:
        """Raise UserError where patients that are to be tested trained or validated it; one line where it is not known
        which patients did.
        """
        seen = self._seen()
        leaked = [name for name in set(data.test_cases.patient_id) if seen.intersection(_spellings([name]))]
        if leaked:
            raise UserError(
                f"{len(leaked)} patients of the test part trained {self}; use the data settings of that run "
                "(data.split_seed, data.fold, ...), or train it again with these"
            )
        if self.saw_unknown():
            _say_unknown(self.folder.resolve())

    def saw_unknown(self) -> bool:
        """Whether it does not know of all patients that trained it."""
        return self.split.get("unknown", not (self.folder / SPLIT).is_file())

    def is_test_part(self, patients: Iterable[str]) -> bool:
        """Whether these are the patients, all of them and no other, that its split left for testing."""
        return self.split.get("test") == _digests(patients)

    def _seen(self) -> set[str]:
        """Digests of the patients that trained or validated it; none where it left no `split.json`."""
        return set(self.split.get("seen", ()))


@cache
def _say_unknown(folder: Path) -> None:
    """Once for each run, by the first process."""
    if is_first_process():
        print(
            f"warning: {folder} does not say which patients trained it ({SPLIT}), so it is not checked that none of "
            "them is tested",
            flush=True,
        )


def _digests(ids: Iterable[str]) -> list[str]:
    return sorted({hashlib.sha256(str(name).encode()).hexdigest()[:16] for name in ids})


def _spellings(ids: Iterable[str]) -> list[str]:
    """Digests of the ids as they stand, which is all that runs of before have, and of what their spellings share."""
    ids = list(ids)
    return _digests([*ids, *map(loose_key, ids)])
