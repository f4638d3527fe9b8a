"""The plan: what is asked is what is simulated, files and words agree, bad settings are named."""

import re

import pandas as pd
import pytest
from matplotlib.image import imread

from cycle_am.errors import UserError
from cycle_am.reader_study import paper
from cycle_am.reader_study.planning import calibration
from cycle_am.reader_study.planning.plan import plan
from cycle_am.reader_study.planning.planning import calculate, with_effect
from cycle_am.reader_study.planning.power import power_table
from cycle_am.reader_study.planning.readers import expected_rating
from cycle_am.reader_study.planning.report import sentences
from tests.helpers import composed

SMALL = ["action=plan", "study.plan.studies=100", "study.plan.readers=[6,12]", "study.plan.cases=[8,24]"]


def config(folder, *overrides):
    return composed([*SMALL, *overrides], folder, config="study")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("cycle_am.reader_study.planning.planning.CHECKS", 100)
    monkeypatch.setattr("cycle_am.reader_study.planning.planning.PREFERENCES", (0.5,))


def test_files_of_a_plan(tmp_path, quick, capsys):
    page = plan(config(tmp_path))
    folder = tmp_path / "studies" / "study_plan"
    assert page == folder / "plan.html"
    table = pd.read_csv(folder / "plan.csv")
    assert len(table) == 2 * 2 * 2
    assert set(pd.read_csv(folder / "false_positives.csv")["alike"]) == {"every lesion", "mean over lesions"}
    assert len(pd.read_csv(folder / "paper_design.csv")) == 3 * 2
    assert imread(folder / "power.png").shape[1] > 1000
    assert "http" not in re.sub("data:image[^>]*", "", page.read_text())
    assert not (tmp_path / "studies" / "study").exists()  # create wants that folder empty
    printed = capsys.readouterr().out
    row = table[(table["test"] == "readers") & (table["cases"] == 24) & (table["readers"] == 12)].iloc[0]
    assert (
        f"With 24 lesions, 12 readers detect a difference of 1.89 points with a power of {100 * row.power:.0f}"
        in printed
    )


def test_sentence_says_so_where_no_number_of_readers_is_enough(tmp_path, quick):
    made = calculate(config(tmp_path, "study.plan.effect=0.2").study.plan, seed=0)
    assert made.power["power"].max() < 0.4
    lines = [line for line in sentences(made) if line.startswith("With")]
    assert len(lines) == 4
    assert all("even 12 readers detect a difference of 0.20 points only" in line for line in lines)


def test_effect_is_planted_between_the_reference_and_the_best_other_method():
    like_paper = calibration.published().only("intuitive_validity")
    model, effect, rivals = with_effect(like_paper, 2.5)
    rated = dict(zip(model.methods, expected_rating(model.means, model.spread)[:, 0], strict=True))
    assert (effect, rivals) == (2.5, ["deep_taylor", "deep_shap", "lrp"])
    assert rated["cycle_am"] - rated["deep_taylor"] == pytest.approx(2.5)
    assert rated["lrp"] == pytest.approx(paper.RAW["lrp"]["intuitive_validity"].mean)
    model, effect, _ = with_effect(like_paper, "paper")
    assert effect == pytest.approx(1.92 + 1.52)
    assert model is like_paper


def test_more_effect_more_power_and_all_is_harder_than_best():
    def power(effect, count):
        model, _, rivals = with_effect(calibration.published().only("image_quality"), effect)
        return power_table(model, "cycle_am", rivals[:count], [8], [24], studies=200)["power"].mean()

    assert power(2.0, 3) < power(2.0, 1) < power(3.0, 1)


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("criterion=beauty", "choose of intuitive_validity"),
        ("against=lrp", "choose best or all"),
        ("effect=6", "give less than 4.85"),
        ("effect=huge", "give points"),
        ("readers=[1,4]", "numbers from 2"),
        ("cases=[]", "numbers from 2"),
        ("alpha=1", "between 0 and 1"),
        ("power=80", "between 0 and 1"),
        ("preference=-1", "share from 0 to 1"),
        ("studies=10", "100 or more"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, setting, remedy):
    with pytest.raises(UserError, match=remedy):
        plan(config(tmp_path, f"study.plan.{setting}"))
    assert not (tmp_path / "studies").exists()
