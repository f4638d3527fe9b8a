"""How the generators move the classifiers' p of the second class on the validation cases (sec. 5.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from cycle_am.app.callbacks.log_media import log_histograms
from cycle_am.contract import Changed, relevance


class DomainTransfer(pl.Callback):
    """Logs the mean p of the second class as `transfer/{explained,selector}/{x,neg,pos}`, and histograms.

    Of more than two classes it logs `transfer/{explained,selector}/reached`: the mean p of k of G_k(x).

    The explained classifier is the one that the generators are trained against; the selector they never saw.
    The module has `generate(x) -> Changed`, `classifier` and `selector` (image -> logits). Where `validation_step`
    returns what it generated (`changed`), that is used and nothing is generated twice.
    """

    def __init__(self, histograms: bool = True) -> None:
        self.histograms = histograms
        self.collected: dict[str, list[Tensor]] = defaultdict(list)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last epoch."""
        self.collected.clear()

    @torch.no_grad()
    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Collect the probabilities of one batch."""
        x = batch["image"]
        changed = generated(pl_module, x, outputs)
        for name, classifier in classifiers(pl_module).items():
            if len(changed) > 2:
                self.collected[f"{name}/reached"].append(reached(classifier, changed))
                continue
            for kind, image in (("x", x), ("neg", changed.neg), ("pos", changed.pos)):
                self.collected[f"{name}/{kind}"].append(probability(classifier, image))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log means and distributions."""
        values = {key: torch.cat(parts).float().cpu().numpy() for key, parts in self.collected.items()}
        pl_module.log_dict({f"transfer/{key}": float(np.mean(array)) for key, array in values.items()})
        if self.histograms and trainer.is_global_zero and not trainer.sanity_checking and values:
            log_histograms(trainer, "transfer_histograms", values)


def generated(module: Any, x: Tensor, outputs: Any = None) -> Changed:
    """G-(x) and G+(x): from what `validation_step` returned where it holds them, else generated now."""
    return outputs["changed"] if isinstance(outputs, dict) and "changed" in outputs else module.generate(x)


def classifiers(module: Any) -> dict[str, nn.Module]:
    """`explained`, and `selector` where the module has one."""
    networks = {"explained": module.classifier, "selector": getattr(module, "selector", None)}
    return {name: network for name, network in networks.items() if network is not None}


def reached(classifier: nn.Module, changed: Sequence[Tensor]) -> Tensor:
    """p of class k of G_k(x) (N,), mean over all k."""
    p = [classifier(image).float().softmax(dim=1)[:, k] for k, image in enumerate(changed)]
    return torch.stack(p).mean(0)


def relevance_of(module: Any, x: Tensor, changed: Sequence[Tensor]) -> Tensor:
    """R (N, C, H, W); of more than two classes of the one that the explained classifier sees, against the rest."""
    return relevance(changed, module.classifier(x).argmax(1) if len(changed) > 2 else None)


def probability(classifier: nn.Module, image: Tensor) -> Tensor:
    """p of the second class (N,) of images (N,C,S,S)."""
    return classifier(image).float().softmax(dim=1)[:, 1]
