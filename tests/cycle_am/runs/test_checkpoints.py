"""Checkpoints are written whole or not at all, and reading one runs nobody's code."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from cycle_am.app.checkpoint_io import AtomicCheckpointIO
from cycle_am.runs.checkpoints import load_module, load_weights, read_checkpoint
from cycle_am.errors import UserError
from cycle_am.files import write_atomically


class Code:
    """What a hostile checkpoint would hold."""

    def __reduce__(self):
        return os.mkdir, ("hostile",)


def test_an_interrupted_write_leaves_the_good_file(tmp_path):
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(2)}, path)

    def broken(temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, broken)
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path)["x"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Code()}, "bad.ckpt")
    with pytest.raises(UserError, match=r"bad\.ckpt cannot be read"):
        read_checkpoint("bad.ckpt")
    assert not (tmp_path / "hostile").exists()


def test_a_file_cut_short_and_an_absent_one_are_named(tmp_path):
    torch.save({"x": torch.rand(1000)}, tmp_path / "a.ckpt")
    whole = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.ckpt cannot be read"):
        read_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"b\.ckpt does not exist"):
        read_checkpoint(tmp_path / "b.ckpt")


def test_a_checkpoint_of_something_else_is_named(tmp_path):
    torch.save(
        {"hyper_parameters": {"in_features": 2, "out_features": 3}, "state_dict": {}}, tmp_path / "a.ckpt"
    )
    with pytest.raises(UserError, match=r"does not fit Linear"):
        load_module(tmp_path / "a.ckpt", nn.Linear)


def test_weights_alone_are_taken_but_those_apart(tmp_path):
    theirs = nn.ModuleDict({"net": nn.Linear(2, 2), "classifier": nn.Linear(3, 3)})
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "a.ckpt")
    mine = nn.ModuleDict({"net": nn.Linear(2, 2), "classifier": nn.Linear(5, 5)})
    kept = mine["classifier"].weight.clone()
    load_weights(tmp_path / "a.ckpt", mine, apart="classifier.")
    assert torch.equal(mine["net"].weight, theirs["net"].weight)
    assert torch.equal(mine["classifier"].weight, kept)
    with pytest.raises(UserError, match="other sizes"):
        load_weights(tmp_path / "a.ckpt", nn.ModuleDict({"net": nn.Linear(4, 2)}), apart="classifier.")
    with pytest.raises(UserError, match=r"does not fit this model \(other\.weight\)"):
        load_weights(tmp_path / "a.ckpt", nn.ModuleDict({"other": nn.Linear(2, 2)}), apart="classifier.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without room")
def test_a_full_disk_is_named_with_the_file_that_did_not_fit(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(2)}, path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *_: open("/dev/full", "wb"))  # noqa: SIM115 (it is the stream)
        for size in (1, 100_000):
            with pytest.raises(OSError, match="No space left on device") as error:
                AtomicCheckpointIO().save_checkpoint({"x": torch.rand(size)}, path)
            assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert torch.equal(read_checkpoint(path)["x"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["a.ckpt"]


def test_what_torch_says_of_a_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "a.ckpt")
    assert error.value.filename == str(tmp_path / "a.ckpt")
