"""The classifier: its loss against torch's own, its figures against scikit-learn, its checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from cycle_am.app.classifiers import load_classifier
from cycle_am.errors import UserError
from cycle_am.task import Task
from lightning_modules.classifier import ClassifierModule, weighted_cross_entropy
from tests.fakes import BlobDataModule


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 2, generator=generator), torch.tensor([0, 1, 1, 0, 1, 1]), torch.tensor([1.4, 0.6])


def test_loss_is_the_mean_of_weighted_cross_entropies(batch):
    logits, label, weights = batch
    by_hand = [
        -weights[y] * torch.log(torch.exp(z[y]) / torch.exp(z).sum()) for z, y in zip(*batch[:2], strict=True)
    ]
    assert weighted_cross_entropy(logits, label, weights) == pytest.approx(float(sum(by_hand)) / 6, rel=1e-5)
    torch_sum = functional.cross_entropy(logits, label, weight=weights, reduction="sum")
    assert weighted_cross_entropy(logits, label, weights) == pytest.approx(float(torch_sum) / 6, rel=1e-5)


def test_unknown_labels_are_in_no_loss(batch):
    logits, label, weights = batch
    unknown = torch.cat([label, torch.tensor([-1, -1])])
    more = torch.cat([logits, torch.full((2, 2), 50.0)])
    assert weighted_cross_entropy(more, unknown, weights) == weighted_cross_entropy(logits, label, weights)
    alone = weighted_cross_entropy(logits.requires_grad_(), torch.full((6,), -1), weights)
    alone.backward()
    assert alone == 0
    assert not logits.grad.any()


def test_validation_figures_are_those_of_all_cases_together(tmp_path):
    data = BlobDataModule(count=60, cache_dir=tmp_path, batch_size=4, val_fraction=0.4)
    module = ClassifierModule({"width": 2})
    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    figures = trainer.validate(module, data, verbose=False)[0]
    cases = data.val_cases
    with torch.no_grad():
        logits = module.eval()(cases.window()[0])
    p, label = logits.softmax(1)[:, 1].numpy(), cases.label
    assert figures["val/auc"] == pytest.approx(roc_auc_score(label, p), abs=1e-6)
    assert figures["val/accuracy"] == pytest.approx(np.mean((p > 0.5) == label), abs=1e-6)
    assert figures["val/loss"] == pytest.approx(
        float(functional.cross_entropy(logits, torch.from_numpy(label))), rel=1e-4
    )


def test_it_learns_blobs_by_heart(tmp_path):
    pl.seed_everything(0, verbose=False)
    data = BlobDataModule(count=24, cache_dir=tmp_path, batch_size=8, shift=0)
    module = ClassifierModule({"width": 4}, lr=3e-3)
    options = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "accelerator": "cpu",
    }
    trainer = pl.Trainer(max_epochs=20, log_every_n_steps=1, **options)
    trainer.fit(module, datamodule=data)
    assert trainer.callback_metrics["train/loss"] < 0.1


def test_checkpoint_holds_plain_values_and_gives_the_same_probabilities(tmp_path):
    module = ClassifierModule({"width": 2, "dropout": 0.5}, class_weights=torch.tensor([0.5, 1.5]))
    trainer = pl.Trainer(logger=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    image = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        again = ClassifierModule.load(tmp_path / "a.ckpt").probability(image)
        assert torch.equal(again, module.eval().probability(image))
    assert ((again >= 0) & (again <= 1)).all()
    assert again.shape == (3,)


def test_checkpoint_for_other_images_is_refused(tmp_path):
    module = ClassifierModule({"width": 2, "image_size": 32})
    torch.save(
        {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}, tmp_path / "small.ckpt"
    )
    with pytest.raises(UserError, match=r"made for other images .* not 1 x 64 x 64"):
        load_classifier(tmp_path / "small.ckpt", Task())
