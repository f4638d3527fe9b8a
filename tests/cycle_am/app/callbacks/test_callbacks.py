"""Seeds, the guard against NaN, and the choice of the best epoch."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from cycle_am.app.callbacks.checkpoint import BestCheckpoint, LateEarlyStopping
from cycle_am.app.callbacks.nan_guard import NanGuard
from cycle_am.app.callbacks.seeds import SeedEveryEpoch, epoch_seed
from cycle_am.errors import UserError
from lightning_modules.classifier import ClassifierModule
from tests.fakes import BlobDataModule

OPTIONS = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Scores(ClassifierModule):
    """Logs a given score each epoch."""

    scores = (0.9, 0.2, 0.5, 0.4, 0.3, 0.2)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("val/score", self.scores[self.current_epoch])


def fit(module, callbacks, folder, epochs):
    trainer = pl.Trainer(
        max_epochs=epochs, callbacks=callbacks, default_root_dir=folder, num_sanity_val_steps=0, **OPTIONS
    )
    trainer.fit(module, datamodule=BlobDataModule(count=24, cache_dir=folder, batch_size=8))
    return trainer


def test_seeds_depend_on_seed_epoch_and_process():
    seeds = {epoch_seed(*key) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    assert len(seeds) == 4


def test_every_epoch_starts_from_its_own_seed():
    def draw(epoch: int) -> tuple:
        trainer = SimpleNamespace(current_epoch=epoch, global_rank=0)
        SeedEveryEpoch(3).on_train_epoch_start(trainer, None)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(1) == draw(1)
    assert not set(draw(1)) & set(draw(2))


def test_best_and_early_stop_decide_after_the_first_epochs(tmp_path):
    best = BestCheckpoint(str(tmp_path), "val/score", min_epochs=3)
    stop = LateEarlyStopping("val/score", patience=2, min_epochs=3)
    trainer = fit(Scores({"width": 2}), [best, stop], tmp_path, 6)
    assert best.best_model_score == pytest.approx(0.5)
    assert best.metrics["val/score"] == pytest.approx(0.5)  # of the best epoch, not of the last
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 2
    assert trainer.current_epoch == 5  # epochs 4 and 5 brought nothing


def test_nan_stops_the_run_and_the_last_good_checkpoint_stays(tmp_path):
    class Diverges(ClassifierModule):
        def training_step(self, batch, index):
            return super().training_step(batch, index) * (float("nan") if self.current_epoch == 1 else 1)

    last = pl.callbacks.ModelCheckpoint(
        tmp_path, "last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    with pytest.raises(
        UserError, match=r"training diverged: .* is nan at epoch 1, .*last\.ckpt; lower model\.lr"
    ):
        fit(Diverges({"width": 2}), [NanGuard(), last], tmp_path, 3)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 0
    assert all(torch.isfinite(v).all() for v in kept["state_dict"].values())


def test_an_exploding_loss_stops_the_run(tmp_path):
    with pytest.raises(UserError, match=r"training diverged: .*no epoch was finished"):
        fit(ClassifierModule({"width": 2}), [NanGuard(limit=1e-6)], tmp_path, 1)


def test_a_logged_term_that_is_nan_is_found():
    trainer = SimpleNamespace(
        callback_metrics={"loss/cycle": torch.tensor(float("nan"))},
        default_root_dir="x",
        current_epoch=0,
        global_step=7,
    )
    with pytest.raises(UserError, match=r"loss/cycle is nan at epoch 0, step 7"):
        NanGuard().on_train_batch_end(trainer, None, None, None, 0)
