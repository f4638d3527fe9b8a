"""Names of checkpoints and of the runs that made them."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

from cycle_am.app.tracking import lineage, loggers
from tests.wandb_records import OfflineRun


def test_a_source_is_named_by_its_digest_and_its_run_without_the_home_folder(tmp_path):
    runs = tmp_path / "home/somebody/runs"
    inside, outside = runs / "classifier/phantom/2026/best.ckpt", tmp_path / "home/somebody/mine/w.pt"
    for file in (inside, outside):
        file.parent.mkdir(parents=True)
        file.write_bytes(file.name.encode())
    facts = lineage.facts(
        tmp_path, runs, SimpleNamespace(fingerprint="f00"), {"classifier": inside, "init_from": outside}
    )
    assert facts == {
        "fingerprint": "f00",
        "lineage": {
            "classifier": {
                "sha256": hashlib.sha256(b"best.ckpt").hexdigest(),
                "run": "classifier/phantom/2026",
            },
            "init_from": {"sha256": hashlib.sha256(b"w.pt").hexdigest(), "run": "mine"},
        },
    }


def test_a_checkpoint_is_sent_only_where_that_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    file = tmp_path / "best.ckpt"
    file.write_bytes(b"weights")
    entries = {}
    for upload in (False, True):
        folder = tmp_path / str(upload)
        logger = loggers.wandb_logger(str(folder), project="p", upload=upload)
        lineage.made([logger], file, score=0.5)
        loggers.close([logger])
        (artifact,) = OfflineRun(folder).of("artifact")
        assert artifact["metadata"] == '{"score":0.5}'
        (entries[upload],) = artifact["manifest"]["contents"]
    assert entries[False]["digest"] == entries[True]["digest"], "one artifact, whichever way it was told"
    assert entries[False]["ref"] == file.as_uri()
    assert "ref" not in entries[True]
    assert entries[True]["local_path"] == str(file), "no second copy on this disk"
