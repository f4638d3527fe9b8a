"""W&B without an account or a network, and loggers that fail."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import wandb
from pytorch_lightning.loggers import CSVLogger

from cycle_am.app.tracking import loggers
from cycle_am.errors import UserError
from lightning_modules.classifier import ClassifierModule
from tests.fakes import BlobDataModule
from tests.wandb_records import OfflineRun


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


class Server:
    """As much of a W&B server as a run needs to begin, on this machine; it can go away."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                query = json.loads(body) if self.path == "/graphql" else {}
                seen.append(query.get("operationName") or self.path)
                status, answer = 200, ANSWERS.get(query.get("operationName"))
                if answer is None:  # 404: wandb gives up on this one thing
                    status, answer = (404, {}) if self.path == "/graphql" else (200, {})
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """From here on connections are refused."""
        self.http.shutdown()
        self.http.server_close()


PROJECT = {"id": "cA==", "name": "p", "entity": {"id": "ZQ==", "name": "me"}}
RUN = {
    "id": "aWQ=",
    "name": "r",
    "displayName": "r",
    "config": "{}",
    "historyLineCount": 0,
    "project": PROJECT,
}
VIEWER = {"id": "dQ==", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
ANSWERS = {
    "Viewer": {"data": {"viewer": VIEWER}},
    "UpsertBucket": {"data": {"upsertBucket": {"bucket": RUN, "inserted": True}}},
    "RunResumeStatus": {"data": {"model": None}},  # no such run yet
    "ServerFeaturesQuery": {"data": {"serverInfo": {"features": []}}},
}


class Leave(pl.Callback):
    """Takes the server away after the first of the epochs."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self.server.stop()


@pytest.fixture
def server():
    """A server of its own; wandb reads the environment once a process, so it is made to begin anew."""
    wandb.teardown()
    made = Server()
    yield made
    made.http.server_close()
    wandb.teardown()


def test_a_training_goes_on_when_the_network_is_gone(server, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    logger = loggers.guard(loggers.wandb_logger(str(tmp_path), project="p", finish_timeout=2))
    assert not logger.experiment.offline
    trainer = pl.Trainer(
        max_epochs=3,
        logger=logger,
        callbacks=[Leave(server)],
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    trainer.fit(ClassifierModule({"width": 2}), datamodule=BlobDataModule(count=40, cache_dir=tmp_path))
    loggers.close([logger])
    assert "UpsertBucket" in server.seen
    assert trainer.current_epoch == 3
    assert wandb.run is None
    wandb.teardown()  # as the end of the process does: until then the file's last part is in memory
    history = OfflineRun(tmp_path, "run-*").history
    assert len(history["val/loss"]) == 3, "all of it is kept, for `wandb sync`"


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
