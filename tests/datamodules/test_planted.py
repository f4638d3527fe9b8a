import dataclasses

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from cycle_am.contract import check_batch
from cycle_am.data.phantom.cohort import cohort, render_window
from cycle_am.data.phantom.scene import ABSENT, Finding, draw_scene
from cycle_am.errors import UserError
from datamodules.planted import (
    CORNER,
    CUES,
    MARKER,
    TRUTH_PIXELS,
    PlantedDataModule,
    balanced_labels,
    burn_in,
    neutral,
    plant_cases,
    render_pair,
    round_finding,
    truth,
    with_lobes,
)
from tests.datamodules.test_phantom import disc

RADIUS = 6.0  # mm, of the lesion that is looked at
PIXEL = 45.0 / 64


@pytest.fixture(scope="module")
def pairs() -> dict[str, np.ndarray]:
    """Without and with each cue: (2, 80, 80) of a ball of 12 mm."""
    return {cue: render_pair(disc(RADIUS), cue, 45.0, 8, 0) for cue in CUES}


@pytest.fixture(scope="module")
def lesions():
    """A spread of the cohort's larger lesions."""
    return [lesion for lesion in cohort() if lesion.diameter_mm >= 8][::25]


@pytest.fixture(scope="module")
def cases(lesions):
    return plant_cases(lesions, "calcification", 45.0, 8)


def from_middle() -> np.ndarray:
    """(80, 80) distance in mm from the ball's middle, which lies between the four central pixels."""
    rows, columns = np.indices((80, 80)) - 39.5
    return np.hypot(rows, columns) * PIXEL


def test_labels_are_balanced_within_every_stratum_of_size_and_malignancy():
    rng = np.random.default_rng(5)
    malignant = rng.integers(2, size=600)
    diameter = rng.gamma(4, 2, 600) + 4 * malignant
    label = balanced_labels(diameter, malignant, 0)
    for value in (0, 1):
        inside = malignant == value
        by_size = label[inside][np.argsort(diameter[inside])]
        assert np.abs(np.add.accumulate(by_size - 0.5)).max() <= 1
    assert abs(roc_auc_score(label, diameter) - 0.5) < 0.02
    np.testing.assert_array_equal(label, balanced_labels(diameter, malignant, 0))
    other = balanced_labels(diameter, malignant, 1)
    assert abs(spearmanr(label, other).statistic) < 0.15
    assert len(balanced_labels(diameter[:7], malignant[:7], 0)) == 7


def test_truth_is_where_the_renderings_differ_most_of_either_sign():
    without = np.full((80, 80), 0.5, np.float32)
    planted = without.copy()
    planted[10, 10:20] += 0.4
    planted[20, 10:20] -= 0.2
    planted[30, 10:20] += 0.05  # an eighth of the largest
    mask = truth(without, planted)
    assert mask.dtype == np.float32
    assert mask[10].sum() == mask[20].sum() == 10
    assert mask.sum() == 20
    np.testing.assert_array_equal(mask, truth(planted, without))


def test_truth_is_never_a_lone_pixel():
    without, planted = np.zeros((2, 80, 80), np.float32)
    planted[40, 40:50] = [0.5, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02]
    assert truth(without, planted).sum() == TRUTH_PIXELS


@pytest.mark.parametrize("cue", CUES)
def test_the_two_renderings_differ_by_the_cue_alone(cue, pairs):
    """The same noise and surroundings: equal away from the cue, clearly different at it."""
    without, planted = pairs[cue]
    difference, mask = np.abs(planted - without), truth(without, planted) > 0
    assert difference.max() > 0.15
    assert mask.sum() >= 15
    near = binary_dilation(mask, iterations=5)
    assert difference[~near].max() < 0.05 * difference.max()
    assert np.array_equal(without[:12], planted[:12])  # 19 mm and more from the middle
    assert without[:12].std() > 0.01


def test_each_truth_lies_where_its_cue_is(pairs):
    middle = from_middle()
    masks = {cue: truth(*pair) > 0 for cue, pair in pairs.items()}
    assert middle[masks["calcification"]].max() < RADIUS
    assert np.quantile(middle[masks["halo"]], 0.02) > RADIUS - 1.5
    assert middle[masks["halo"]].max() < RADIUS + 6.5
    assert np.quantile(middle[masks["spicules"]], 0.02) > RADIUS - 1.5
    assert middle[masks["spicules"]].max() < RADIUS + 8.5
    assert 0.6 * RADIUS < np.median(middle[masks["lobulation"]]) < 1.4 * RADIUS
    turns = np.arctan2(*(np.argwhere(masks["spicules"]) - 39.5).T)
    assert np.histogram(turns, 6, (-np.pi, np.pi))[0].min() > 0  # all around


def test_cues_look_as_they_should(pairs):
    middle = from_middle()
    signed = {cue: planted - without for cue, (without, planted) in pairs.items()}
    assert pairs["calcification"][1][middle < 1.5].mean() > 0.95
    glass = pairs["halo"][1][(middle > RADIUS + 1) & (middle < RADIUS + 2)].mean()
    assert pairs["halo"][0][middle > RADIUS + 1].mean() + 0.05 < glass < pairs["halo"][0][middle < 4].mean()
    assert np.abs(signed["halo"][middle < RADIUS - 2]).max() < 0.03
    for cue in ("spicules", "halo", "marker"):
        assert signed[cue].min() > -0.15
    assert signed["lobulation"].min() < -0.15
    assert signed["lobulation"].max() > 0.15


def test_lobes_keep_the_area_of_the_round_outline():
    for seed in range(6):
        scene = draw_scene(round_finding(disc(8.0)), seed)
        middle = np.abs(scene.finding.z).argmin()
        lobed, plain = (
            (with_lobes(scene, np.random.default_rng(seed), depth).distance > 0).sum((1, 2))
            for depth in (1, 0)
        )
        assert lobed[middle] == pytest.approx(plain[middle], rel=0.04)
        areas = (scene.finding.fraction >= 0.5).sum((1, 2))
        np.testing.assert_allclose(plain, areas, atol=0.04 * areas.max())


def test_the_round_finding_has_the_outlines_area_around_the_midpoint():
    item = dataclasses.replace(disc(5.0), centre=(0.3, -0.2))
    item.fraction[:, :, : item.fraction.shape[2] // 2] = 0
    disc_like = round_finding(item)
    np.testing.assert_array_equal(disc_like.fraction.sum((1, 2)), item.fraction.sum((1, 2)))
    k = disc_like.fraction.sum((1, 2)).argmax()
    centroid = np.argwhere(disc_like.fraction[k]).mean(0) + disc_like.origin
    np.testing.assert_allclose(centroid, item.centre, atol=0.25)


def test_no_rating_reaches_the_pixels():
    rated = disc(
        RADIUS, texture=2.0, margin=1.0, spiculation=5.0, lobulation=5.0, calcification=(3, 3), cavity=1.0
    )
    plain = neutral(disc(RADIUS))
    changed = [f.name for f in dataclasses.fields(Finding) if f.name not in ("fraction", "z")]
    assert all(getattr(neutral(rated), name) == getattr(plain, name) for name in changed)
    assert plain.calcification == (ABSENT,)
    np.testing.assert_array_equal(
        render_pair(rated, "spicules", 45.0, 8, 0), render_pair(disc(RADIUS), "spicules", 45.0, 8, 0)
    )
    np.testing.assert_array_equal(
        render_pair(rated, "halo", 45.0, 8, 0)[0], render_window((plain, 0), 45.0, 8, 0)
    )


def test_the_marker_is_whole_in_every_shifted_window():
    marked = burn_in(np.zeros((80, 80), np.float32), 8)
    for top in range(17):
        for left in range(17):
            assert marked[top : top + 64, left : left + 64].sum() == MARKER.sum()
    window = marked[8:72, 8:72]
    assert np.argwhere(window).min(0).tolist() == [CORNER, 64 - CORNER - MARKER.shape[1]]
    np.testing.assert_array_equal(burn_in(np.zeros((64, 64), np.float32), 0), window)


def test_cases_are_the_drawn_ones_and_their_twins(lesions, cases):
    count = len(lesions)
    drawn, twins = cases.select(np.arange(count)), cases.select(np.arange(count, 2 * count))
    np.testing.assert_array_equal(drawn.label, 1 - twins.label)
    np.testing.assert_array_equal(drawn.mask, twins.mask)
    assert abs(drawn.label.sum() - count / 2) <= 1
    assert drawn.case_id.tolist() == [lesion.lesion_id for lesion in lesions]
    np.testing.assert_allclose(drawn.diameter_mm, [lesion.diameter_mm for lesion in lesions], rtol=1e-6)
    brighter = [
        (one - other)[mask > 0].mean()
        for one, other, mask in zip(drawn.image, twins.image, drawn.mask, strict=True)
    ]
    np.testing.assert_array_equal(np.array(brighter) > 0, drawn.label == 1)


def test_lesions_whose_cue_cannot_be_seen_are_left_out(lesions, monkeypatch):
    hidden = lesions[1].lesion_id

    def blind(item, **arguments) -> np.ndarray:
        pair = render_pair(item, **arguments)
        return pair[[0, 0]] if item.lesion_id == hidden else pair

    monkeypatch.setattr("datamodules.planted.render_pair", blind)
    kept = plant_cases(lesions[:5], "calcification", 45.0, 8)
    expected = [lesion.lesion_id for lesion in lesions[:5] if lesion.lesion_id != hidden]
    assert kept.case_id[:4].tolist() == expected
    assert kept.label.sum() == 4


def test_rendering_is_deterministic_and_depends_on_the_seed(lesions, cases, monkeypatch):
    monkeypatch.setattr("cycle_am.data.phantom.cohort.POOL_FROM", 1)
    pooled = plant_cases(lesions, "calcification", 45.0, 8, processes=2)
    assert pooled.digest() == cases.digest()
    assert plant_cases(lesions[:4], "calcification", 45.0, 8, seed=1).digest() != cases.digest()


@pytest.fixture
def few(monkeypatch, lesions):
    small = [lesion for lesion in cohort() if lesion.diameter_mm < 8][:2]
    monkeypatch.setattr("datamodules.planted.cohort", lambda: [*small, *lesions])


def test_module_splits_by_patient_and_gives_batches(few, lesions, tmp_path):
    data = PlantedDataModule(cue="marker", cache_dir=tmp_path, batch_size=4, processes=1, test_fraction=0.4)
    data.prepare_data()
    data.setup()
    train, rest = data.train_cases, [*data.val_cases.case_id, *data.test_cases.case_id]
    assert not [name for name in rest if name.endswith("+1")]
    own = [name for name in train.case_id if not name.endswith("+1")]
    assert sorted(train.case_id) == sorted([*own, *(f"{name}+1" for name in own)])
    assert len(own) + len(rest) == len(lesions)
    assert train.label.mean() == 0.5
    assert not set(train.patient_id) & {*data.val_cases.patient_id, *data.test_cases.patient_id}
    batch = next(iter(data.train_dataloader()))
    check_batch(batch)
    assert set(np.unique(batch["mask"])) == {0.0, 1.0}


def test_preparation_is_read_back_from_the_cache_of_its_cue(few, tmp_path, monkeypatch):
    first = PlantedDataModule(cue="marker", cache_dir=tmp_path, processes=1).build_cases()
    monkeypatch.setattr(
        "datamodules.planted.cohort", lambda: pytest.fail("rendered although it was prepared before")
    )
    again = PlantedDataModule(cue="marker", cache_dir=tmp_path, processes=1)
    assert again.build_cases().digest() == first.digest()
    settings = [PlantedDataModule(cue=cue)._settings() for cue in CUES]
    assert all(one != other for i, one in enumerate(settings) for other in settings[:i])


def test_an_unknown_cue_names_the_known_ones():
    with pytest.raises(
        UserError, match=r"data.cue=horns .*spicules, calcification, lobulation, halo, marker"
    ):
        PlantedDataModule(cue="horns")
