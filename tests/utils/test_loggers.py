"""W&B without an account or a network."""

from __future__ import annotations

import pytest
import wandb

from utils import loggers


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
