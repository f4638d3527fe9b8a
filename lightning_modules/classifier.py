"""The classifier that is explained (sec. 3.2), and its independent companions: one module, other numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassAUROC,
)

from cycle_am.losses import Augment
from cycle_am.networks import ConvNet
from cycle_am.randomness import SampleUniform
from cycle_am.runs.checkpoints import load_module


def weighted_cross_entropy(logits: Tensor, label: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Class-weighted cross entropy, mean over the labelled cases: mean(w[y] * ce).

    logits (N,K); label (N,) int64, -1 is left out; weights (K,), mean 1 over the training cases. Unlike
    torch's `weight=` the sum is divided by the number of cases, so that a batch's loss does not depend on
    which classes it drew.
    """
    known = label >= 0
    if not known.any():
        return logits.sum() * 0.0
    loss = functional.cross_entropy(logits[known], label[known], reduction="none", label_smoothing=smoothing)
    return (weights[label[known]] * loss).mean()


class ClassifierModule(pl.LightningModule):
    """ConvNet + class-weighted cross entropy + AdamW.

    net: arguments of `networks.ConvNet`. class_weights: of each class. All arguments are plain
    numbers, so that a checkpoint is loaded without running code. Logs `train/loss`, `val/loss`, `val/auc` (of
    more than two classes the mean of each against the rest), `val/accuracy`.
    """

    def __init__(
        self,
        net: Mapping[str, Any] | None = None,
        class_weights: Sequence[float] = (1.0, 1.0),
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.0,
        epochs: int = 40,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        net = dict(net or {})
        class_weights = [float(weight) for weight in class_weights]
        self.save_hyperparameters(ignore=["augment"])
        self.augment = augment
        self.net = ConvNet(**net).to(memory_format=torch.channels_last)  # faster convolutions
        self.register_buffer("weights", torch.tensor(class_weights), persistent=False)
        classes = net.get("classes", 2)
        if len(class_weights) != classes:
            raise ValueError(f"class_weights are {len(class_weights)} numbers for {classes} classes")
        auc, accuracy = (
            (BinaryAUROC(), BinaryAccuracy())
            if classes == 2
            else (MulticlassAUROC(classes), MulticlassAccuracy(classes, average="micro"))
        )
        self.metrics = nn.ModuleDict({"val/loss": MeanMetric(), "val/auc": auc, "val/accuracy": accuracy})

    @classmethod
    def load(cls, path: str | Path) -> ClassifierModule:
        """The module of a checkpoint, in eval mode on the CPU. Raises UserError for another file."""
        return load_module(path, cls)

    def forward(self, image: Tensor) -> Tensor:
        """image (N,C,S,S) in [0,1] -> logits (N,K)."""
        return self.net(image).float()

    def probability(self, image: Tensor) -> Tensor:
        """image (N,C,S,S) in [0,1] -> p of the second of two classes (N,), of more p of each (N,K)."""
        return chances(self(image))

    def _loss(self, logits: Tensor, label: Tensor) -> Tensor:
        return weighted_cross_entropy(logits, label, self.weights, self.hparams["label_smoothing"])

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        """One batch of the contract -> loss."""
        loss = self._loss(self(self._changed(batch["image"], batch_idx)), batch["label"])
        self.log("train/loss", loss, on_step=True, on_epoch=False, batch_size=len(batch["label"]))
        return loss

    def validation_step(self, batch: Mapping[str, Any], _: int) -> None:
        """Collect the labelled cases; the figures are over all of them, not means over batches."""
        known = batch["label"] >= 0
        if known.any():
            logits, label = self(batch["image"][known]), batch["label"][known]
            loss = weighted_cross_entropy(logits, label, self.weights)
            probability = chances(logits)
            self.metrics["val/loss"].update(loss, len(label))
            self.metrics["val/auc"].update(probability, label)
            self.metrics["val/accuracy"].update(probability, label)

    def on_validation_epoch_end(self) -> None:
        """Log the figures over all validation cases (of all processes)."""
        for key, metric in self.metrics.items():
            self.log(key, metric.compute(), prog_bar=key == "val/auc")
            metric.reset()

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; the learning rate rises over three epochs and falls along a cosine, near 0 after `epochs`."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.hparams["lr"], weight_decay=self.hparams["weight_decay"], fused=False
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, partial(lr_factor, epochs=self.hparams["epochs"])
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _changed(self, image: Tensor, batch_idx: int) -> Tensor:
        if self.augment is None:
            return image
        key = (self.hparams["seed"], self.current_epoch, batch_idx)
        return self.augment(image, SampleUniform(key, self.global_rank, self.trainer.world_size))


def chances(logits: Tensor) -> Tensor:
    """p (N,) of the second of two classes; of more p of each, (N,K)."""
    p = logits.softmax(dim=1)
    return p[:, 1] if p.shape[1] == 2 else p


def lr_factor(epoch: int, epochs: int, warm_up: int = 3) -> float:
    """Share of the learning rate in `epoch` (from 0): linear over `warm_up` epochs, then a cosine down to .01."""
    rest = min(max(epoch + 1 - warm_up, 0) / max(epochs - warm_up, 1), 1.0)
    return min((epoch + 1) / warm_up, 1.0) * (0.505 + 0.495 * cos(pi * rest))
