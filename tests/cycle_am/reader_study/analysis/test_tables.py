"""Adjusted ratings and ranks by hand; intervals and where the paper's come from, on simulated answers."""

import numpy as np
import pytest

from cycle_am.reader_study import paper
from cycle_am.reader_study.analysis import tables
from cycle_am.reader_study.analysis.ratings import assemble
from cycle_am.reader_study.planning.readers import expected_rating
from tests.cycle_am.reader_study.trials import EFFECTS, trial_scores, trial_table

#: Two readers, one case, three methods, one criterion.
BY_HAND = np.array([[1.0, 2, 3], [1, 4, 1]])[:, None, :, None]


def test_adjustments_by_hand():
    # Over all six answers of the case: mean 2, squares 1 0 1 1 4 1, so SD = sqrt(8 / 6).
    assert tables.centred(BY_HAND)[:, 0, :, 0] == pytest.approx(np.array([[-1, 0, 1], [-1, 2, -1]]))
    assert tables.z_adjusted(BY_HAND)[:, 0, :, 0] == pytest.approx(
        np.array([[-1, 0, 1], [-1, 2, -1]]) / np.sqrt(8 / 6)
    )


def test_ranks_by_hand_with_ties_and_a_missing_answer():
    assert tables.ranks(BY_HAND)[:, 0, :, 0] == pytest.approx(np.array([[3, 2, 1], [2.5, 1, 2.5]]))
    lacking = BY_HAND.copy()
    lacking[0, 0, 1, 0] = np.nan
    found = tables.ranks(lacking)[:, 0, :, 0]
    assert np.isnan(found[0]).all()
    assert found[1] == pytest.approx([2.5, 1, 2.5])


def test_adjustments_of_equal_and_of_no_answers():
    same = np.full((3, 2, 4, 1), 2.0)
    same[:, 1] = np.nan
    assert (tables.z_adjusted(same)[:, 0] == 0).all()
    assert np.isnan(tables.z_adjusted(same)[:, 1]).all()


def test_z_values_of_each_case_have_mean_0_and_spread_1():
    z = tables.z_adjusted(trial_scores())
    assert z.mean((0, 2)) == pytest.approx(np.zeros((24, 3)), abs=1e-12)
    assert z.std((0, 2)) == pytest.approx(np.ones((24, 3)))


def test_centred_means_are_raw_means_less_the_mean_of_the_methods():
    ratings = assemble(trial_table(trial_scores()))
    found = tables.means(ratings, resamples=50).groupby(["scale", "criterion"])["mean"]
    for criterion in ratings.criteria:
        raw, centred, rank = (found.get_group((scale, criterion)) for scale in ("raw", "centred", "rank"))
        assert centred.to_numpy() == pytest.approx((raw - raw.mean()).to_numpy())
        assert rank.sum() == pytest.approx(10)


def test_mean_and_interval_over_readers_by_hand():
    # Readers' means 1, 3, and none: the third gave no answer for this method.
    values = np.array([[0.0, 2], [3, np.nan], [np.nan, np.nan]])
    row = tables.mean_row(values, resamples=4000, seed=0)
    assert (row["mean"], row["readers"], row["answers"]) == (2, 2, 3)
    # Their standard error is 1, and t(1) = 12.706 bounds 95 %.
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((2 - 12.706, 2 + 12.706), abs=0.001)
    assert np.isnan(tables.t_interval(values[0, :1])).all()


def test_published_intervals_are_as_wide_as_those_of_as_many_answers_as_readers():
    """Simulated readers with the paper's means and agreement: means of eight answers vary as the published intervals
    say, the mean over readers of all 192 answers far less."""
    scores = trial_scores(effects=EFFECTS, severity=0.3, difficulty=0.8, taste=0.8, noise=1.3)
    rows = [tables.mean_row(scores[:, :, m, 0], 2000, 0) for m in range(4)]
    published = [cell.high - cell.low for cell in (row["intuitive_validity"] for row in paper.RAW.values())]
    of_answers = np.mean([row["answers_high"] - row["answers_low"] for row in rows])
    over_readers = np.mean([row["ci_high"] - row["ci_low"] for row in rows])
    assert of_answers == pytest.approx(np.mean(published), rel=0.2)
    assert over_readers < 0.6 * np.mean(published)
    # Bounds of means of eight whole numbers are eighths.
    bounds = np.array([(row["answers_low"], row["answers_high"]) for row in rows]) * 8
    assert bounds == pytest.approx(np.rint(bounds), abs=0.2)


@pytest.mark.parametrize("readers", [2, 8])
def test_interval_over_readers_covers_the_mean_of_all_readers(readers):
    """As often as it says, of readers whose whole ratings have the paper's spread."""
    rng, expected = np.random.default_rng(0), expected_rating(np.array([-1.5]), np.array([1.3]))[0]
    hits = []
    for _ in range(1500):
        own = rng.normal(-1.5, 1.0, (readers, 1)) + rng.normal(0, np.sqrt(1.3**2 - 1), (readers, 24))
        row = tables.mean_row(np.clip(np.rint(own), -4, 4), resamples=2, seed=0)
        hits.append(row["ci_low"] <= expected <= row["ci_high"])
    assert np.mean(hits) == pytest.approx(0.95, abs=0.017)  # three standard errors


def test_questions_with_every_answer_are_a_scale_of_their_own_where_some_lack_one():
    scores = trial_scores(readers=3, cases=4)
    full = assemble(trial_table(scores))
    assert "matched" not in tables.scales(full)
    scores[0, 0, 1] = np.nan
    lacking = assemble(trial_table(scores))
    assert tables.fair(lacking) == "matched"
    found = tables.means(lacking, resamples=2).set_index(["scale", "method", "criterion"])["mean"]
    others = np.array([scores[0, 1:, 0, 2].mean(), scores[1, :, 0, 2].mean(), scores[2, :, 0, 2].mean()])
    assert found["matched", "cycle_am", "image_quality"] == pytest.approx(others.mean())
    assert found["raw", "cycle_am", "image_quality"] == pytest.approx(scores[:, :, 0, 2].mean())


def test_benign_and_malignant_apart():
    scores = np.zeros((3, 4, 2, 1))
    scores[:, 1::2] = 2  # odd cases are malignant
    ratings = assemble(trial_table(scores))
    found = tables.by_label(ratings, resamples=20)
    raw = found[found["scale"] == "raw"]
    assert raw[raw["label"] == 0]["mean"].tolist() == [0, 0]
    assert raw[raw["label"] == 1]["mean"].tolist() == [2, 2]
    assert tables.by_label(assemble(trial_table(scores).drop(columns="label"))).empty
