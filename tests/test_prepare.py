"""The preparing entry: whole, in shards, and refusals in one line."""

from __future__ import annotations

import re

import pytest

from cycle_am.app.tasks.prepare import prepare
from cycle_am.data.phantom.dicom import write_dicom_tree
from cycle_am.errors import UserError
from tests.helpers import composed, run


def test_shards_then_the_whole(tmp_path):
    write_dicom_tree(tmp_path / "LIDC-IDRI", n_patients=8, around=0)
    lidc = ["data=lidc", f"data.dicom_root={tmp_path}/LIDC-IDRI", "data.val_fraction=0.3", "data.workers=1"]
    scans = 0
    for shard in (0, 1):
        said = prepare(composed([*lidc, f"shard={shard}", "shards=2"], tmp_path, config="prepare"))
        scans += int(re.fullmatch(rf"shard {shard} of 2: (\d+) scans are prepared", said)[1])
    assert scans == len(list(tmp_path.rglob(".cache/lidc-*/*.npz")))
    assert not list(tmp_path.glob(".cache/lidc-*.npz")), "nothing is collected yet"
    assert re.search(r"^all +\d+ +8 ", prepare(composed(lidc, tmp_path, config="prepare")), re.MULTILINE)
    assert len(list(tmp_path.glob(".cache/lidc-*.npz"))) == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data=phantom", "shard=0", "shards=2"], "data=phantom is prepared in one go"),
        (
            ["data=lidc", "data.dicom_root=anywhere", "shard=2", "shards=2"],
            "shard=2 of shards=2; give 0 to 1",
        ),
        (["data=lidc"], "data.dicom_root is not set"),
    ],
)
def test_what_cannot_be_is_named(overrides, words, tmp_path):
    with pytest.raises(UserError, match=re.escape(words)):
        prepare(composed(overrides, tmp_path, config="prepare"))


def test_the_entry_point_says_it_in_one_line(tmp_path):
    done = run("prepare.py", "data=lidc", f"data.dicom_root={tmp_path}", f"paths.cache={tmp_path}/cache")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
