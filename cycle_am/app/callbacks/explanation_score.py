"""How good the explanations are while training: the validation explanation score, which chooses and stops."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from cycle_am.app.callbacks.domain_transfer import probability, reached
from cycle_am.contract import changed
from cycle_am.losses import ssim
from cycle_am.metrics.inference import generate
from cycle_am.metrics.realism import quick_realism


class ExplanationScore(pl.Callback):
    """Logs `val/explanation_score`, in [0, 1], and its three factors, each averaged over G+ and G-.

    * `val/transfer_gap`: mean p of the second class of G+(x) minus that of G-(x), by the selector, which the generators
      never saw;
    * `val/ssim`: similarity of G+(x) and G-(x) to x;
    * `val/realism`: 2 (1 - AUC) of small fresh discriminators, trained on training cases, read on validation cases,
      that tell G+(x) from real images which the explained classifier calls the second class, G-(x) from the others.

    The paper has no measure of convergence (sec. 5.1); this one is the product of the factors, so that none can be
    bought at the price of another.

    Args:
        train_cases: at most so many training cases teach the discriminators.
    """

    def __init__(self, train_cases: int = 256) -> None:
        self.train_cases = train_cases

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score all validation cases, the same in every process."""
        data = trainer.datamodule
        train = data.train_cases.select(np.arange(min(self.train_cases, len(data.train_cases))))
        scores = explanation_score(pl_module, train.window()[0], data.val_cases.window()[0])
        pl_module.log_dict({f"val/{name}": value for name, value in scores.items()}, rank_zero_only=False)


@torch.no_grad()
def explanation_score(module, train: Tensor, val: Tensor) -> dict[str, float]:
    """The score and its factors for real images (N, C, H, W) in [0, 1] of training and of validation patients."""
    train, val = train.to(module.device), val.to(module.device)
    of_val = changed(image.to(module.device) for image in generate(module, val))
    if len(of_val) > 2:
        return _product(*_of_classes(module, train, val, of_val))
    of_train = changed(image.to(module.device) for image in generate(module, train))
    gap = probability(module.selector, of_val.pos).mean() - probability(module.selector, of_val.neg).mean()
    similar = (ssim(val, of_val.neg).mean() + ssim(val, of_val.pos).mean()) / 2
    called = [probability(module.classifier, x) >= 0.5 for x in (train, val)]
    aucs = [
        quick_realism(train_fake, train[called[0] == says], fake, val[called[1] == says])
        for train_fake, fake, says in zip(of_train, of_val, (False, True), strict=True)
    ]
    return _product(gap, similar, aucs)


def _of_classes(module, train: Tensor, val: Tensor, of_val: tuple) -> tuple:
    """Gap, similarity and AUC of more than two classes.

    The gap is p of k of G_k(x) above chance, (K mean - 1) / (K - 1), which is that of two. One discriminator sees
    the classes in turn, an image each, beside all real images.
    """
    count = len(of_val)
    gap = (count * reached(module.selector, of_val).mean() - 1) / (count - 1)
    similar = torch.stack([ssim(val, image).mean() for image in of_val]).mean()
    of_train = torch.cat([g(train[k::count]) for k, g in enumerate(module.explaining_generators)])
    in_turn = torch.cat([image[k::count] for k, image in enumerate(of_val)])
    return gap, similar, [quick_realism(of_train, train, in_turn, val)]


def _product(gap: Tensor, similar: Tensor, aucs: list[float]) -> dict[str, float]:
    factors = {
        "transfer_gap": _clip(gap),
        "ssim": _clip(similar),
        "realism": float(np.mean([_clip(2 * (1 - auc)) for auc in aucs if np.isfinite(auc)] or [1.0])),
    }
    return {"explanation_score": float(np.prod(list(factors.values()))), **factors}


def _clip(value: Tensor | float) -> float:
    return float(min(max(float(value), 0.0), 1.0))
