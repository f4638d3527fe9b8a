"""Exported models: the same answers as torch's, without torch; damaged ones are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import cycle_am
from cycle_am.errors import UserError
from tests.cycle_am.small import images, small_model
from tests.helpers import ROOT, environment

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model():
    """Whose answers lie on both sides of .5."""
    made = small_model(facts={"name": "tiny"})
    for name in ("classifier", "judge"):
        made.networks[name].linear.weight.mul_(20)
    return made


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """The exported model."""
    return cycle_am.onnx.export(model, tmp_path_factory.mktemp("onnx") / "exported")


@pytest.mark.parametrize("count", [1, 17, 33])
def test_it_answers_as_torch_does_for_any_number_of_images(model, folder, count):
    x = images(count, seed=count).numpy()
    ours, theirs = model.explain(x), cycle_am.onnx.load(folder, threads=1).explain(x)
    for name in ("x", "x_neg", "x_pos", "relevance"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name), atol=1e-4)
    for by in ("explained", "judge"):
        np.testing.assert_allclose(getattr(theirs, by), getattr(ours, by), atol=1e-4)
    np.testing.assert_allclose(theirs.distance(), ours.distance(), atol=1e-3)
    assert np.abs(theirs.relevance).max() > 0.01


def test_it_explains_without_torch(model, folder, tmp_path):
    x = images(2).numpy()
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, cycle_am\n"
        f"made = cycle_am.onnx.load({str(folder)!r}, threads=1).explain(np.load({str(tmp_path / 'x.npy')!r}))\n"
        f"made.distance(); np.save({str(tmp_path / 'r.npy')!r}, made.relevance)\n"
        "print(sorted({'torch', 'scipy', 'hydra', 'pytorch_lightning'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), model.explain(x).relevance, atol=1e-4)


def test_its_explanations_are_saved_without_torch(folder, tmp_path):
    x = images(2).numpy()
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys\nsys.modules['torch'] = None\nimport numpy as np, cycle_am\n"
        f"explanation = cycle_am.onnx.load({str(folder)!r}, threads=1).explain(np.load({str(tmp_path / 'x.npy')!r}))\n"
        f"explanation.save({str(tmp_path / 'out')!r})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, check=True)
    assert (tmp_path / "out" / "index.html").is_file()
    cases = json.loads((tmp_path / "out" / "explanations.json").read_text())["cases"]
    assert [case["settings"]["attribution"] for case in cases] == [False, False]
    first = tmp_path / "out" / cases[0]["folder"]
    assert {file.name for file in first.iterdir()} >= {"panel.png", "dial.gif", "relevance.nii.gz"}
    assert not (first / "attribution.nii.gz").exists()


def test_its_facts_are_the_models(model, folder):
    exported = cycle_am.onnx.load(folder)
    assert exported.name == "tiny"
    hu = np.array([-2000.0, -1000.0, 0.0, 400.0])
    np.testing.assert_array_equal(exported.scale(hu), model.task.scale(hu))


@pytest.mark.parametrize("wrong", [np.zeros((32, 32)), np.full((64, 64), 2.0), np.full((64, 64), np.nan)])
def test_what_is_no_window_is_refused(folder, wrong):
    with pytest.raises(UserError, match="windows"):
        cycle_am.onnx.load(folder).explain(wrong)


@pytest.mark.parametrize("damage", ["absent", "other", "facts", "format"])
def test_a_damaged_folder_is_refused_in_one_line(folder, tmp_path, damage):
    broken = shutil.copytree(folder, tmp_path / "broken")
    if damage == "absent":
        (broken / "judge.onnx").unlink()
    elif damage == "other":
        shutil.copy(broken / "classifier.onnx", broken / "judge.onnx")
    elif damage == "facts":
        (broken / "model.json").write_text("{")
    else:
        facts = json.loads((broken / "model.json").read_text())
        facts["onnx"]["format"] = 99
        (broken / "model.json").write_text(json.dumps(facts))
    with pytest.raises(UserError) as error:
        cycle_am.onnx.load(broken)
    assert "\n" not in str(error.value)


def test_an_export_that_differs_from_torch_is_refused(model, folder, monkeypatch):
    from cycle_am.model import exporting

    monkeypatch.setattr(exporting, "load", lambda *_, **__: Liar())
    copy = shutil.copytree(folder, folder.parent / "lied")
    with pytest.raises(UserError, match="classifier differs"):
        exporting._compare(model, copy)
    assert not (copy / "model.json").exists()


class Liar:
    """An exported model whose answers are a thousandth off."""

    def run(self, name: str, x: np.ndarray) -> np.ndarray:
        """Wrong logits."""
        return small_answer(name, x) + 1e-3


def small_answer(name: str, x: np.ndarray) -> np.ndarray:
    """What `model`'s network says."""
    made = small_model()
    for own in ("classifier", "judge"):
        made.networks[own].linear.weight.mul_(20)
    with torch.inference_mode():
        return made.networks[name](torch.from_numpy(x)).numpy()


def test_without_the_packages_one_line_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "cycle_am.model.exporting.find_spec", lambda name: None if name == "onnxscript" else True
    )
    with pytest.raises(UserError, match=r"export needs onnxscript; .*cycle-am\[onnx\]"):
        cycle_am.onnx.export(model, tmp_path / "out")
