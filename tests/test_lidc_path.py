"""The whole LIDC path on a DICOM tree with flaws: prepare, train the classifier and CycleAM, evaluate."""

from __future__ import annotations

import csv
import json

import pytest

from cycle_am.app.tasks.evaluate import evaluate
from cycle_am.app.tasks.train import train
from cycle_am.data.phantom.dicom import Flaws, write_dicom_tree
from tests.helpers import composed

NARROW = ["model.generator.channels=[2,2,2,2]", "model.discriminator.channels=[2,2,2,2]", "data.batch_size=4"]
ONE_EPOCH = ["trainer=cpu", "trainer.max_epochs=1", "trainer.precision=32-true", "~logger"]
QUICK = ["evaluation.resamples=50", "+evaluation.progress=false"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_prepare_train_evaluate(tmp_path):
    written = write_dicom_tree(tmp_path / "LIDC-IDRI", n_patients=16, seed=0, flaws=Flaws(1, 1, 1))
    flawed = [row for row in written.to_dict("records") if row["state"] in ("absent", "cut short")]
    assert len(flawed) == 2
    lidc = ["data=lidc", f"data.dicom_root={tmp_path / 'LIDC-IDRI'}", "data.val_fraction=0.3"]

    companions = "companions={selector:{seed:1},judge:{seed:2}}"
    small = ["experiment=classifier", "model.net.width=2", "data.batch_size=4", companions]
    train(composed([*small, *lidc, *ONE_EPOCH], tmp_path, "a"))
    train(
        composed(
            ["experiment=cycle_am_small", *NARROW, *lidc, *ONE_EPOCH, *classifiers(tmp_path)], tmp_path, "b"
        )
    )

    run = f"run={tmp_path}/runs/cycle_am_small/blobs/b"
    options = [
        *QUICK,
        "+evaluation.realism=false",
        run,
        f"out_dir={tmp_path}/out",
        *NARROW[:2],
        *classifiers(tmp_path),
    ]
    out = evaluate(composed(["experiment=cycle_am_small", *lidc, *options], tmp_path, config="evaluate"))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["localisation/relevance_mass"]["n"] > 0
    assert (out / "report.html").stat().st_size > 10_000

    (skipped,) = tmp_path.rglob("skipped.csv")
    with skipped.open() as file:
        reasons = {row["lesion_id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) & set(written.lesion_id) == {row["lesion_id"] for row in flawed}
    others = {reason for lesion, reason in reasons.items() if lesion not in set(written.lesion_id)}
    assert len(others) == 1  # the scans that the tree does not hold
    assert len({reasons[row["lesion_id"]] for row in flawed} | others) == 3


def classifiers(folder) -> list[str]:
    best = folder / "runs/classifier/blobs/a/best.ckpt"
    return [f"classifier.ckpt={best}"]
