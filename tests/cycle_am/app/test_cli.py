"""The command: batches that go on, that one bad case does not stop, and that tell no names."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cycle_am.app import cli
from cycle_am.app import loading as app_loading
from cycle_am.app.tasks import explain as batch
from cycle_am.errors import UserError
from cycle_am.files import LOCK, claimed
from cycle_am.model import loading
from cycle_am.model.model import Model
from cycle_am.sources import Failure
from tests.cycle_am.stand_ins import stand_in, window, write_model
from tests.helpers import ROOT, environment, run


@pytest.fixture
def model(tmp_path) -> Path:
    """A model file."""
    return write_model(tmp_path / "tiny.cycleam")


def explain(model: Path, *arguments: str) -> int:
    return cli.main(["explain", *arguments, "--model", str(model), "--out", str(model.parent / "out")])


def summary(model: Path) -> list[dict[str, str]]:
    with (model.parent / "out" / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_lesion_of_every_input_has_a_folder_a_row_and_a_place_on_the_page(model, monkeypatch, capsys):
    stand_in(monkeypatch, {"a": [window(1, "x"), window(2, "y z/../é")], "b": [window(3)]})
    assert explain(model, "a", "b") == 0
    folders = ["0001-01_x", "0001-02_y-z", "0002-01"]
    assert [row["folder"] for row in summary(model)] == folders
    assert sorted(path.name for path in (model.parent / "out").iterdir() if path.is_dir()) == folders
    page = json.loads((model.parent / "out" / "index.html").read_text())
    assert [(one["folder"], one["name"]) for one in page] == list(
        zip(folders, ["input 1: x", "input 1: y z/../é", "input 2"], strict=True)
    )
    first = loading.load(model).explain(window(1).image)
    assert float(summary(model)[0]["p_pos"]) == pytest.approx(float(first.explained.pos[0]), abs=1e-4)
    assert float(summary(model)[0]["judge_neg"]) == pytest.approx(float(first.judge.neg[0]), abs=1e-4)
    assert "3 explained, 0 not" in capsys.readouterr().out


def test_one_bad_case_stops_no_other_and_what_is_told_of_it_holds_no_path(model, monkeypatch, capsys):
    name = "/data/DOE^JOHN.dcm"
    content = {
        name: [window(1), UserError(f"{name} ends in the middle; copy it again")],
        "b": [Failure("left", "it lies outside of b"), window(2)],
        "c": [ValueError("DOE^JOHN")],
        "d": [],
    }
    stand_in(monkeypatch, content)
    assert explain(model, *content) == 3
    rows = {(row["input"], row["lesion"]): row for row in summary(model)}
    assert [key for key, row in rows.items() if row["status"] == "explained"] == [("1", "1"), ("2", "2")]
    assert rows["1", "2"]["error"] == "input 1 ends in the middle; copy it again"
    assert rows["2", "1"]["name"] == "left"
    assert rows["3", "1"]["error"].startswith("unexpected ValueError in stand_ins.py, line ")
    assert rows["4", "1"]["error"] == "there is no lesion in it"
    told = capsys.readouterr()
    assert "input 3: unexpected ValueError" in told.err
    written = "".join(path.read_text() for path in (model.parent / "out").rglob("*") if path.is_file())
    assert "DOE" not in told.out + told.err + written


def test_status_is_1_where_nothing_was_explained(model, monkeypatch):
    stand_in(monkeypatch, {"a": [Failure("", "it is dark")]})
    assert explain(model, "a") == 1
    assert summary(model)[0]["error"] == "it is dark"


def test_what_is_there_is_not_made_again(model, monkeypatch):
    saved = stand_in(monkeypatch, {"a": [window(1, "x"), window(2, "y")]})
    assert explain(model, "a") == 0
    before = summary(model)
    assert explain(model, "a") == 0
    assert saved == ["x", "y"]
    assert summary(model) == before


def test_what_another_image_model_or_setting_gave_is_made_again(model, monkeypatch):
    content = {"a": [window(1, "x"), window(2, "y")]}
    saved = stand_in(monkeypatch, content)
    explain(model, "a")
    content["a"] = [window(1, "x"), window(3, "y")]
    explain(model, "a")
    assert saved == ["x", "y", "y"]
    moved = replace(content["a"][0], place=replace(content["a"][0].place, centre_mm=(1.0, 2.0, 3.0)))
    content["a"] = [moved]
    explain(model, "a")
    assert saved[3:] == ["x"]
    explain(model, "a", "--no-trust")
    assert saved[4:] == ["x"]
    write_model(model, seed=1)
    explain(model, "a", "--no-trust")
    assert saved[5:] == ["x"]


def test_a_batch_that_was_stopped_goes_on_and_never_looks_whole(model, monkeypatch):
    content = {str(i): [window(i, f"n{i}")] for i in range(4)}
    saved = stand_in(monkeypatch, content)
    assert explain(model, *content) == 0
    write_model(model, seed=1)
    write = batch.json.dumps

    def stop(value, **options):
        if len(saved) == 6 and "key" in value:  # the pictures of the second are there, its record is not
            raise KeyboardInterrupt
        return write(value, **options)

    monkeypatch.setattr(batch.json, "dumps", stop)
    assert explain(model, *content) == 130
    assert not (model.parent / "out" / "summary.csv").exists()
    assert not (model.parent / "out" / "index.html").exists()
    monkeypatch.setattr(batch.json, "dumps", write)
    assert explain(model, *content) == 0
    assert saved[6:] == ["n1", "n2", "n3"]
    assert [path.name for path in (model.parent / "out").glob(".*")] == [LOCK]


def test_two_batches_into_one_folder_at_once(model, monkeypatch, capsys):
    stand_in(monkeypatch, {"a": [window(1)]})
    with claimed(model.parent / "out"):
        assert explain(model, "a") == 1
    assert "another process is writing into" in capsys.readouterr().err
    assert explain(model, "a") == 0


def test_from_a_clone_the_first_word_may_be_left_out():
    assert "phantom" in run("explain.py", "models").stdout
    shown = [run("explain.py", *words).stdout for words in (("--help",), ("explain", "--help"))]
    assert shown[0] == shown[1]
    assert "usage: cycle-am explain" in shown[0]


@pytest.mark.slow
def test_a_batch_that_was_killed_goes_on(model):
    images = []
    for i in range(5):
        images.append(model.parent / f"DOE^{i}.png")
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(images[-1])
    out = model.parent / "out"
    command = ["explain.py", *map(str, images), "--model", str(model), "--out"]
    with subprocess.Popen([sys.executable, *command, str(out)], cwd=ROOT, env=environment()) as process:
        wait_for(lambda: (out / "0002-01" / "explanation.json").is_file() or process.poll() is not None)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "summary.csv").exists()
    made = {path: path.stat().st_mtime_ns for path in out.glob("[!.]*/panel.png")}
    assert 2 <= len(made) < 5
    for left in (".0003-01.1.tmp", "..0003-01.1.tmp.1.tmp", ".0003-01.1.old"):
        (out / left).mkdir()
    assert run(*command, str(out)).returncode == 0
    assert run(*command, str(model.parent / "whole")).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    files = {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    whole = {file: (model.parent / "whole" / file).read_bytes() for file in files if file.suffix != ".mp4"}
    assert {file: data for file, data in files.items() if file in whole} == whole
    made_of = {f"{number:04d}-01" for number in range(1, 6)}
    assert {path.name for path in out.iterdir()} == made_of | {"summary.csv", "index.html", LOCK}
    assert not any(b"DOE" in data for data in files.values())


def wait_for(come: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not come():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_folder_of_somebody_else_is_left_alone(model, monkeypatch):
    stand_in(monkeypatch, {"a": [window(1)]})
    (model.parent / "out" / "0001-01").mkdir(parents=True)
    (model.parent / "out" / "0001-01" / "thesis.txt").write_text("years")
    assert explain(model, "a") == 1
    assert "not made by this command" in summary(model)[0]["error"]
    assert (model.parent / "out" / "0001-01" / "thesis.txt").read_text() == "years"


def test_many_images_are_explained_in_chunks_and_read_as_they_are_needed(model, monkeypatch):
    sizes, ahead, read = [], [], []
    monkeypatch.setattr(batch, "BATCH", 4)
    content = {"a": [window(i, f"n{i}") for i in range(11)]}
    stand_in(monkeypatch, content)
    inner, original = Model.explain_windows, batch._read

    def counted(*arguments):
        for pair in original(*arguments):
            read.append(pair)
            yield pair

    def explained(self, windows, trust):
        sizes.append(len(windows))
        ahead.append(len(read))
        return inner(self, windows, trust)

    monkeypatch.setattr(batch, "_read", counted)
    monkeypatch.setattr(Model, "explain_windows", explained)
    assert explain(model, "a") == 0
    assert sizes == [4, 4, 3]
    assert ahead == [4, 8, 11]


def test_an_image_that_cannot_be_explained_does_not_take_its_chunk_with_it(model, monkeypatch):
    bad = window(2, "bad")
    bad.image[3, 3] = np.nan
    stand_in(monkeypatch, {"a": [window(1, "x"), bad, window(3, "z")]})
    assert explain(model, "a") == 3
    assert [row["status"] for row in summary(model)] == ["explained", "failed", "explained"]
    assert "NaN" in summary(model)[1]["error"]


def test_cells_are_no_formulas(model, monkeypatch):
    stand_in(monkeypatch, {"a": [window(1, '=HYPERLINK("x")'), Failure("+1", "@SUM(A1)")]})
    explain(model, "a")
    assert [row["name"] for row in summary(model)] == ['\'=HYPERLINK("x")', "'+1"]
    assert summary(model)[1]["error"] == "'@SUM(A1)"
    assert batch.cell(-0.5) == "-0.5"


def test_json_is_all_that_a_machine_reads(model, monkeypatch, capsys):
    stand_in(monkeypatch, {"a": [window(1, "x"), Failure("y", "it is dark")]})
    assert explain(model, "a", "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["explained"], told["failed"], told["model"]) == (1, 1, "tiny")
    assert told["digest"] == loading.load(model).digest
    assert [case["status"] for case in told["cases"]] == ["explained", "failed"]
    assert 0 <= told["cases"][0]["p"] <= 1


def test_what_loading_a_run_prints_is_not_mixed_with_json(model, monkeypatch, capsys):
    stand_in(monkeypatch, {"a": [window(1)]})
    load = app_loading.load

    def wordy(source):
        print("cases by part")
        return load(source)

    monkeypatch.setattr(app_loading, "load", wordy)
    assert explain(model, "a", "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["explained"] == 1
    assert "cases by part" in told.err


def test_the_demo_explains_the_bundled_cases(tmp_path, capsys):
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 0
    told = capsys.readouterr().out
    assert f"5 explained, 0 not: {(tmp_path / 'demo' / 'index.html').resolve()}" in told
    assert len(list((tmp_path / "demo").glob("*/panel.png"))) == 5
    assert loading.models()["phantom"].stat().st_size < 6.5e6
    assert sum(path.stat().st_size for path in (loading.SHIPPED / "cases").iterdir()) < 100e3


def test_an_output_folder_that_is_a_file_is_told_in_one_line(model, monkeypatch, capsys):
    stand_in(monkeypatch, {"a": [window(1)]})
    (model.parent / "out").touch()
    assert explain(model, "a") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {model.parent / 'out'}: File exists")


def test_dicom_objects_need_a_dicom_source(model, monkeypatch):
    stand_in(monkeypatch, {"a": [window(1)]})
    assert explain(model, "a", "--dicom") == 1
    assert "no DICOM" in summary(model)[0]["error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "a"], "--model, --out"),
        (["explain", "a", "--model", "m", "--out", "o", "--lidc", "--voxel", "1", "2", "3"], "not allowed"),
        (["explain", "a", "b", "--model", "m", "--out", "o", "--at", "-1", "-2.5", "3"], "one INPUT"),
        (["explain", "a", "--model", "nope", "--out", "o"], "no model nope"),
        (["explain", "a", "--model", "nope.cycleam", "--out", "o"], "does not exist"),
        (["pack", "nowhere"], "is no run"),
        (["info", "nope"], "no model nope"),
        (["boast"], "boast"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert said in told.err
    assert not told.out


def test_models_at_hand_are_listed(model, monkeypatch, capsys):
    monkeypatch.chdir(model.parent)
    Path("torn.cycleam").write_bytes(model.read_bytes()[:500])
    run = Path("runs/cycle_am_small/phantom/latest")
    (run / ".hydra").mkdir(parents=True)
    (run / "best.ckpt").touch()
    (run / ".hydra" / "config.yaml").write_text("task: cycle_am\nname: cycle_am_small\ndata_name: phantom\n")
    assert cli.main(["models", "--json"]) == 0
    listed = {one["model"]: one["what"] for one in json.loads(capsys.readouterr().out)}
    assert listed["tiny.cycleam"] == "tiny: benign or malignant, 45 mm"
    assert "damaged" in listed["torn.cycleam"]
    assert listed[str(run)] == "a run: cycle_am_small on phantom"


def test_info_is_the_card_for_people_and_plain_json_for_machines(model, capsys):
    assert cli.main(["info", str(model)]) == 0
    own = loading.load(model).digest
    assert capsys.readouterr().out == f"# tiny\n\nA card.\n\nDigest: {own}\n"
    assert cli.main(["info", str(model), "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told["metrics"]["classifier/auc"] == {"value": 0.9, "ci_low": None, "ci_high": None, "n": 3}
    assert told["digest"] == own
    assert told["task"]["fov_mm"] == 45


def test_what_an_extra_lacks_is_named(monkeypatch, model, capsys):
    def absent(name):
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    assert cli.main(["export", str(model), "--onnx", "out"]) == 1
    assert "pip install onnxscript" in capsys.readouterr().err
