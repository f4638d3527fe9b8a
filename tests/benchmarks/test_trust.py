import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.trust import main, print_inputs, spread, unseen
from benchmarks.wrong_inputs import (
    Wrong,
    mr_like,
    noise,
    photographs,
    real_lung,
    real_windows,
    rewindowed,
    without_lesion,
)
from cycle_am.data.phantom.cohort import cohort, render_cases
from cycle_am.errors import UserError
from cycle_am.model.explanation import Explanation, Probabilities
from cycle_am.model.trust import Trust
from cycle_am.task import Task


@dataclasses.dataclass
class Said:
    """A model that doubts every bright image; facts: whom it saw."""

    facts: dict
    task: Task = dataclasses.field(default_factory=Task)

    def explain(self, images: torch.Tensor) -> Explanation:
        x = images[:, 0].numpy()
        verdicts = tuple(
            Trust("doubtful" if one.mean() > 0.5 else "usable", (), {"distance": 1.0}) for one in x
        )
        low, high = np.zeros(len(x), np.float32), np.ones(len(x), np.float32)
        p = Probabilities(high, low, np.where(np.arange(len(x)) == 0, low, high))
        return Explanation(x, x, x, p, p, verdicts, (), self)


def test_another_window_is_what_scaling_by_it_gives():
    hounsfield = torch.tensor([-1000.0, -160, 40, 240, 400])
    images = ((hounsfield + 1000) / 1400).reshape(1, 1, 1, 5)
    assert rewindowed(images, -160, 240).flatten().tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-5)


def test_mr_like_contrast_has_soft_tissue_brightest():
    levels = torch.tensor([0.05, 0.55, 1.0]).reshape(3, 1, 1, 1).expand(3, 1, 64, 64)
    air, tissue, bone = mr_like(levels).mean((1, 2, 3)).tolist()
    assert tissue > bone + 0.4 > air + 0.4


def test_noise_and_photographs_are_images_in_range():
    for images in (noise(6), photographs(6)):
        assert images.shape == (6, 1, 64, 64)
        assert images.min() >= 0
        assert images.max() <= 1
        assert images.std((1, 2, 3)).min() > 0


def test_without_its_lesion_only_the_middle_of_a_window_changes():
    lesion = min(cohort()[:40], key=lambda one: abs(one.diameter_mm - 12))
    with_it = render_cases([lesion], 45.0, 0).window()[0]
    change = (with_it - without_lesion([lesion], 45.0)).abs()[0, 0]
    assert change[28:36, 28:36].mean() > 0.2
    assert change[:8].max() < 0.05


def test_cases_are_of_patients_whom_the_model_did_not_see():
    lesions = cohort()
    kept = lesions[0].patient_id
    seen = sorted({lesion.patient_id for lesion in lesions} - {kept})
    found, cases = unseen(Said({"patients": {"public": seen}}))
    assert {lesion.patient_id for lesion in found} == {kept}
    assert set(cases.patient_id) == {kept}
    with pytest.raises(UserError, match="names no patient"):
        unseen(Said({"patients": {"public": []}}))


def test_cases_are_spread_evenly():
    assert spread(10, 3).tolist() == [0, 4, 9]
    assert spread(3, 10).tolist() == [0, 1, 2]


def test_the_table_counts_verdicts(capsys):
    model = Said({})
    right = model.explain(torch.tensor([0.9, 0.9, 0.1, 0.1]).reshape(4, 1, 1, 1).expand(4, 1, 64, 64))
    print_inputs("Here", model, right, {"bright": Wrong(torch.ones(3, 1, 64, 64), False)})
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| right: all | 4 | 50.0% | 50.0% | 0.0% | 50.0% |"
    assert lines[3] == "| right: good | 3 | 66.7% | 33.3% | 0.0% | 33.3% |", "the first does not convince"
    assert lines[4] == "| wrong: bright (never learned) | 3 | 0.0% | 100.0% | 0.0% | 100.0% |"


def test_a_model_that_is_not_there_is_one_line(capsys):
    assert main(["--model", "nowhere"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_real_windows_and_lung(real_data):
    windows = real_windows(real_data / "real_nodules", 45.0)
    lung = real_lung(real_data / "lidc_dicom", 4, 45.0)
    assert windows.shape == (59, 1, 64, 64)
    assert lung.shape == (4, 1, 64, 64)
    assert lung[..., 30:34, 30:34].max() < 0.3, "-580 HU: nothing but lung in the middle"
