"""Which classifier is explained, and the independent ones beside it: found, checked, kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cycle_am.data.splits import stratified_subset
from cycle_am.errors import UserError
from cycle_am.files import copy_atomically
from cycle_am.metrics.inference import probabilities
from cycle_am.model.custom import Custom, load_custom
from cycle_am.reports.doubts import doubts
from cycle_am.runs.checkpoints import read_checkpoint
from cycle_am.runs.run import MULTIRUN, SPLIT, Run
from cycle_am.task import Task
from lightning_modules.classifier import ClassifierModule

ASKED = 256  # cases of each part, training and validation: enough to see whether a classifier is understood


@dataclass(frozen=True)
class Classifiers:
    """The explained classifier and its independent companions, by their checkpoints.

    explained: a ClassifierModule's checkpoint, or a user's own network. selector takes part in choosing
    CycleAM's checkpoints, judge only ever reports.
    """

    explained: Path | Custom
    selector: Path
    judge: Path

    def describe(self) -> str:
        """One line: which ones are taken."""
        explained = self.explained.name if isinstance(self.explained, Custom) else self.explained
        return f"classifier {explained}\nselector   {self.selector}\njudge      {self.judge}"

    def networks(self) -> dict[str, nn.Module]:
        """Image (N,C,S,S) -> logits (N,2), for CycleAMGAN: `classifier` and `selector`."""
        return {"classifier": self.load_explained().net, "selector": load_classifier(self.selector).net}

    def load_explained(self) -> ClassifierModule | Custom:
        """The classifier that is explained, in eval mode, with `net` and `probability`."""
        return self.explained if isinstance(self.explained, Custom) else load_classifier(self.explained)

    def paths(self) -> dict[str, Path]:
        """Those that are checkpoints, by the names under which a run keeps them."""
        kept = {"classifier": self.explained, "selector": self.selector, "judge": self.judge}
        return {name: path for name, path in kept.items() if isinstance(path, Path)}

    def folders(self) -> list[Path]:
        """The folders that say which patients trained them: a companion's own where it is at hand, else the run's."""
        return list(dict.fromkeys(map(_trained_in, self.paths().values())))

    def check_split(self, data: pl.LightningDataModule) -> None:
        """Raise UserError where a classifier was trained on patients that are to be tested."""
        for folder in self.folders():
            Run(folder).check_test_part(data)

    def doubts(self, data: pl.LightningDataModule) -> list[str]:
        """What their answers on training and validation cases speak against them, a sentence each."""
        if not data.task.is_pair:
            return []  # swapped classes are a danger of two
        parts = [
            part.select(stratified_subset(part.label, ASKED, seed=0))
            for part in (data.train_cases, data.val_cases)
        ]
        images = torch.cat([part.window()[0] for part in parts])
        label = np.concatenate([part.label for part in parts])
        asked = {
            "The explained classifier": self.load_explained(),
            "The selector": load_classifier(self.selector),
            "The judge": load_classifier(self.judge),
        }
        return [
            text
            for who, classifier in asked.items()
            for text in doubts(probabilities(classifier, images), label, who, data.task.classes)
        ]

    def check_run(self, checkpoint: Path) -> None:
        """Raise UserError where a checkpoint of CycleAM holds another explained classifier."""
        state = read_checkpoint(checkpoint).get("state_dict", {})
        kept = {name: value for name, value in state.items() if name.startswith("classifier.")}
        own = self.load_explained().net.state_dict(prefix="classifier.")
        if kept.keys() != own.keys() or not all(torch.equal(kept[name], own[name]) for name in own):
            raise UserError(
                f"{checkpoint} explains another classifier; give the classifier.* of its training"
            )

    def keep(self, run_dir: str | Path) -> None:
        """Copy them into a run's folder, so that it stays whole when other classifiers are trained."""
        for name, path in self.paths().items():
            target = Path(run_dir) / f"{name}.ckpt"
            if path.resolve() != target.resolve():
                copy_atomically(path, target)
        own = self.paths().get("classifier")
        config = own and own.parent / ".hydra" / "config.yaml"
        if config and config.is_file() and own.name == "best.ckpt":
            copy_atomically(config, Path(run_dir) / "classifier.yaml")  # how it was trained


def _trained_in(path: Path) -> Path:
    own = path.resolve().parent / path.stem
    return own if (own / SPLIT).is_file() else path.parent


def load_classifier(path: str | Path, task: Task | None = None) -> ClassifierModule:
    """A classifier's checkpoint. Raises UserError where it is absent or made for other images than the task's."""
    module = ClassifierModule.load(path)
    if task is not None:
        check_images(module, path, task)
    return module


def check_images(module: ClassifierModule, path: str | Path, task: Task) -> None:
    """Raise UserError where a classifier does not take the task's images."""
    try:
        with torch.no_grad():
            answers = module(torch.zeros(1, *task.shape))
    except RuntimeError as error:
        net, wanted = module.hparams["net"], " x ".join(map(str, task.shape))
        raise UserError(
            f"classifier {path} was made for other images ({net}), not {wanted}; train it again"
        ) from error
    if answers.shape[1] != len(task.classes):
        raise UserError(
            f"classifier {path} tells {answers.shape[1]} classes apart, not {', '.join(task.classes)}; train it again"
        )


def find_classifiers(
    cfg: DictConfig,
    data: pl.LightningDataModule,
    resume: Path | None = None,
    own: Custom | None = None,
) -> Classifiers:
    """For the images of `data`: a user's own network (`own`, or `classifier=custom`) or a checkpoint, and its
    companions. Checkpoints come from explicit paths; else from the run of CycleAM that is resumed or evaluated
    (`resume`, a checkpoint); else from the run of the same seed and split as `data` in `classifier.runs`, or in the
    multirun of which this is a job where that trains classifiers too; else from what `experiment=classifier` left for
    this data.

    Raises UserError that names the command to run where there are none, and where `resume` explains another one or
    one of them was made for other images.
    """
    choice = cfg.classifier
    if own or "target" in choice:
        data.task.check_pair("a network of your own")
    custom = own or (_own_network(choice, data.task) if "target" in choice else None)
    names = ["selector", "judge"] if custom else ["ckpt", "selector", "judge"]
    folder = None if all(choice[name] for name in names) else _folder(cfg, data, resume)
    paths = [Path(choice[name] or folder / _file(name, folder)) for name in names]
    for name, path in zip(names, paths, strict=True):
        if not path.is_file():
            raise UserError(
                f"classifier.{name}: {path} does not exist; give its path, or run `python train.py "
                f"experiment={choice.experiment} data={cfg.data_name}`"
            )
    for path in paths:
        load_classifier(path, data.task)
    classifiers = Classifiers(*([custom] if custom else []), *paths)
    if resume:
        classifiers.check_run(resume)
    return classifiers


def _own_network(choice: DictConfig, task: Task) -> Custom:
    """What `classifier=custom` names; settings of an older run may lack what lies between it and the data."""
    kept = ("arguments", "input", "outputs")
    between = {name: choice.get(name) for name in kept}
    plain = {
        name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        for name, value in between.items()
    }
    return load_custom(choice.target, choice.weights, task, **plain)


def _folder(cfg: DictConfig, data: pl.LightningDataModule, resume: Path | None) -> Path:
    """Where the classifiers that are not given by path are looked for."""
    ckpt = cfg.classifier.get("ckpt")
    if ckpt:
        return Path(ckpt).parent
    if resume and (resume.parent / "judge.ckpt").is_file():
        if "ckpt" in cfg.classifier and not (resume.parent / "classifier.ckpt").is_file():
            raise UserError(
                f"{resume.parent} explains a network of its own; give classifier=custom and its classifier.target "
                "and classifier.weights as for its training"
            )
        return resume.parent
    together = cfg.classifier.get("runs") or _same_multirun(cfg)
    if together:
        return Run.of_split_and_seed(together, data.fingerprint, cfg.seed).folder
    return Run.latest(cfg.paths.runs, cfg.classifier.experiment, cfg.data_name).folder


def _same_multirun(cfg: DictConfig) -> Path | None:
    """The classifiers that the multirun of this job trains; None where it is no such job, or trains none."""
    name = Run(cfg.paths.run_dir).multirun
    home = Path(cfg.paths.runs) / cfg.classifier.experiment / cfg.data_name / MULTIRUN
    return home / name if name and (home / name).is_dir() else None


def _file(name: str, folder: Path) -> str:
    """In a classifier's run the explained one is its best, in CycleAM's run it is a copy."""
    if name != "ckpt":
        return f"{name}.ckpt"
    return "classifier.ckpt" if (folder / "classifier.ckpt").is_file() else "best.ckpt"
