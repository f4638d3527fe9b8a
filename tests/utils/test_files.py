"""Files are written whole or not at all."""

from __future__ import annotations

from utils.files import copy_atomically


def test_copy_is_the_same_file(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    assert copy_atomically(tmp_path / "a", tmp_path / "deeper" / "b").read_bytes() == b"123"
