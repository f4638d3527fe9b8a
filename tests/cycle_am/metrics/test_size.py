"""Diameter from the image and size-matched pairs."""

import numpy as np
import pytest

from cycle_am.metrics import scores, size
from tests.cycle_am.metrics.fakes import make_cases


@pytest.mark.parametrize("radius", [4, 7, 12])
def test_a_disc_is_measured_beside_a_chest_wall(radius):
    rows, columns = np.indices((64, 64)) - 31.5
    image = np.where(np.hypot(rows, columns) <= radius, 0.7, 0.1)
    image[:, 55:] = 0.75
    assert size.estimate_diameter(image, 0.7) == pytest.approx(2 * radius * 0.7, rel=0.08)


def test_real_nodules_are_measured_about_as_readers_outline_them(real_data):
    sitk = pytest.importorskip("SimpleITK")
    folder = real_data / "real_nodules" / "volumes"
    estimated, outlined = [], []
    for path in sorted(folder.glob("*_ct.nii.gz")):
        ct, mask = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(path).replace("_ct", f"_{k}")))[25]
            for k in ("ct", "mask")
        )
        estimated.append(size.estimate_diameter(np.clip((ct + 1000) / 1400, 0, 1), 1.0))
        outlined.append(2 * np.sqrt((mask > 0).sum() / np.pi))
    assert np.corrcoef(np.log(estimated), np.log(outlined))[0, 1] > 0.85


def test_known_diameters_are_used_and_missing_ones_estimated_for_all():
    cases = make_cases()
    assert size.diameters(cases)[1] is False
    estimated, was_estimated = size.diameters(make_cases(diameters=False))
    assert was_estimated
    assert np.corrcoef(estimated, cases.diameter_mm)[0, 1] > 0.95


def test_matched_pairs_leave_a_size_rule_without_power():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    diameter = np.concatenate([rng.uniform(4, 16, 100), rng.uniform(8, 24, 100)])
    pairs = size.size_matched_pairs(diameter, labels)
    malignant, benign = diameter[labels == 1], diameter[labels == 0]
    gap = np.abs(malignant[:, None] - benign) / np.maximum(malignant[:, None], benign)
    assert gap[pairs].max() < 0.1 <= gap[~pairs].min()
    ones = np.ones((1, 200))
    assert scores.auc(diameter, labels)(ones) > 0.8
    assert scores.auc(diameter, labels, pairs)(ones) == pytest.approx(0.5, abs=0.1)
    wins = [(malignant[i] > benign[j]) + 0.5 * (malignant[i] == benign[j]) for i, j in np.argwhere(pairs)]
    assert scores.auc(diameter, labels, pairs)(ones) == pytest.approx(np.mean(wins))
