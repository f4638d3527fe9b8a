"""Seeds and folds: each CycleAM takes the classifier of its own seed and fold, and many runs become one result."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.train import train
from cycle_am.errors import UserError
from cycle_am.runs.run import CONFIG, SPLIT
from lightning_modules.classifier import ClassifierModule
from tests.helpers import TINY_CLASSIFIER, TINY_CYCLE_AM, composed

CLASSIFIER = [*TINY_CLASSIFIER, "companions={selector:{seed:1},judge:{seed:2}}"]
CYCLE_AM = [*TINY_CYCLE_AM, "experiment=cycle_am_small", "trainer.limit_train_batches=1"]
GRID = [(seed, fold) for seed in (0, 1) for fold in (0, 1)]
QUICK = ["evaluation.resamples=50", "evaluation.each.resamples=50", "+evaluation.each.realism=false"]


def job(tiny: list[str], folder: Path, number: int | str, seed: int, fold: int, *more: str) -> Path:
    """A job of a multirun, with what the entry point would have written; its folder."""
    place = [f"seed={seed}", "data.folds=2", f"data.fold={fold}", "trainer.max_epochs=1", "publish=false"]
    cfg = composed([*tiny, *place, *more], folder, f"multirun/grid/{number}")
    file = Path(cfg.paths.run_dir) / CONFIG
    file.parent.mkdir(parents=True)
    file.write_text(OmegaConf.to_yaml(cfg))
    train(cfg)
    return Path(cfg.paths.run_dir)


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Path:
    """A folder whose runs/ holds a multirun: two seeds on two folds, classifiers first, all barely trained."""
    folder = tmp_path_factory.mktemp("grid")
    for tiny in (CLASSIFIER, CYCLE_AM):
        for number, (seed, fold) in enumerate(GRID):
            job(tiny, folder, number, seed, fold)
    return folder


def multirun(folder: Path, experiment: str) -> Path:
    return folder / "runs" / experiment / "blobs/multirun/grid"


def aggregated(folder: Path, out: Path, *overrides: str, tiny: list[str] = CYCLE_AM) -> Path:
    quick = QUICK if tiny is CYCLE_AM else QUICK[:2]
    tiny = [o for o in tiny if not o.startswith("trainer.limit")]
    return evaluate(
        composed(
            [*tiny, "evaluation=aggregate", *quick, f"out_dir={out}", *overrides], folder, config="evaluate"
        )
    )


def test_each_cycle_am_explains_the_classifier_of_its_seed_and_fold(grid):
    for number, _ in enumerate(GRID):
        own = ClassifierModule.load(multirun(grid, "classifier") / str(number) / "best.ckpt")
        kept = ClassifierModule.load(multirun(grid, "cycle_am_small") / str(number) / "classifier.ckpt")
        assert torch.equal(own.net.linear.weight, kept.net.linear.weight)


def test_classifiers_of_another_multirun_are_named_by_their_folder(grid, tmp_path):
    where = f"classifier.runs={multirun(grid, 'classifier')}"
    cfg = composed([*CYCLE_AM, "seed=1", "data.folds=2", "data.fold=1", "debug=fdr", where], tmp_path)
    train(cfg)
    own, kept = (
        ClassifierModule.load(path)
        for path in (multirun(grid, "classifier") / "3/best.ckpt", f"{cfg.paths.run_dir}/classifier.ckpt")
    )
    assert torch.equal(own.net.linear.weight, kept.net.linear.weight)


def test_another_seeds_classifier_is_no_substitute(grid):
    for change in (["seed=7", "data.fold=0"], ["seed=0", "data.fold=0", "data.split_seed=3"]):
        cfg = composed([*CYCLE_AM, "data.folds=2", "debug=fdr", *change], grid, "multirun/grid/none")
        with pytest.raises(UserError, match=r"has no finished run with seed=\d on this split"):
            train(cfg)


def test_seeds_and_folds_become_one_result(grid, tmp_path):
    out = aggregated(grid, tmp_path)
    metrics = json.loads((out / "metrics.json").read_text())
    each = [
        json.loads((multirun(grid, "cycle_am_small") / str(k) / "evaluation/metrics.json").read_text())
        for k in range(4)
    ]
    over_runs = metrics["runs/similarity/ssim_pos"]
    assert over_runs["value"] == pytest.approx(np.mean([one["similarity/ssim_pos"]["value"] for one in each]))
    assert over_runs["n"] == 4
    assert metrics["patients/auc"]["n"] == 40  # every patient once
    assert metrics["patients/p_independent_pos"]["n"] == 40
    assert metrics["stability/spearman"]["n"] == metrics["ensemble/gain_peak"]["n"] == 40
    assert metrics["ensemble/auc_wrong_by_sd"]["value"] is None  # needs three seeds
    table = pd.read_csv(out / "aggregate.csv").set_index("figure")
    assert list(table.columns[-4:]) == [
        "seed 0, fold 0",
        "seed 1, fold 0",
        "seed 0, fold 1",
        "seed 1, fold 1",
    ]
    with np.load(out / "relevance.npz") as maps:
        assert maps["ensemble"].shape == maps["ensemble_sd"].shape == (40, 64, 64)
        assert len(set(maps["case_id"])) == 40
        case = str(maps["case_id"][0])
        single = [own_map(multirun(grid, "cycle_am_small") / str(k), case) for k in (0, 2)]
        assert maps["ensemble"][0] == pytest.approx(np.mean(single, axis=0), abs=1e-6)
    page = (out / "report.html").read_text()
    assert "Every run explains a classifier of its own" in page
    assert "R is drawn from −0.3 to 0.3 (420 HU)" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def own_map(run: Path, case: str) -> np.ndarray:
    with np.load(run / "evaluation/relevance.npz") as kept:
        return kept["cycle_am"][list(kept["case_id"]).index(case)]


def test_an_evaluation_that_is_up_to_date_is_not_made_again(grid, tmp_path):
    aggregated(grid, tmp_path / "first")
    files = [multirun(grid, "cycle_am_small") / str(k) / "evaluation/metrics.json" for k in range(4)]
    before = [file.stat().st_mtime_ns for file in files]
    later = files[0].parents[1] / "best.ckpt"
    os.utime(later, ns=(before[0] + 1, before[0] + 1))
    aggregated(grid, tmp_path / "second")
    changed = [file.stat().st_mtime_ns != old for file, old in zip(files, before, strict=True)]
    assert changed == [True, False, False, False]


def test_classifiers_have_no_maps_but_figures(grid, tmp_path):
    out = aggregated(grid, tmp_path, tiny=CLASSIFIER)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["runs/classifier/auc"]["n"] == 4
    assert metrics["patients/auc_within_folds"]["n"] == 40
    assert not (out / "relevance.npz").exists()


def test_unfinished_runs_are_named_and_left_out(grid, tmp_path, capsys):
    unfinished = multirun(grid, "cycle_am_small") / "9"
    (unfinished / ".hydra").mkdir(parents=True)
    (unfinished / CONFIG).write_text((multirun(grid, "cycle_am_small") / "0" / CONFIG).read_text())
    try:
        out = aggregated(grid, tmp_path)
    finally:
        (unfinished / CONFIG).unlink()
    assert f"left out, not finished: {unfinished}" in capsys.readouterr().out
    assert "Left out, not finished" in (out / "report.html").read_text()
    assert json.loads((out / "metrics.json").read_text())["runs/classifier/auc"]["n"] == 4


def test_what_does_not_belong_together_is_refused(grid, tmp_path):
    home = multirun(grid, "cycle_am_small")
    other = job(
        CYCLE_AM, tmp_path, 0, 1, 0, "model.lr=0.1", f"classifier.runs={multirun(grid, 'classifier')}"
    )
    for given, why in (
        ([home / "0", other], "only seed and data.fold may differ"),
        ([multirun(grid, "classifier") / "0", home / "1"], "has name="),
        ([tmp_path / "nothing"], "there is no run"),
    ):
        with pytest.raises(UserError, match=why):
            aggregated(grid, tmp_path / "out", f"runs=[{','.join(map(str, given))}]")
    split = home / "2" / SPLIT
    kept = split.read_text()
    split.write_text(kept.replace(json.loads(kept)["fingerprint"], "0" * 16))
    try:
        with pytest.raises(UserError, match=r"trained on other data \(fingerprints"):
            aggregated(grid, tmp_path / "out")
    finally:
        split.write_text(kept)


def test_the_same_seed_and_fold_twice_is_refused(grid, tmp_path):
    where = f"classifier.runs={multirun(grid, 'classifier')}"
    twin = job(CYCLE_AM, tmp_path, 0, 0, 0, where)
    given = f"runs=[{multirun(grid, 'cycle_am_small')},{twin}]"
    with pytest.raises(UserError, match=r"are both seed=0 data.fold=0"):
        aggregated(grid, tmp_path / "out", given)


def test_without_a_multirun_the_command_is_named(tmp_path):
    with pytest.raises(UserError, match=r"train\.py -m experiment=classifier,cycle_am_small seed=0,1,2"):
        aggregated(tmp_path, tmp_path / "out")
