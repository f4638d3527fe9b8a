"""`evaluate.py evaluation=aggregate`: which runs there are, whether they belong together, and what is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, ListConfig, OmegaConf

from cycle_am.app.tasks.train import build_data, prepare, say
from cycle_am.errors import UserError
from cycle_am.files import write_text
from cycle_am.metrics.localisation import regions
from cycle_am.metrics.spread import RunFigures, Split, Tested, ensemble
from cycle_am.reports import spread as page
from cycle_am.reports.doubts import doubts
from cycle_am.reports.page import MISSING, write_report
from cycle_am.runs.results import read_metrics, write_maps, write_metrics
from cycle_am.runs.run import MULTIRUN, Run

Evaluate = Callable[[DictConfig], Path]
#: What must be equal between runs; of the data all but the fold.
SAME = (
    "name",
    "data_name",
    "data",
    "model",
    "companions",
    "trainer.max_epochs",
    "trainer.limit_train_batches",
)
DESCRIPTION = ("case_id", "patient_id", "label", "diameter_mm")  # columns of cases.csv that are no result


@dataclass(frozen=True)
class Member:
    """One finished run of the aggregate."""

    run: Run

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.run.folder

    @cached_property
    def settings(self) -> DictConfig:
        """What it was trained with."""
        return self.run.settings

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.settings.seed

    @property
    def folds(self) -> int | None:
        """Into how many parts the patients were divided; None without cross-validation."""
        return self.settings.data.folds

    @property
    def fold(self) -> int:
        """Which of them it was tested on; 0 without cross-validation."""
        return self.settings.data.fold if self.folds else 0

    @property
    def results(self) -> Path:
        """The folder of its evaluation."""
        return self.path / "evaluation"

    def cases(self) -> pd.DataFrame:
        """Its cases.csv as it is now."""
        return pd.read_csv(self.results / "cases.csv", dtype={"case_id": str, "patient_id": str})

    @property
    def has_maps(self) -> bool:
        """Whether it explains: CycleAM does, a classifier does not."""
        return (self.results / "relevance.npz").is_file()

    def maps(self, case_id: np.ndarray) -> np.ndarray:
        """R (N, H, W) of these cases."""
        with np.load(self.results / "relevance.npz") as kept:
            place = {name: i for i, name in enumerate(kept["case_id"])}
            return kept["cycle_am"][[place[name] for name in case_id]]


def aggregate_runs(cfg: DictConfig, evaluate: Evaluate) -> Path:
    """Write metrics.json, aggregate.csv, relevance.npz and report.html of many runs; returns their folder.

    evaluate: evaluates one run by its configuration. Raises UserError where runs do not belong together.
    """
    prepare(cfg)
    home, runs = find(cfg)
    members, left_out = [], []
    for run in runs:
        (members if run.finished() and run.checkpoint().is_file() else left_out).append(run)
    for run in left_out:
        say(f"left out, not finished: {run}")
    members = sorted(map(Member, members), key=lambda member: (member.fold, member.seed))
    check_together(members, home)
    for number, member in enumerate(members, 1):
        if not is_evaluated(member):
            say(f"evaluating run {number} of {len(members)}: {member.path}")
            evaluate(settings_of_evaluation(cfg, member))
    out_dir = Path(cfg.out_dir or home / "aggregate")
    write_results(cfg, members, left_out, out_dir)
    return out_dir


# ---------------------------------------------------------------------------------- which runs
def find(cfg: DictConfig) -> tuple[Path, list[Run]]:
    """Where the aggregate goes by default, and the runs, finished or not. Raises UserError where there are none."""
    if cfg.runs is None:
        home = newest_multirun(cfg)
        return home, Run.all_in(home)
    patterns = list(cfg.runs) if isinstance(cfg.runs, (list, ListConfig)) else [cfg.runs]
    runs = [run for pattern in patterns for run in matching(str(pattern))]
    folders = dict.fromkeys(run.folder.resolve() for run in runs)
    return runs[0].folder.parent, list(map(Run, folders))


def newest_multirun(cfg: DictConfig) -> Path:
    """The newest multirun of the experiment on the data that has a finished run."""
    home = Path(cfg.paths.runs) / cfg.name / cfg.data_name / MULTIRUN
    multiruns = [folder for folder in home.glob("*") if any(map(Run.finished, Run.all_in(folder)))]
    if not multiruns:
        names = ",".join(dict.fromkeys(["classifier", cfg.name]))  # a CycleAM needs its own
        raise UserError(
            f"no finished multirun in {home}; run `python train.py -m experiment={names} seed=0,1,2` with your data "
            "settings, or give runs=[FOLDER,...]"
        )
    return max(multiruns, key=lambda folder: max(map(Run.finished_at, Run.all_in(folder))))


def matching(pattern: str) -> list[Run]:
    """The runs that a folder of a run, a folder of runs or a pattern of either names."""
    paths = sorted(map(Path, glob(pattern)))
    runs = [run for path in paths for run in ([Run(path)] if Run(path).is_one() else Run.all_in(path))]
    if not runs:
        raise UserError(f"runs={pattern}: there is no run; give folders of runs or of multiruns")
    return runs


def check_together(members: Sequence[Member], home: Path) -> None:
    """Raise UserError where runs are none, are the same seed and fold twice, or differ in more than these."""
    if not members:
        raise UserError(f"no run in {home} is finished; let one finish, or give runs=[FOLDER,...]")
    first, design = members[0], {}
    for member in members:
        twin = design.setdefault((member.seed, member.fold), member)
        if twin is not member:
            raise UserError(
                f"{twin.path} and {member.path} are both seed={member.seed} data.fold={member.fold}; "
                "give one of them in runs=[...]"
            )
        for key, ours, theirs in differences(comparable(first.settings), comparable(member.settings)):
            raise UserError(
                f"{member.path} has {key}={theirs} and {first.path} {ours}: only seed and data.fold may differ; "
                "give runs=[...] that belong together"
            )
    for fold in {member.fold for member in members}:
        same = [member for member in members if member.fold == fold]
        prints = {fingerprint(member): member.path for member in same}
        if len(prints) > 1:
            raise UserError(
                f"{' and '.join(map(str, prints.values()))} were trained on other data (fingerprints "
                f"{', '.join(prints)}); give runs of the same data"
            )


def fingerprint(member: Member) -> str:
    """Of the data and their split."""
    return member.run.fingerprint or "unknown"


def comparable(settings: DictConfig) -> dict[str, Any]:
    """The settings that runs share, flat, interpolations as they stand."""
    kept = {key: OmegaConf.select(settings, key) for key in SAME}
    plain = {k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in kept.items()}
    return {key: value for key, value in flat(plain) if key not in ("data.fold", "data.num_workers")}


def flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested mappings."""
    if not isinstance(node, Mapping):
        yield path, node
        return
    for key, value in node.items():
        yield from flat(value, f"{path}.{key}".lstrip("."))


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(name, value here, value there) of what differs."""
    for key in dict.fromkeys([*first, *second]):
        if first.get(key) != second.get(key):
            yield key, first.get(key), second.get(key)


# ---------------------------------------------------------------------------------- evaluations of single runs
def is_evaluated(member: Member) -> bool:
    """Whether its evaluation is there, newer than its checkpoint, and of the patients that it has not seen."""
    metrics = member.results / "metrics.json"
    if not metrics.is_file() or metrics.stat().st_mtime_ns < member.run.checkpoint().stat().st_mtime_ns:
        return False
    return member.run.is_test_part(member.cases().patient_id)


def settings_of_evaluation(cfg: DictConfig, member: Member) -> DictConfig:
    """The run's own settings, on this machine, evaluated as `evaluation.each` says."""
    own = {
        "paths": {**OmegaConf.to_container(cfg.paths), "run_dir": str(member.path)},
        "run": str(member.path),
        "out_dir": None,
        "logger": {},
        "explainers": None,
    }
    here = {"trainer": cfg.trainer, "extras": cfg.extras, "evaluation": cfg.evaluation["each"]}
    kept = {key: value for key, value in member.settings.items_ex(resolve=False) if key not in (*here, *own)}
    return OmegaConf.create({**kept, **own, **here})


# ---------------------------------------------------------------------------------- what the runs left
def by_fold(members: Sequence[Member]) -> list[list[Member]]:
    """The runs of each split, seeds in order."""
    return [
        [member for member in members if member.fold == fold]
        for fold in sorted({member.fold for member in members})
    ]


def tested(members: Sequence[Member]) -> Tested | None:
    """The results case by case of the seeds that were trained on every split; None where there is no such seed."""
    folds = by_fold(members)
    seeds = sorted(set.intersection(*({member.seed for member in same} for same in folds)))
    if not seeds:
        return None
    tables = [
        [member.cases().set_index("case_id") for member in same if member.seed in seeds] for same in folds
    ]
    aligned = [[table.loc[same[0].index] for table in same] for same in tables]
    first = pd.concat([same[0] for same in aligned])
    names = [name for name in first.columns if name not in DESCRIPTION]
    columns = {
        name: np.concatenate([np.stack([table[name] for table in same]) for same in aligned], axis=1)
        for name in names
    }
    fold = np.repeat([same[0].fold for same in folds], [len(same[0]) for same in aligned])
    return Tested(seeds, columns, first.label.to_numpy(), first.patient_id.to_numpy(), fold)


def split_maps(cfg: DictConfig, same: Sequence[Member]) -> Split:
    """Maps, images and outlines of a split's test cases. Raises UserError where the data are no longer the same."""
    data = build_data(settings_of_evaluation(cfg, same[0]))
    data.task.check_pair("an aggregate")
    if data.fingerprint != fingerprint(same[0]):
        raise UserError(
            f"the data of {same[0].path} have changed since its training (fingerprint {data.fingerprint}, then "
            f"{fingerprint(same[0])}); restore them, or train again"
        )
    cases = data.test_cases
    images, masks = cases.window()
    maps = np.stack([run.maps(cases.case_id) for run in same])
    return Split(
        fold=same[0].fold,
        seeds=[run.seed for run in same],
        case_id=cases.case_id,
        patient=cases.patient_id,
        label=cases.label,
        image=images.numpy(),
        where=regions(masks, cases.has_mask, cases.pixel_mm, maps.shape[1:]),
        maps=maps,
        task=cases.task,
    )


def classifiers_of(members: Sequence[Member]) -> list[str]:
    """A letter a run, the same where the same classifier is explained; a dash where none is kept in the run."""
    files = [member.path / "classifier.ckpt" for member in members]
    digests = [hashlib.sha256(f.read_bytes()).hexdigest() if f.is_file() else "" for f in files]
    known = list(dict.fromkeys(filter(None, digests)))
    return [f"C{known.index(digest) + 1}" if digest else MISSING for digest in digests]


def doubts_of(member: Member) -> list[str]:
    """What a run's answers on its test cases speak against its classifiers."""
    cases = member.cases()
    asked = {
        "p_x": "The classifier",
        "p_explained_x": "The explained classifier",
        "p_independent_x": "The independent classifier (judge)",
    }
    label = cases.label.to_numpy()
    return [
        text
        for key, who in asked.items()
        if key in cases
        for text in doubts(cases[key].to_numpy(), label, who)
    ]


# ---------------------------------------------------------------------------------- what is written
def write_results(
    cfg: DictConfig, members: Sequence[Member], left_out: Sequence[Path], out_dir: Path
) -> None:
    """All files of the aggregate."""
    explained = classifiers_of(members)
    figures = [
        RunFigures(
            m.seed, m.fold, read_metrics(m.results / "metrics.json"), str(m.path), classifier, doubts_of(m)
        )
        for m, classifier in zip(members, explained, strict=True)
    ]
    options = {"resamples": cfg.evaluation.resamples, "seed": cfg.evaluation.seed}
    result = page.aggregated(
        figures,
        members[0].folds,
        tested(members),
        [split_maps(cfg, same) for same in by_fold(members) if len(same) > 1 and same[0].has_maps],
        **options,
    )
    out_dir.mkdir(parents=True, exist_ok=True)
    write_metrics(out_dir / "metrics.json", result.metrics)
    write_text(out_dir / "aggregate.csv", page.table(result).to_csv(index=False, float_format="%.6g"))
    if result.splits:
        averages = [ensemble(split.maps) for split in result.splits]
        maps = {"ensemble": [each.mean for each in averages], "ensemble_sd": [each.sd for each in averages]}
        case_id = np.concatenate([split.case_id for split in result.splits])
        write_maps(out_dir / "relevance.npz", case_id, **{k: np.concatenate(v) for k, v in maps.items()})
    notes = {
        "Data": f"{members[0].settings.data_name}; fingerprints "
        + ", ".join(dict.fromkeys(map(fingerprint, members))),
        "Bootstrap": f"{cfg.evaluation.resamples} resamples of patients, seed {cfg.evaluation.seed}",
        **({"Left out, not finished": "\n".join(map(str, left_out))} if left_out else {}),
    }
    title = f"{members[0].settings.name}: {len(members)} runs as one result"
    report = page.report(result, title, out_dir / "figures", cfg.evaluation.examples, notes)
    write_report(out_dir / "report.html", report)
