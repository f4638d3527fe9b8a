"""Files and folders are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cycle_am.files import copy_atomically, write_folder


def test_copy_is_the_same_file(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    assert copy_atomically(tmp_path / "a", tmp_path / "deeper" / "b").read_bytes() == b"123"


def put(text: str):
    return lambda folder: (folder / "file").write_text(text)


def test_a_folder_replaces_the_earlier_one(tmp_path):
    for text in ("first", "second"):
        assert write_folder(tmp_path / "deeper" / "out", put(text)) == tmp_path / "deeper" / "out"
    assert (tmp_path / "deeper" / "out" / "file").read_text() == "second"
    assert os.listdir(tmp_path / "deeper") == ["out"]


def test_a_folder_that_could_not_be_filled_leaves_the_earlier_one(tmp_path):
    write_folder(tmp_path / "out", put("first"))
    with pytest.raises(ZeroDivisionError):
        write_folder(tmp_path / "out", lambda folder: put("half")(folder) / 0)
    assert (tmp_path / "out" / "file").read_text() == "first"
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_that_could_not_be_moved_leaves_the_earlier_one(tmp_path, monkeypatch):
    write_folder(tmp_path / "out", put("first"))
    rename = Path.rename

    def refuse(path: Path, target: Path):
        if path.name.endswith(".tmp"):
            raise PermissionError(13, "no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        write_folder(tmp_path / "out", put("second"))
    assert (tmp_path / "out" / "file").read_text() == "first"
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_killed_process_of_the_same_number_left_is_no_part_of_the_next_folder(tmp_path):
    left = tmp_path / f".out.{os.getpid()}.tmp"
    left.mkdir()
    (left / "old").write_text("half")
    assert os.listdir(write_folder(tmp_path / "out", put("new"))) == ["file"]
