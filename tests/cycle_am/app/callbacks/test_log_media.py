"""Panels, histograms and tables for every kind of logger."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from matplotlib import colormaps
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from torch import Tensor, nn

from cycle_am.app.callbacks.domain_transfer import DomainTransfer
from cycle_am.app.callbacks.log_media import log_histograms, log_image, log_table
from cycle_am.app.callbacks.relevance_panel import RelevancePanel, choose, coloured, panel, strip
from cycle_am.app.callbacks.score_plot import ScorePlot
from cycle_am.app.tracking.loggers import close
from cycle_am.contract import Changed
from cycle_am.reports.colours import DIVERGING, RELEVANCE_SCALE, scale_words
from cycle_am.reports.draw import in_bytes
from cycle_am.task import Task
from tests.fakes import BlobDataModule


class Brightness(nn.Module):
    """Calls bright images malignant."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(image)), 20 * (image.mean((1, 2, 3)) - 0.5)], 1)


class Shade(pl.LightningModule):
    """G+ brightens, G- darkens; nothing is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier, self.selector = Brightness(), Brightness()
        self.shift = nn.Parameter(torch.tensor(0.3))

    def generate(self, x: Tensor) -> Changed:
        return Changed((x - self.shift).clamp(0, 1), (x + self.shift).clamp(0, 1))

    def cycle(self, x: Tensor) -> Changed:
        return Changed(x, x)

    def training_step(self, batch: dict, _: int) -> Tensor:
        return (self.shift - 0.3) ** 2

    def validation_step(self, batch: dict, _: int) -> None:
        self.log("val/explanation_score", 0.5 + 0.1 * self.current_epoch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the trainer writes."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def trainer(folder):
    """Fits the stand-in for two epochs with all callbacks and a CSV logger."""
    callbacks = [DomainTransfer(), RelevancePanel(cases=3), ScorePlot(str(folder / "score.png"))]
    options = {
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
    }
    trainer = pl.Trainer(
        max_epochs=2,
        callbacks=callbacks,
        logger=CSVLogger(folder, name="csv"),
        default_root_dir=folder,
        **options,
    )
    trainer.fit(Shade(), datamodule=BlobDataModule(count=40, cache_dir=folder))
    return trainer


def test_means_of_both_classifiers_are_logged(trainer):
    cases = trainer.datamodule.val_cases
    x = cases.window()[0]
    expected = torch.sigmoid(20 * ((x + 0.3).clamp(0, 1).mean((1, 2, 3)) - 0.5)).mean()
    for name in ("explained", "selector"):
        assert trainer.callback_metrics[f"transfer/{name}/pos"] == pytest.approx(float(expected), abs=1e-5)
    order = [float(trainer.callback_metrics[f"transfer/explained/{kind}"]) for kind in ("neg", "x", "pos")]
    assert order == sorted(order)


def test_files_are_written_each_epoch(trainer, folder):
    for key in ("panels", "transfer_histograms"):
        first, second = (np.asarray(Image.open(folder / key / f"epoch_00{epoch}.png")) for epoch in (0, 1))
        assert first.dtype == np.uint8
        assert np.array_equal(first, second)  # nothing is learnt and the cases are the same
        assert first.std() > 0
    table = pd.read_csv(folder / "panel_table" / "epoch_001.csv")
    assert list(table["label"]) == ["benign", "malignant", "benign"]
    assert (table["p explained/pos"] > table["p explained/neg"]).all()
    assert not table.astype(str).apply(lambda column: column.str.contains("case-|patient-")).any().any()


def test_score_is_plotted_over_all_epochs(trainer, folder):
    plot = next(callback for callback in trainer.callbacks if isinstance(callback, ScorePlot))
    assert [f["val/explanation_score"] for f in plot.history.values()] == pytest.approx([0.5, 0.6])
    assert np.asarray(Image.open(folder / "score.png")).std() > 0
    again = ScorePlot("elsewhere.png")
    again.load_state_dict(plot.state_dict())
    assert again.history == plot.history


def test_cases_are_chosen_in_turn_from_both_classes():
    label = np.array([1, 1, 1, 0, 1, 0, -1])
    assert label[choose(label, 4)].tolist() == [0, 1, 0, 1]
    assert label[choose(label, 7)].tolist() == [0, 1, 0, 1, 1, 1, -1]
    assert len(choose(label, 100)) == 7


def test_pictures_are_uint8_on_fixed_scales():
    assert in_bytes(np.array([[[0.0, 1.0, 2.0]]])).tolist() == [[[0] * 3, [255] * 3, [255] * 3]]
    blue, white, red = coloured(np.array([[-2 * RELEVANCE_SCALE, 0.0, RELEVANCE_SCALE]]))[0].astype(int)
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    assert white.min() > 230
    assert in_bytes(np.zeros((3, 4, 5))).shape == (4, 5, 3)
    assert strip([in_bytes(np.zeros((1, 4, 5)))] * 2, gap=1).shape == (4, 14, 3)


def test_the_panels_scale_is_that_of_the_report_and_is_shown():
    ends = coloured(np.array([[-0.3, 0.3]]))[0] / 255
    assert ends == pytest.approx(colormaps[DIVERGING]([0.0, 1.0])[:, :3], abs=1 / 255)
    pictures = dict.fromkeys(("x", "neg", "pos", "cycle", "relevance"), np.zeros((1, 64, 64)))
    bar = panel([{"label": "benign", "pictures": pictures, "p": {}}], Task()).axes[-1]
    assert bar.get_xticks().tolist() == [-RELEVANCE_SCALE, 0, RELEVANCE_SCALE] == [-0.3, 0, 0.3]
    assert bar.get_xlabel() == "R (1 = 1400 HU)"
    assert "drawn from −0.3 to 0.3 (420 HU)" in scale_words(Task())


def stand_in(logger, folder) -> SimpleNamespace:
    return SimpleNamespace(loggers=[logger], global_step=3, current_epoch=1, default_root_dir=str(folder))


def log_all(trainer) -> None:
    picture = in_bytes(np.eye(8)[None])
    log_image(trainer, "panels", picture, "a caption")
    log_histograms(trainer, "transfer", {"explained/x": np.linspace(0, 1, 9)})
    log_table(trainer, "table", [{"label": "benign", "x": picture, "p": 0.25}])


def test_tensorboard_gets_images_histograms_and_tables(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="tb")
    log_all(stand_in(logger, tmp_path))
    close([logger])
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    tags = events.Tags()
    assert tags["images"] == ["panels"]
    assert tags["histograms"] == ["transfer/explained/x"]
    assert tags["tensors"] == ["table/text_summary"]


def test_wandb_gets_images_histograms_and_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    log_all(stand_in(logger, tmp_path))
    close([logger])
    files = [path.name for path in tmp_path.rglob("media/**/*") if path.is_file()]
    assert sum(name.startswith("panels") for name in files) == 1
    assert sum(name.startswith("table") for name in files) == 1
    picture = next(tmp_path.rglob("media/images/panels*.png"))
    assert np.asarray(Image.open(picture)).max() == 255


def test_a_picture_of_floats_is_refused(tmp_path):
    with pytest.raises(TypeError, match="uint8"):
        log_image(stand_in(CSVLogger(tmp_path), tmp_path), "panels", np.zeros((2, 2, 3)))
