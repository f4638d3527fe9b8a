"""W&B without an account or a network, and loggers that fail."""

from __future__ import annotations

import pandas as pd
import pytest
import pytorch_lightning as pl
import wandb
from pytorch_lightning.loggers import CSVLogger

from lightning_modules.classifier import ClassifierModule
from tests.fakes import BlobDataModule
from utils import loggers
from utils.errors import UserError


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No account, no mode, nothing said."""
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")


def test_without_an_account_it_runs_offline(tmp_path, capsys):
    logger = loggers.wandb_logger(str(tmp_path / "run"), project="p")
    loggers.close([logger])
    assert "no account" in capsys.readouterr().out
    assert list(tmp_path.glob("run/wandb/offline-run-*"))
    assert wandb.run is None


def test_an_account_is_found_in_netrc_or_environment(tmp_path, monkeypatch):
    url = "https://api.wandb.ai"
    assert not loggers._has_account(url)
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    assert loggers._has_account(url)
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert loggers._has_account(url)


def test_with_an_account_but_no_network_it_runs_offline(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    loggers.close([loggers.wandb_logger(str(tmp_path), project="p")])
    assert "no connection to http://127.0.0.1:9" in capsys.readouterr().out
    assert list(tmp_path.glob("wandb/offline-run-*"))


class Broken(CSVLogger):
    """Its disk, server or network has gone."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.calls = 0

    def log_metrics(self, metrics, step=None) -> None:
        self.calls += 1
        raise OSError("no space left on device")


def test_a_training_outlives_its_logger(tmp_path, capsys):
    broken = Broken(tmp_path)
    trainer = pl.Trainer(
        max_epochs=3,
        logger=[loggers.guard(broken), loggers.guard(CSVLogger(tmp_path, name="good"))],
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    trainer.fit(ClassifierModule({"width": 2}), datamodule=BlobDataModule(count=40, cache_dir=tmp_path))
    assert trainer.current_epoch == 3
    assert broken.calls == 1, "asked once, left alone from then on"
    said = [line for line in capsys.readouterr().out.splitlines() if "failed and logs no more" in line]
    assert said == ["Broken failed and logs no more, the training goes on (OSError: no space left on device)"]
    assert len(pd.read_csv(tmp_path / "good/version_0/metrics.csv")["val/loss"].dropna()) == 3


def test_mlflow_is_asked_for_by_name_where_it_is_absent(tmp_path, monkeypatch):
    def absent(**_):
        raise ModuleNotFoundError("mlflow")

    monkeypatch.setattr(loggers, "MLFlowLogger", absent)
    with pytest.raises(UserError, match=r'pip install -e "\.\[mlflow\]"'):
        loggers.mlflow_logger(f"sqlite:///{tmp_path}/m.db", str(tmp_path), "group", "classifier")
