"""An explanation's folder: whole or not there, never in the place of something else, and silent about persons."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys

import pytest

from cycle_am.errors import UserError
from cycle_am.outputs import panel, save
from cycle_am.place import Place
from tests.cycle_am.outputs.fakes import EVIL, OBLIQUE, explanation
from tests.helpers import ROOT, environment

FILES = {"explanation.json", "panel.png", "dial.gif", "relevance.nii.gz", "attribution.nii.gz"}


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"dial.mp4"}


def test_one_case_is_one_folder(tmp_path):
    folder = explanation(0.4, verdicts=("usable",)).save(tmp_path / "a" / "one")
    assert folder == tmp_path / "a" / "one"
    assert names(folder) == FILES
    assert names(tmp_path / "a") == {"one"}


def test_several_cases_are_a_folder_each_and_a_page(tmp_path):
    places = (Place("apex"), Place("../../etc/x"), Place(EVIL))
    folder = explanation(0.4, 0.6, 0.6, places=places).save(tmp_path / "out")
    assert names(folder) == {
        "1-apex", "2-etc-x", "3-script-script-window-broken-1-script-im", "index.html", "explanations.json"
    }  # fmt: skip
    assert names(folder / "1-apex") == FILES
    assert names(tmp_path) == {"out"}
    cases = json.loads((folder / "explanations.json").read_text())["cases"]
    assert [case["folder"] for case in cases][:2] == ["1-apex", "2-etc-x"]


def test_the_record_holds_every_figure(tmp_path):
    made = explanation(0.6, verdicts=("doubtful",), places=(OBLIQUE,))
    record = json.loads((made.save(tmp_path / "one") / "explanation.json").read_text())
    assert (record["verdict"], record["reasons"]) == ("doubtful", ["a reason for doubtful"])
    assert record["probability"]["explained"]["neg"] == pytest.approx(float(made.explained.neg[0]), rel=1e-6)
    assert record["probability"]["judge"]["pos"] == pytest.approx(float(made.judge.pos[0]), rel=1e-6)
    assert record["distance"] == pytest.approx(1 / 3, abs=1e-4)
    assert record["change"]["mean_abs_neg"] == pytest.approx(0.3, rel=1e-5)
    assert record["change"]["mean_abs_relevance"] == pytest.approx(0.5, rel=1e-5)
    assert record["place"]["centre_mm"] == [-61.25, 40.5, -132.75]
    assert record["model"]["digest"] == "0123456789abcdef"
    assert record["trust"] == {"unlike": 1.5}
    assert record["versions"]["torch"]


def test_what_is_undefined_is_null(tmp_path):
    text = (explanation(0.4, still=True).save(tmp_path / "one") / "explanation.json").read_text()
    assert json.loads(text)["distance"] is None
    assert "NaN" not in text


def test_nothing_that_is_written_holds_the_source(tmp_path):
    folder = explanation(0.4, 0.6, places=(OBLIQUE, OBLIQUE)).save(tmp_path / "out")
    for file in (path for path in folder.rglob("*") if path.is_file()):
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
        assert b"doe" not in data.lower(), file


def test_an_earlier_explanation_is_replaced(tmp_path):
    explanation(0.4, 0.6, 0.6).save(tmp_path / "out")
    explanation(0.4, 0.6).save(tmp_path / "out")
    assert names(tmp_path / "out") == {"1", "2", "index.html", "explanations.json"}
    (tmp_path / "out" / "1" / ".DS_Store").write_text("")  # who looks into a folder may leave that
    explanation(0.4).save(tmp_path / "out")
    assert names(tmp_path / "out") == FILES
    assert names(tmp_path) == {"out"}


@pytest.mark.parametrize(
    "strange", ["thesis.tex", "out/notes.txt", "out/1/notes.txt", "out/mine/explanation.txt"]
)
def test_what_is_no_explanation_is_never_replaced(tmp_path, strange):
    target = tmp_path / "out"
    if strange == "thesis.tex":
        target = tmp_path
    else:
        explanation(0.4, 0.6).save(target)
    (tmp_path / strange).parent.mkdir(exist_ok=True)
    (tmp_path / strange).write_text("years of work")
    with pytest.raises(UserError, match="no part of an explanation"):
        explanation(0.6).save(target)
    assert (tmp_path / strange).read_text() == "years of work"


def test_a_file_and_the_folder_one_is_in_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        explanation(0.4).save(tmp_path / "file")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the folder that you are in"):
        explanation(0.4).save(".")


def test_a_failure_half_way_leaves_the_earlier_folder(tmp_path, monkeypatch):
    explanation(0.4).save(tmp_path / "out")
    before = (tmp_path / "out" / "explanation.json").read_text()
    monkeypatch.setattr(panel, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explanation(0.6).save(tmp_path / "out")
    assert (tmp_path / "out" / "explanation.json").read_text() == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_killed_process_leaves_nothing_that_looks_whole(tmp_path):
    code = (
        "import os, sys; from cycle_am.outputs import dial; from tests.cycle_am.outputs.fakes import explanation;"
        "dial.frames = lambda *_: os._exit(9); explanation(.4).save(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"], cwd=ROOT, env=environment(), timeout=60
    )
    assert done.returncode == 9
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    explanation(0.4).save(tmp_path / "out")
    assert names(tmp_path / "out") == FILES


def test_nothing_slow_is_imported(tmp_path):
    code = (
        "import sys; from tests.cycle_am.outputs.fakes import explanation; explanation(.4, .6).save(sys.argv[1]);"
        "slow = {'matplotlib', 'pandas', 'captum', 'pytorch_lightning', 'hydra'}; print(slow & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"],
        cwd=ROOT, env=environment(), timeout=60, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "set()"


def test_folder_names_sort_as_the_cases():
    found = [save.folder_name(i, 120, "") for i in (0, 9, 119)]
    assert found == ["001", "010", "120"]
