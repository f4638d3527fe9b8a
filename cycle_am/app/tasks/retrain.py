"""CycleAM trained again for the comparison's sanity checks: for random classifiers, random labels, another seed.

Its generators do not see the classifier when they explain, so what a randomised classifier would change can only be
seen by training them for it. Each is a run of its own in `<run>/sanity/<kind>/`, trained once and then reused; an
interrupted one goes on from its last epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from torch import nn

from cycle_am.app.classifiers import Classifiers, load_classifier
from cycle_am.app.tasks.train import say, train
from cycle_am.errors import UserError
from cycle_am.metrics.comparison import LABELS, LAST, SEED, Variant
from cycle_am.metrics.sanity import layer_order, randomised
from cycle_am.model.custom import Custom
from cycle_am.runs.checkpoints import load_module, read_checkpoint, save
from cycle_am.runs.recorded import read
from cycle_am.runs.run import CONFIG, Run

OTHER_SEED = 1000  # added to the run's own


def variant(
    kind: str, run: Run, classifiers: Classifiers, images: torch.Tensor, generators: bool, cache: str
) -> Variant | None:
    """One of `last_layer`, `whole_network`, `random_labels`, `seed`; with `generators`, those trained for it.

    images (M, 1, H, W): of training cases, for the statistics of a random network's normalisation. None for random
    labels where the classifier is a user's own, which cannot be trained here; its random copies are kept in memory
    only, so no generators are trained for them.
    Raises UserError where the run's own settings are not at hand.
    """
    folder = run.folder / "sanity" / kind
    if isinstance(classifiers.explained, Custom) and kind != SEED:
        own = classifiers.explained.net
        return (
            None
            if kind == LABELS
            else Variant(kind, randomised(own, _names(kind, own, images), images=images))
        )
    network = classifier(kind, run, folder, classifiers, images, cache)
    if not generators:
        return Variant(kind, network)
    cfg = changed(settings(run.folder / CONFIG), folder, cache)
    cfg.classifier = OmegaConf.merge(cfg.classifier, _classifier_paths(kind, folder, classifiers))
    if kind == SEED:
        cfg.seed += OTHER_SEED
    say(f"CycleAM for {kind}: {folder}")
    best = train(cfg)["best"]
    gan = load_module(best, get_class(cfg.model._target_), classifier=network)
    return Variant(kind, network, gan)


def classifier(
    kind: str, run: Run, folder: Path, classifiers: Classifiers, images: torch.Tensor, cache: str
) -> nn.Module:
    """The variant's network, kept as `classifier.ckpt` in its folder."""
    explained = classifiers.load_explained()
    if kind == SEED:
        return explained.net
    path = folder / "classifier.ckpt"
    if not path.is_file():
        if kind == LABELS:
            _train_on_random_labels(run, folder, cache)
        else:
            names = _names(kind, explained.net, images)
            explained.net = randomised(explained.net, names, images=images)
            write_with(path, classifiers.explained, explained.state_dict())
    return load_classifier(path).net


def _names(kind: str, network: nn.Module, images: torch.Tensor) -> list[str]:
    """The layers that become random."""
    order = layer_order(network, images[:2])
    return order[-1:] if kind == LAST else order


def write_with(path: Path, source: Path, state: Mapping[str, torch.Tensor]) -> None:
    """A copy of a checkpoint with other weights."""
    checkpoint = {**read_checkpoint(source), "state_dict": dict(state)}
    save(checkpoint, path)


def _train_on_random_labels(run: Run, folder: Path, cache: str) -> None:
    cfg = changed(settings(run.folder / "classifier.yaml"), folder / "classifier", cache)
    cfg.companions = {}
    cfg.data.shuffle_labels = True
    say(f"classifier with random labels: {folder / 'classifier'}")
    best = Path(train(cfg)["best"])
    write_with(folder / "classifier.ckpt", best, read_checkpoint(best)["state_dict"])


def settings(path: Path) -> DictConfig:
    """The configuration that a run was trained with. Raises UserError where it is absent."""
    if not path.is_file():
        raise UserError(
            f"{path} is absent, so nothing can be trained again as that run was; use evaluation.preset=core"
        )
    return read(path)


def changed(cfg: DictConfig, folder: Path, cache: str) -> DictConfig:
    """The same training in another folder: resumed where it was begun, published nowhere, without loggers."""
    cfg.paths = {"root": str(folder), "runs": str(folder), "run_dir": str(folder), "cache": cache}
    cfg.ckpt_path, cfg.publish, cfg.logger = "auto", False, {}
    cfg.trainer.max_time = None  # what is stopped half-way is no variant of the run
    return cfg


def _classifier_paths(kind: str, folder: Path, classifiers: Classifiers) -> dict[str, str]:
    companions = {"selector": str(classifiers.selector), "judge": str(classifiers.judge)}
    if isinstance(classifiers.explained, Custom):
        return companions
    explained = classifiers.explained if kind == SEED else folder / "classifier.ckpt"
    return companions | {"ckpt": str(explained)}
