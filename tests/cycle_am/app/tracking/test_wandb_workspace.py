"""The shared W&B dashboard: what it asks for is what runs log, and without an account it is one line."""

from __future__ import annotations

import pytest

from cycle_am.app.tracking import wandb_workspace as dashboard
from cycle_am.errors import UserError


@pytest.mark.parametrize(("change", "reason"), [("delenv", "no account"), ("offline", "WANDB_MODE=offline")])
def test_without_a_server_it_is_one_line(monkeypatch, tmp_path, change, reason):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if change == "offline":
        monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(UserError, match=reason) as error:
        dashboard.main([])
    assert "\n" not in str(error.value)


def test_every_key_is_in_a_panel_and_runs_are_grouped():
    pytest.importorskip("wandb_workspaces")
    made = dashboard.workspace("team", "project")
    panels = {panel for section in made.sections for panel in map(str, section.panels)}
    wanted = [key for charts in dashboard.LINES.values() for keys in charts.values() for key in keys]
    wanted += [key for keys in [*dashboard.MEDIA.values(), *dashboard.BARS.values()] for key in keys]
    for key in wanted:
        assert any(key in panel for panel in panels), key
    assert (made.entity, made.project) == ("team", "project")
    assert (
        made._to_model().model_dump_json(by_alias=True).count("group") > 0
    )  # what would be sent can be made
