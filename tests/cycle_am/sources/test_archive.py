"""ZIP archives: members stay inside, what is unpacked is bounded and goes again."""

from __future__ import annotations

import gc
import io
import stat
import tempfile
import zipfile
from pathlib import Path
from re import search

import numpy as np
import pytest

from cycle_am.sources import archive, read


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where archives are unpacked."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def packed(tmp_path):
    """Writes an archive of (name, content)."""

    def write(*members, compression=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "scan.zip", "w", compression) as file:
            for name, content in members:
                file.writestr(name, content)
        return tmp_path / "scan.zip"

    return write


@pytest.fixture
def series(tmp_path, write_series):
    return [
        (f"Secret Name/{one.name}", one.read_bytes()) for one in write_series(tmp_path / "scan").iterdir()
    ]


def outside(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def test_a_series_in_an_archive(series, packed, temporary, windows, check_ball, ball):
    path = packed(("Secret Name/notes.txt", "Secret"), ("DICOMDIR", b"\0" * 128 + b"DICM"), *series)
    with pytest.warns(match="1 files of the archive are no images and left out"):
        (window,) = windows(path, at=ball.centre)
    check_ball(window)
    assert len(window.series.series) == 9
    assert window.series.slice.read_bytes() in [content for _, content in series]
    assert window.place.source == "scan.zip"
    del window
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_members_never_leave_the_folder(series, packed, temporary, tmp_path, windows, ball):
    before = outside(tmp_path)
    named = [
        (f"{where}{i}.dcm", content) for i, (_, content) in enumerate(series) for where in ("../", "/tmp/es-")
    ]
    (window,) = windows(packed(*named), at=ball.centre)
    assert window.series.slice.parent.parent == temporary
    assert outside(tmp_path) == sorted({*before, "scan.zip"})
    assert not list(Path("/tmp").glob("es-*.dcm"))


def test_links_are_not_followed(packed, failure, tmp_path, temporary):
    (tmp_path / "outside.npy").write_bytes(b"secret")
    link = zipfile.ZipInfo("link.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "cannot be read" in failure(packed((link, str(tmp_path / "outside.npy")))).reason


def test_images_of_an_archive_are_cases_each(packed, temporary, task):
    members = []
    for name in ("a.npy", "sub/b.npy", "c.npy"):
        content = io.BytesIO()
        np.save(content, np.full((64, 64), 0.5 if name != "c.npy" else 7.0, np.float32))
        members.append((name, content.getvalue()))
    first, second, third = read(packed(*members), task)
    assert (first.place.name, second.place.name) == ("file 1", "file 2")
    assert first.image.mean() == 0.5
    assert third.name == "file 3"
    assert "spacing" in third.reason or "larger" in third.reason


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("inner.zip", b"x")], "another archive"),
        ([("scan.dcm", b"PK\x03\x04" + b"\0" * 500)], "another archive"),
        ([("notes.txt", b"x")], "no DICOM file and no image"),
        ([], "no DICOM file and no image"),
        ([("a.dcm", b"\0" * (80 << 20))], "grows [0-9]+ times"),
    ],
    ids=["nested", "nested in disguise", "no images", "empty", "bomb"],
)
def test_archives_that_are_refused(packed, temporary, failure, members, message):
    assert search(message, failure(packed(*members), at=(0, 0, 0)).reason)
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_bounds_on_size_and_number(packed, temporary, failure, monkeypatch):
    path = packed(*((f"{i}.dcm", b"\0" * 1000) for i in range(5)), compression=zipfile.ZIP_STORED)
    monkeypatch.setattr(archive, "MEMBERS", 4)
    assert "holds 5 files" in failure(path).reason
    monkeypatch.setattr(archive, "MEMBERS", 5)
    monkeypatch.setattr(archive, "BYTES", 4999)
    assert "at most 5 and 0 MB" in failure(path).reason
    monkeypatch.setattr(archive, "_check", lambda *_: None)  # an archive that lies of its sizes
    assert "more than it says" in failure(path).reason
    assert list(temporary.iterdir()) == []


def test_damaged_and_encrypted_archives(packed, temporary, failure, tmp_path):
    path = packed(("a.dcm", np.random.default_rng(0).bytes(5000)))
    data = bytearray(path.read_bytes())
    data[2000] ^= 255
    path.write_bytes(data)
    assert "damaged" in failure(path).reason
    path.write_bytes(b"text")
    assert "damaged or no ZIP" in failure(path).reason
    path = packed(("a.dcm", b"abc"))
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption, in both headers
    path.write_bytes(data)
    assert "encrypted" in failure(path).reason
    assert list(temporary.iterdir()) == []
