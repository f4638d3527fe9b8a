"""What is drawn: only correctly classified cases with maps of all methods, balanced; maps turned towards malignant."""

import numpy as np
import pytest

from cycle_am.errors import UserError
from cycle_am.reader_study.design.material import draw_cases, draw_repeats, read_material
from tests.cycle_am.reader_study.comparison import METHODS, write_comparison


def rng(seed=0):
    return np.random.default_rng(seed)


def test_maps_are_turned_towards_malignant(tmp_path):
    written = write_comparison(tmp_path)
    found = read_material(tmp_path, METHODS)
    malignant = written["p_malignant"] > 0.5
    for name in METHODS:
        assert found.maps[name][malignant] == pytest.approx(written[name][malignant])
        assert found.maps[name][~malignant] == pytest.approx(-written[name][~malignant])
    assert found.fov_mm == 45


def test_the_draw_is_balanced_correct_and_fair(tmp_path):
    write_comparison(tmp_path, count=20, wrong=4)  # leaves 7 benign and 7 malignant: 4..17
    material = read_material(tmp_path, METHODS)
    drawn = [draw_cases(material, (3, 2), rng(seed)) for seed in range(700)]
    assert all(material.label[one].tolist() == [0, 0, 0, 1, 1] for one in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=20)
    assert not counts[[0, 1, 2, 3, 18, 19]].any()
    assert counts[4:18:2] == pytest.approx(300, abs=70)
    assert counts[5:18:2] == pytest.approx(200, abs=60)


def test_a_case_without_a_map_is_not_drawn(tmp_path):
    write_comparison(tmp_path)
    material = read_material(tmp_path, METHODS)
    material.maps["lrp"][10] = np.nan
    assert material.usable().sum() == 40 - 4 - 2 - 1
    assert not material.usable()[10]


def test_too_few_cases_are_counted(tmp_path):
    write_comparison(tmp_path, count=20)
    with pytest.raises(UserError, match=r"only 7 malignant cases of 9 .* 8 are wanted.*malignant=7"):
        draw_cases(read_material(tmp_path, METHODS), (7, 8), rng())


def test_repeats_are_benign_and_malignant_by_turns():
    for repeats, benign in ((2, 1), (3, 2), (8, 4)):
        places = draw_repeats((12, 12), repeats, rng())
        assert len(set(places)) == repeats
        assert sum(place < 12 for place in places) == benign
    assert sorted(draw_repeats((1, 4), 3, rng()))[0] == 0


def test_a_comparison_of_other_classes_is_refused(tmp_path):
    write_comparison(tmp_path)
    with np.load(tmp_path / "images.npz") as stored:
        pictures = dict(stored)
    np.savez(tmp_path / "images.npz", **pictures, classes=np.array(["benign", "malignant"]))
    assert read_material(tmp_path, METHODS).fov_mm == 45
    np.savez(tmp_path / "images.npz", **pictures, classes=np.array(["red", "white"]))
    with pytest.raises(
        UserError, match="explains red or white; a study asks its readers about benign or malignant"
    ):
        read_material(tmp_path, METHODS)


def test_what_does_not_fit_is_an_error(tmp_path):
    with pytest.raises(UserError, match="evaluation=compare"):
        read_material(tmp_path, METHODS)
    write_comparison(tmp_path, methods=("lrp",))
    with pytest.raises(UserError, match="no maps of deep_shap; there are lrp"):
        read_material(tmp_path, ("lrp", "deep_shap"))
    relevance = (tmp_path / "relevance.npz").read_bytes()
    write_comparison(tmp_path, count=30)
    (tmp_path / "relevance.npz").write_bytes(relevance)
    with pytest.raises(UserError, match="different cases"):
        read_material(tmp_path, ("lrp",))
    (tmp_path / "images.npz").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        read_material(tmp_path, ("lrp",))
