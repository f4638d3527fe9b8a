"""`cycle_am.fit`: from a network and arrays to a model, by the training of train.py."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cycle_am
from cycle_am.app.tasks.train import train
from cycle_am.data.cases import Cases
from cycle_am.errors import UserError
from cycle_am.task import Task
from tests.fakes import BlobDataModule, Residual
from tests.helpers import composed, same_training

TINY = {
    "model": {"generator": {"channels": [2, 2, 2, 2]}, "discriminator": {"channels": [2, 2, 2, 2]}},
    "trainer": {"accelerator": "cpu", "min_epochs": 1, "max_epochs": 1, "enable_progress_bar": False},
    "data": {"batch_size": 8, "fov_mm": 30.0},
    "logger": None,
}
QUICK = {
    "classifier_epochs": 1,
    "model": {"net": {"width": 2}},
    "companions": {name: {"model": {"net": {"width": 2}}} for name in ("selector", "judge")},
    "trainer": {"accelerator": "cpu", "enable_progress_bar": False},
    "logger": None,
}


@pytest.fixture(scope="module")
def blobs():
    """Two images of each of 30 patients: images with a rim of 8, labels, patients."""
    cases = BlobDataModule(count=60, cache_dir="unused").build_cases()
    return cases.image, cases.label, np.repeat(np.arange(30), 2)


@pytest.fixture(scope="module")
def fitted(blobs, tmp_path_factory):
    """(network, model, folder) of the shortest training; the network has one logit."""
    torch.manual_seed(0)
    network, out = Residual(outputs=1).train(), tmp_path_factory.mktemp("fit") / "run"
    before = copy.deepcopy(network.state_dict())
    model = cycle_am.fit(network, *blobs, out=out, independent=QUICK, **TINY)
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    return network, model, out


def test_the_model_explains_the_users_network(fitted, blobs):
    network, model, _ = fitted
    x = torch.from_numpy(blobs[0][:5, 8:72, 8:72])
    explanation = model.explain(x)
    with torch.no_grad():
        expected = torch.sigmoid(copy.deepcopy(network).eval()(x[:, None]))[:, 0]
    np.testing.assert_allclose(explanation.explained.x, expected, atol=1e-5)
    assert np.abs(explanation.relevance).max() > 0
    assert (model.task.fov_mm, model.facts["networks"]["classifier"]["kind"]) == (30.0, "external")
    assert len(explanation.trust) == 5


def test_the_folder_is_a_run_whose_split_keeps_patients_apart(fitted, blobs):
    _, _, out = fitted
    split = json.loads((out / "split.json").read_text())
    assert not set(split["seen"]) & set(split["test"])
    assert len(split["seen"]) + len(split["test"]) == 30
    for name in ("best.ckpt", "selector.ckpt", "judge.ckpt", "finished.json", ".hydra/config.yaml"):
        assert (out / name).is_file()
    np.testing.assert_array_equal(Cases.load(out / "cases.npz").image, blobs[0])


def test_it_is_loaded_again_from_the_run_and_from_its_file(fitted, blobs):
    network, model, out = fitted
    x = blobs[0][:3, 8:72, 8:72]
    expected = model.explain(x)
    for source in (out, out / "model.cycleam"):
        again = cycle_am.load(source, classifier=network).explain(x)
        np.testing.assert_allclose(again.relevance, expected.relevance, atol=1e-6)
        np.testing.assert_allclose(again.explained, expected.explained, atol=1e-6)
        with pytest.raises(UserError):
            cycle_am.load(source)
        with pytest.raises(UserError, match="another classifier"):
            cycle_am.load(source, classifier=Residual(outputs=1))


def test_train_py_trains_the_very_same_generators(fitted, tmp_path):
    network, _, out = fitted
    torch.save(network.state_dict(), tmp_path / "own.pt")
    own = ["classifier=custom", "classifier.target=tests.fakes.one_logit"]
    own += [f"classifier.weights={tmp_path / 'own.pt'}"]
    own += [f"classifier.{name}={out / name}.ckpt" for name in ("selector", "judge")]
    settings = ["trainer=cpu", "trainer.min_epochs=1", "trainer.max_epochs=1"]
    settings += ["data=arrays", f"data.cases={out / 'cases.npz'}", "data.batch_size=8", "data.fov_mm=30"]
    settings += [f"model.{name}.channels=[2,2,2,2]" for name in ("generator", "discriminator")]
    cfg = composed(["experiment=cycle_am_small", *settings, *own, "publish=false"], tmp_path)
    assert same_training(Path(train(cfg)["best"]), out / "best.ckpt")


def test_a_folder_in_use_is_not_trained_into(fitted, blobs):
    network, _, out = fitted
    with pytest.raises(UserError, match="holds something already"):
        cycle_am.fit(network, *blobs, out=out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((4, 64))}, "images have shape"),
        ({"images": np.full((60, 64, 64), 3.0)}, "scaled to"),
        ({"labels": np.zeros(7)}, "labels are 7 and images 60"),
        ({"labels": np.full(60, 0.5)}, "labels must be"),
        ({"patients": ["a"]}, "patients are 1 and images 60"),
        ({"classifier": nn.Flatten()}, "the classifier gives"),
        ({"classifier": "network"}, "torch.nn.Module"),
        ({"trainer": {"max_epoch": 3}}, "max_epoch"),
        ({"experiment": "magic"}, "magic"),
        ({"images": np.zeros((60, 2, 64, 64))}, "images have shape"),
        ({"images": np.zeros((60, 3, 64, 64))}, r"pictures of 3 x 64 pixels need classes="),
        ({"size": 32}, "need classes="),
        ({"classes": ("a", "b", "c")}, "two classes"),
    ],
)
def test_what_will_not_do_is_refused_in_one_line_before_anything_is_trained(blobs, tmp_path, change, message):
    given = {"classifier": Residual(), **dict(zip(("images", "labels", "patients"), blobs, strict=True))}
    with pytest.raises(UserError, match=message) as error:
        cycle_am.fit(out=tmp_path / "run", **{**given, **change})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_without_patients_every_image_is_its_own(blobs):
    from cycle_am.app.tasks.fit import _cases

    cases = _cases(blobs[0], blobs[1], None, Task())
    assert len(set(cases.patient_id)) == len(cases)


def test_colour_pictures_of_named_classes_are_explained(blobs, tmp_path):
    """Arrays with the channels last, 48 x 48 with a rim of 4; the network takes what it is given."""
    random = np.random.default_rng(0)
    colour = blobs[0][:, 12:-12, 12:-12, None] * random.uniform(0.5, 1, (60, 1, 1, 3)).astype(np.float32)
    network = nn.Sequential(nn.AvgPool2d(6), nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = cycle_am.fit(
        network,
        colour,
        *blobs[1:],
        out=tmp_path / "run",
        classes=("red", "white"),
        size=48,
        independent=QUICK,
        **TINY | {"data": {"batch_size": 8}},
    )
    assert (model.task.classes, model.task.shape, model.task.unit) == (("red", "white"), (3, 48, 48), "")
    x = np.moveaxis(colour, -1, 1)[:3, :, 4:-4, 4:-4]
    explanation = model.explain(x)
    with torch.no_grad():
        expected = network(torch.from_numpy(np.ascontiguousarray(x))).softmax(1)[:, 1]
    np.testing.assert_allclose(explanation.explained.x, expected, atol=1e-5)
    assert set(explanation.trust[0].figures) >= {"distance", "shift", "noise"}
    assert "taken" not in explanation.trust[0].figures
