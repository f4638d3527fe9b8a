"""Which classifier is explained, and the independent ones beside it: found, checked, kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from datamodules.contract import IMAGE_SIZE
from lightning_modules.classifier import ClassifierModule
from utils import runs
from utils.checkpoints import copy_atomically
from utils.errors import UserError


class Custom(nn.Module):
    """A user's own network, image (N,1,64,64) -> logits (N,2), in the form of a ClassifierModule."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (N,1,64,64) in [0,1] -> logits (N,2)."""
        return self.net(image)

    def probability(self, image: torch.Tensor) -> torch.Tensor:
        """image (N,1,64,64) in [0,1] -> p(malignant) (N,)."""
        return self(image).softmax(dim=1)[:, 1]


@dataclass(frozen=True)
class Classifiers:
    """The explained classifier and its independent companions, by their checkpoints.

    explained: a ClassifierModule's checkpoint, or None where `module` is a user's own network. selector
    takes part in choosing CycleAM's checkpoints, judge only ever reports.
    """

    explained: Path | None
    selector: Path
    judge: Path
    module: nn.Module | None = None

    def describe(self) -> str:
        """One line: which ones are taken."""
        explained = self.explained or type(self.module).__name__
        return f"classifier {explained}\nselector   {self.selector}\njudge      {self.judge}"

    def networks(self) -> dict[str, nn.Module]:
        """Image (N,1,64,64) -> logits (N,2), for CycleAMGAN: `classifier` and `selector`."""
        return {"classifier": self.load_explained().net, "selector": load_classifier(self.selector).net}

    def load_explained(self) -> ClassifierModule | Custom:
        """The classifier that is explained, in eval mode, with `net` and `probability`."""
        return Custom(self.module).eval() if self.module else load_classifier(self.explained)

    def check_split(self, data: pl.LightningDataModule) -> None:
        """Raise UserError where a classifier was trained on patients that are to be tested."""
        for path in {path.parent for path in (self.explained, self.selector, self.judge) if path}:
            runs.check_split(path, data)

    def keep(self, run_dir: str | Path) -> None:
        """Copy them into a run's folder, so that it stays whole when other classifiers are trained."""
        for name, path in (
            ("classifier", self.explained),
            ("selector", self.selector),
            ("judge", self.judge),
        ):
            target = Path(run_dir) / f"{name}.ckpt"
            if path and path.resolve() != target.resolve():
                copy_atomically(path, target)
        config = self.explained and self.explained.parent / ".hydra" / "config.yaml"
        if config and config.is_file() and self.explained.name == "best.ckpt":
            copy_atomically(config, Path(run_dir) / "classifier.yaml")  # how it was trained


def load_classifier(path: str | Path) -> ClassifierModule:
    """A classifier's checkpoint. Raises UserError where it is absent or made for images of another size."""
    module = ClassifierModule.load(path)
    try:
        with torch.no_grad():
            module(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))
    except RuntimeError as error:
        net = module.hparams["net"]
        wanted = f"1 x {IMAGE_SIZE} x {IMAGE_SIZE}"
        raise UserError(
            f"classifier {path} was made for other images ({net}), not {wanted}; train it again"
        ) from error
    return module


def find_classifiers(cfg: DictConfig, resume: Path | None = None) -> Classifiers:
    """From explicit paths; else those that the resumed run kept; else what `experiment=classifier` left for
    this data.

    Raises UserError that names the command to run where there are none.
    """
    choice = cfg.classifier
    module = instantiate(choice.module) if choice.module else None
    folder = _folder(cfg, resume)
    explained = None if module else Path(choice.ckpt or folder / _explained(folder))
    companions = [Path(choice[name] or folder / f"{name}.ckpt") for name in ("selector", "judge")]
    for name, path in zip(("ckpt", "selector", "judge"), (explained, *companions), strict=True):
        if path and not path.is_file():
            raise UserError(
                f"classifier.{name}: {path} does not exist; give its path, or run `python train.py "
                f"experiment={choice.experiment} data={cfg.data_name}`"
            )
    return Classifiers(explained, *companions, module)


def _folder(cfg: DictConfig, resume: Path | None) -> Path:
    """Where the classifiers that are not given by path are looked for."""
    choice = cfg.classifier
    if choice.ckpt:
        return Path(choice.ckpt).parent
    if resume and (resume.parent / "judge.ckpt").is_file():
        return resume.parent
    if choice.module and choice.selector and choice.judge:
        return Path(choice.selector).parent
    return runs.latest(cfg.paths.runs, choice.experiment, cfg.data_name)


def _explained(folder: Path) -> str:
    """In a classifier's run the explained one is its best, in CycleAM's run it is a copy."""
    return "classifier.ckpt" if (folder / "classifier.ckpt").is_file() else "best.ckpt"
