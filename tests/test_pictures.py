"""Pictures instead of CT, from the folder to an explained picture: train, resume, evaluate, compare, pack, explain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

import cycle_am
from cycle_am import measures
from cycle_am.app import cli
from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.pack import pack
from cycle_am.app.tasks.train import train
from cycle_am.errors import UserError
from tests.helpers import composed, same_training

SIZE = 36  # three poolings do not divide it
NETS = ["model.generator.channels=[2,2,2,2]", "model.discriminator.channels=[2,2,2,2]"]
COLOURS = {"green": (60, 160, 60), "violet": (150, 60, 170)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of colour pictures, and runs of a classifier and of CycleAM, both barely trained."""
    home, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows = ["image,patient_id,box_left,box_top,box_right,box_bottom"]
    for name, colour in COLOURS.items():
        (home / "images" / name).mkdir(parents=True)
        for i in range(24):
            picture = random.integers(200, 240, (SIZE, SIZE + 6, 3), dtype=np.uint8)
            picture[10:26, 12:30] = np.array(colour) + random.integers(-20, 20, (16, 18, 3))
            Image.fromarray(picture).save(home / "images" / name / f"{i:02d}.png")
            rows.append(f"{name}/{i:02d}.png,{name}{i // 2},12,10,30,26")
    (home / "patients.csv").write_text("\n".join(rows))
    companions = "companions={selector:{seed:1},judge:{seed:2,model:{net:{width:3}}}}"
    train(
        composed(
            [*data(home), "experiment=classifier", "model.net.width=2", companions, "trainer.max_epochs=1"],
            home,
        )
    )
    cfg = composed([*data(home), *NETS, "experiment=cycle_am_small", "trainer.max_epochs=2"], home)
    train(cfg)
    (Path(cfg.paths.run_dir) / ".hydra").mkdir()
    OmegaConf.save(cfg, Path(cfg.paths.run_dir) / ".hydra" / "config.yaml")  # as the entry point does
    return home


def data(home: Path) -> list[str]:
    return [
        "data=folder",
        f"data.root={home}/images",
        f"data.patients={home}/patients.csv",
        f"data.size={SIZE}",
        "data.batch_size=4",
        "data.thing=spot",
        "data_name=blobs",
        "trainer=cpu",
    ]


def overrides(home: Path, out: Path) -> list[str]:
    return [*data(home), *NETS, "experiment=cycle_am_small", "evaluation.resamples=50", f"out_dir={out}"]


@pytest.fixture(scope="module")
def model(folder):
    return cycle_am.load(pack(folder / "runs/cycle_am_small/blobs/run", folder / "spots.cycleam"))


def test_the_networks_know_the_pictures(folder):
    hparams = torch.load(folder / "runs/cycle_am_small/blobs/run/best.ckpt", weights_only=True)[
        "hyper_parameters"
    ]
    assert hparams["generator"]["in_channels"] == hparams["discriminator"]["in_channels"] == 3
    net = torch.load(folder / "runs/classifier/blobs/run/judge.ckpt", weights_only=True)["hyper_parameters"][
        "net"
    ]
    assert (net["in_channels"], net["image_size"]) == (3, SIZE)


def test_resumed_is_never_stopped(folder, tmp_path):
    settings = [
        *data(folder),
        *NETS,
        "experiment=cycle_am_small",
        f"paths.runs={folder}/runs",
        "publish=false",
    ]
    train(composed([*settings, "trainer.max_epochs=1"], tmp_path, "half"))
    half = tmp_path / "runs/cycle_am_small/blobs/half"
    train(composed([*settings, "trainer.max_epochs=2", f"ckpt_path={half}"], tmp_path, "whole"))
    whole = tmp_path / "runs/cycle_am_small/blobs/whole" / "last.ckpt"
    assert same_training(whole, folder / "runs/cycle_am_small/blobs/run/last.ckpt")


def test_a_classifier_is_evaluated_in_its_own_words(folder, tmp_path):
    settings = [*data(folder), "experiment=classifier", "model.net.width=2", "evaluation.resamples=50"]
    evaluate(composed([*settings, f"out_dir={tmp_path}"], folder, config="evaluate"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert all(measures.named(key) for key in metrics)
    assert "classifier/auc" in metrics
    assert not {key for key in metrics if "size" in key}  # of things whose size says nothing
    page = (tmp_path / "report.html").read_text()
    assert "violet from green spot images" in page
    assert not [word for word in ("malignant", "nodule", "Paper", "diameter", " mm") if word in page]


def test_generators_are_evaluated_in_their_own_words(folder, tmp_path):
    evaluate(composed([*overrides(folder, tmp_path), "+evaluation.realism=false"], folder, config="evaluate"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert all(measures.named(key) for key in metrics)
    assert metrics["localisation/peak_in_mask"]["n"] == metrics["similarity/ssim_pos"]["n"] > 0
    page = (tmp_path / "report.html").read_text()
    assert "p(violet) on G⁺(x)" in page
    assert "root mean square over the channels" in page
    assert not [word for word in ("malignant", "nodule", "Paper", "readers", " HU", " mm") if word in page]
    maps = np.load(tmp_path / "relevance.npz")["cycle_am"]
    assert maps.shape == (metrics["similarity/ssim_pos"]["n"], SIZE, SIZE)


def test_explainers_are_compared(folder, tmp_path):
    settings = [
        *overrides(folder, tmp_path),
        "evaluation=compare",
        "evaluation.preset=core",
        "evaluation.presets.core.cases=4",
        "evaluation.presets.core.subsets=4",
        "evaluation.presets.core.explainers=[cycle_am,cycle_am_attribution,integrated_gradients,grad_cam,lrp,control_edges]",
    ]
    evaluate(composed(settings, folder, config="evaluate"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["compare/cycle_am_attribution/completeness"]["value"] < 0.05
    page = (tmp_path / "report.html").read_text()
    assert "Red speaks for violet, blue for green" in page
    assert not [word for word in ("malignant", "nodule") if word in page]
    with np.load(tmp_path / "images.npz") as images:
        assert images["image"].shape[1:] == (3, SIZE, SIZE)
        assert images["classes"].tolist() == ["green", "violet"]


def test_a_packed_model_explains_colour_pictures(folder, model, tmp_path, capsys):
    assert "green or violet, 36 pixels" in repr(model)
    assert "colour pictures of 36 x 36 pixels" in model.card
    picture = folder / "images" / "violet" / "03.png"
    status = cli.main(
        ["explain", str(picture), "--model", str(folder / "spots.cycleam"), "--out", str(tmp_path / "x")]
    )
    assert status == 0, capsys.readouterr().err
    record = json.loads(next((tmp_path / "x").glob("0001*/explanation.json")).read_text())
    assert record["classes"] == ["green", "violet"]
    image = np.asarray(Image.open(picture))[:, 3:-3] / np.float32(255)
    explanation = model.explain(image)
    assert record["probability"]["explained"]["x"] == pytest.approx(
        float(explanation.explained.x[0]), abs=1e-6
    )
    assert explanation.x.shape == (1, 3, SIZE, SIZE)
    assert explanation.relevance.shape == explanation.attribution().shape == (1, SIZE, SIZE)
    np.testing.assert_array_equal(explanation.dial(np.array([-1.0, 0, 1]))[0, 1], explanation.x[0])


def test_batches_in_any_layout_give_the_same(model):
    images = np.random.default_rng(0).random((5, 3, SIZE, SIZE), dtype=np.float32)
    whole = model.explain(images, batch=2)
    last = model.explain(np.moveaxis(images, 1, -1))
    np.testing.assert_allclose(whole.x_pos, last.x_pos, atol=1e-6)
    assert [str(part) for part in whole.trust] == [str(part) for part in last.trust]


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (np.zeros((SIZE, SIZE), np.float32), {}, "explains colour"),
        (np.zeros((1, 3, 64, 64), np.float32), {}, "give windows of 36 x 36"),
        (np.full((SIZE, SIZE, 3), np.nan, np.float32), {}, "NaN"),
        (np.zeros((SIZE, SIZE, 3), np.float32), {"spacing": 1.0}, "explains colour"),
    ],
)
def test_images_of_another_task_are_refused(model, images, settings, message):
    with pytest.raises(UserError, match=message):
        model.explain(images, **settings)


def test_sources_of_another_task_are_refused(model, tmp_path, folder):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match="the model explains pictures"):
        model.explain(tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="whole pictures; leave out at"):
        model.explain(folder / "images" / "green" / "00.png", at=(1, 2, 3))


def test_a_classifier_of_other_images_is_refused(folder, tmp_path):
    wrong = ["data.size=64", f"classifier.ckpt={folder}/runs/classifier/blobs/run/best.ckpt"]
    with pytest.raises(UserError, match=r"was made for other images .* not 3 x 64 x 64"):
        train(composed([*data(folder), *NETS, "experiment=cycle_am_small", *wrong], tmp_path))
