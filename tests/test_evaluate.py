"""The evaluation entry: train -> evaluate, for the classifier and for CycleAM."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from cycle_am import measures
from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.train import train
from cycle_am.errors import UserError
from tests.helpers import TINY_CLASSIFIER, TINY_CYCLE_AM, composed, run

QUICK = ["evaluation.resamples=50"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder whose runs/ holds a classifier with companions and CycleAM, both barely trained."""
    folder = tmp_path_factory.mktemp("trained")
    companions = "companions={selector:{seed:1},judge:{seed:2,model:{net:{width:3}}}}"
    train(composed([*TINY_CLASSIFIER, companions, "trainer.max_epochs=1"], folder))
    cycle_am = [
        *TINY_CYCLE_AM,
        "experiment=cycle_am_small",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
    ]
    train(composed(cycle_am, folder))
    return folder


def test_classifier_round_trip(trained):
    out = evaluate(composed([*TINY_CLASSIFIER, *QUICK], trained, config="evaluate"))
    assert out == (trained / "runs/classifier/blobs/latest").resolve() / "evaluation"
    figure = json.loads((out / "metrics.json").read_text())["classifier/auc"]
    assert 0 <= figure["ci_low"] <= figure["value"] <= figure["ci_high"] <= 1
    assert figure["n"] == 12
    assert len((out / "cases.csv").read_text().splitlines()) == 13
    assert "<html" in (out / "report.html").read_text()
    assert OmegaConf.load(out / "config.yaml").run == str(out.parent)


def test_cycle_am_round_trip(trained, tmp_path):
    overrides = [
        *TINY_CYCLE_AM,
        *QUICK,
        "+evaluation.realism=false",
        "+evaluation.progress=false",
        f"out_dir={tmp_path}",
    ]
    evaluate(composed([*overrides, "experiment=cycle_am_small"], trained, config="evaluate"))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert all(measures.named(key) for key in metrics)
    for key in ("transfer/explained/pos", "transfer/independent/neg", "similarity/ssim_pos", "cycle/l1"):
        assert 0 <= metrics[key]["value"] <= 1
    assert (tmp_path / "relevance.npz").is_file()
    assert (tmp_path / "config.yaml").read_text().count("cycle_am_small")


def test_cycle_am_keeps_its_classifiers(trained):
    run_dir = (trained / "runs/cycle_am_small/blobs/latest").resolve()
    for name in ("classifier", "selector", "judge"):
        assert (run_dir / f"{name}.ckpt").is_file()
    assert (run_dir / "score.png").is_file()
    assert list((run_dir / "panels").glob("*.png"))


def test_another_split_is_refused(trained):
    with pytest.raises(UserError, match="patients of the test part trained"):
        evaluate(composed([*TINY_CLASSIFIER, "data.split_seed=7"], trained, config="evaluate"))


def test_a_run_that_is_none_is_named(trained, tmp_path):
    with pytest.raises(UserError, match=r"there is no best\.ckpt"):
        evaluate(composed([*TINY_CLASSIFIER, f"run={tmp_path}"], trained, config="evaluate"))
    overrides = [o for o in TINY_CLASSIFIER if not o.startswith("data_name")]
    with pytest.raises(UserError, match=r"run `python train.py experiment=classifier data=elsewhere`"):
        evaluate(composed([*overrides, "data_name=elsewhere"], trained, config="evaluate"))


def test_the_folder_is_printed_last(trained, tmp_path):
    paths = [f"paths.runs={trained}/runs", f"out_dir={tmp_path}/out"]
    done = run("evaluate.py", *TINY_CLASSIFIER, *QUICK, *paths)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == str(tmp_path / "out")


def compared(trained: Path, out: Path, *overrides: str) -> dict:
    """evaluation=compare of the barely trained CycleAM; its metrics."""
    compare = [*TINY_CYCLE_AM, *QUICK, "evaluation=compare", "experiment=cycle_am_small", f"out_dir={out}"]
    evaluate(composed([*compare, *overrides], trained, config="evaluate"))
    return json.loads((out / "metrics.json").read_text())


def test_compare_round_trip(trained, tmp_path):
    core = [
        "evaluation.preset=core",
        "explainers=[cycle_am,lrp,control_centre]",
        "evaluation.presets.core.cases=6",
    ]
    metrics = compared(trained, tmp_path, *core)
    assert all(measures.named(key) for key in metrics)
    for name in ("cycle_am", "lrp", "control_centre"):
        for key in (
            "pointing",
            "relevance_mass_shifted",
            "deletion",
            "insertion",
            "stability",
            "ms_per_case",
        ):
            assert metrics[f"compare/{name}/{key}"]["value"] is not None, (name, key)
        assert metrics[f"compare/{name}/deletion"]["n"] == 6
    assert metrics["compare/control_centre/randomisation"]["value"] == pytest.approx(1)
    assert metrics["compare/cycle_am/randomisation"]["value"] is None  # nothing was trained for it
    with np.load(tmp_path / "relevance.npz") as maps:
        assert maps["lrp"].shape == (6, 64, 64)
    with np.load(tmp_path / "images.npz") as shown, np.load(tmp_path / "relevance.npz") as maps:
        assert np.array_equal(shown["case_id"], maps["case_id"])
        assert shown["image"].shape == (6, 64, 64)
        assert 0 <= shown["image"].min() < shown["image"].max() <= 1
        assert set(shown["label"]) <= {-1, 0, 1}
        assert shown["p_malignant"].shape == (6,)
        assert shown["fov_mm"] > 0
    assert {"report.html", "cases.csv", "compare.csv", "parts"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_compare_trains_cycle_am_again_for_random_classifiers(trained, tmp_path):
    run_dir = (trained / "runs/cycle_am_small/blobs/latest").resolve()
    for name in ("cycle_am_small", "classifier"):  # what the entry point would have written
        file = run_dir / (".hydra/config.yaml" if name == "cycle_am_small" else "classifier.yaml")
        file.parent.mkdir(exist_ok=True)
        tiny = TINY_CYCLE_AM if name == "cycle_am_small" else TINY_CLASSIFIER
        quick = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "companions=null"]
        file.write_text(OmegaConf.to_yaml(composed([*tiny, f"experiment={name}", *quick], trained)))
    full = [
        "explainers=[cycle_am,lrp]",
        "evaluation.presets.full.cases=4",
        "evaluation.presets.full.repeats=0",
    ]
    metrics = compared(trained, tmp_path, *full)
    for key in ("last_layer", "whole_network", "random_labels"):
        assert metrics[f"compare/cycle_am/randomisation_{key}"]["value"] is not None, key
        assert (run_dir / "sanity" / key / "best.ckpt").is_file()
    assert metrics["compare/cycle_am/agreement"]["value"] is not None
    states = [
        torch.load(path / "classifier.ckpt", weights_only=True)["state_dict"]
        for path in (run_dir, run_dir / "sanity/last_layer", run_dir / "sanity/whole_network")
    ]
    first = "net.blocks.0.0.weight"
    assert torch.equal(states[0][first], states[1][first])
    assert not torch.equal(states[0]["net.linear.weight"], states[1]["net.linear.weight"])
    assert not torch.equal(states[0][first], states[2][first])


def test_compare_logs_tables_and_pictures_to_wandb(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    core = ["evaluation.preset=core", "explainers=[lrp,control_edges]", "evaluation.presets.core.cases=4"]
    compared(trained, tmp_path, *core, "logger=wandb", "evaluation.presets.core.repeats=0")
    assert len(list(tmp_path.rglob("offline-run-*/run-*.wandb"))) == 1
    (maps,) = tmp_path.rglob("offline-run-*/files/media/table/cases*.json")
    table = json.loads(maps.read_text())
    assert table["columns"] == ["label", "p", "x", "lrp", "control_edges"]
    assert [row[2:] for row in table["data"]] == [
        ["Image"] * 3
    ] * 4  # the pictures themselves lie in the artifact
    (tests,) = tmp_path.rglob("offline-run-*/files/media/table/compare*.json")
    assert {row[0] for row in json.loads(tests.read_text())["data"]} == {"lrp", "control_edges"}


def test_compare_refuses_what_it_does_not_know(trained, tmp_path):
    with pytest.raises(UserError, match=r"there is no explainer tea_leaves; choose from .*lrp"):
        compared(trained, tmp_path, "explainers=[tea_leaves]")
    with pytest.raises(UserError, match=r"evaluation\.preset=huge is unknown; choose one of core, full"):
        compared(trained, tmp_path, "evaluation.preset=huge")
