"""Statistics over runs: against hand-worked cases and scipy; maps over seeds: against maps with a known answer."""

import numpy as np
import pytest
from scipy import stats

from cycle_am.app.tasks.aggregate import Member, doubts_of
from cycle_am.estimate import plain
from cycle_am.metrics import scores
from cycle_am.metrics import spread as agg
from cycle_am.metrics.localisation import Regions
from cycle_am.reports import spread as page
from cycle_am.runs.results import write_cases
from cycle_am.runs.run import Run


def test_over_seeds_it_is_scipys_t_interval():
    values = np.array([0.91, 0.88, 0.95, 0.90])
    one = agg.spread(values, np.zeros(4))
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert one.figure == pytest.approx({"value": values.mean(), "ci_low": low, "ci_high": high, "n": 4})
    assert one.sd == one.sd_seeds == pytest.approx(values.std(ddof=1))


def test_over_folds_the_variance_is_corrected_for_overlapping_training_sets():
    # Fold means .8, .9, .7 of 3 folds: s² = .01, variance (1/3 + 1/2) .01, t(.975, 2) = 4.302653.
    values, fold = np.array([0.7, 0.9, 0.9, 0.9, 0.6, 0.8]), np.array([0, 0, 1, 1, 2, 2])
    one = agg.spread(values, fold, folds=3)
    half = 4.302653 * np.sqrt((1 / 3 + 1 / 2) * 0.01)
    assert one.figure == pytest.approx(
        {"value": 0.8, "ci_low": 0.8 - half, "ci_high": 0.8 + half, "n": 6}, abs=1e-6
    )
    # Within folds: squares .02 + 0 + .02 on 3 degrees of freedom.
    assert one.sd_seeds == pytest.approx(np.sqrt(0.04 / 3))


def test_one_run_has_no_interval_and_none_no_value():
    one = agg.spread(np.array([0.8, np.nan]), np.zeros(2))
    assert one.figure["value"] == 0.8
    assert one.figure["n"] == 1
    assert np.isnan([one.figure["ci_low"], one.sd, one.sd_seeds]).all()
    assert np.isnan(agg.spread(np.array([np.nan]), np.zeros(1)).figure["value"])


def test_a_figure_that_a_run_lacks_is_unknown_there():
    runs = [
        agg.RunFigures(0, 0, {"a": plain(0.5, 9), "b": plain(1.0, 9)}),
        agg.RunFigures(1, 0, {"a": plain(0.7, 9)}),
    ]
    found = agg.spreads(runs)
    assert found["a"].figure["value"] == pytest.approx(0.6)
    np.testing.assert_equal(found["b"].values, [1.0, np.nan])


def test_what_speaks_against_classifiers_is_said_once_of_the_runs_concerned(tmp_path):
    said = [("swapped",), ("swapped", "one-sided"), ()]
    runs = [agg.RunFigures(k, 0, {"classifier/auc": plain(0.4, 9)}, doubts=d) for k, d in enumerate(said)]
    one = page.aggregated(runs, None, None, [])
    text = page.report(one, "runs", tmp_path, 1, {}).sections[0].text
    assert text[1:] == ("seed 0; seed 1: swapped", "seed 1: one-sided")


def test_a_runs_answers_are_read_from_its_cases(tmp_path):
    write_cases(
        tmp_path / "evaluation" / "cases.csv",
        {
            "label": np.arange(20) % 2,
            "p_explained_x": np.linspace(0.6, 0.9, 20),
            "p_independent_x": 1 - np.arange(20) % 2,
        },
    )
    first, second = doubts_of(Member(Run(tmp_path)))
    assert first.startswith("The explained classifier calls every one of 20 cases malignant")
    assert second.startswith("The independent classifier (judge) has an AUC of 0.000")


def cases(score: np.ndarray, label, fold) -> agg.Tested:
    count = len(label)
    names = np.array([f"patient{i}" for i in range(count)])
    return agg.Tested([0] * len(score), {"p_x": score}, np.array(label), names, np.array(fold))


def test_pooled_auc_of_folds_on_two_scales():
    # Within each fold perfect; fold 1's benign case scores above fold 0's malignant one: 3 of 4 pairs are right.
    score = np.array([[0.1, 0.3, 0.6, 0.9]])
    found = agg.pooled_figures(cases(score, [0, 1, 0, 1], [0, 0, 1, 1]), "p_x", resamples=20)
    assert found["auc"]["value"] == pytest.approx(0.75)
    assert found["auc_within_folds"]["value"] == 1
    assert found["p_x"]["value"] == pytest.approx(score.mean())


def test_pooled_auc_is_the_mean_of_the_seeds_and_not_that_of_their_mean_score():
    score = np.array([[0.1, 0.2, 0.3, 0.4], [0.9, 0.1, 0.2, 0.8]])
    label = np.array([0, 1, 0, 1])
    found = agg.pooled_figures(cases(score, label, [0] * 4), "p_x", resamples=20)
    each = [scores.auc(row, label)(np.ones((1, 4)))[0] for row in score]
    assert found["auc"]["value"] == pytest.approx(np.mean(each))


def test_without_labels_there_are_means_and_no_auc():
    found = agg.pooled_figures(cases(np.array([[0.2, 0.4]]), [-1, -1], [0, 0]), "p_x", resamples=20)
    assert "auc" not in found
    assert found["p_x"]["value"] == pytest.approx(0.3)


def test_stability_is_scipys_correlation_averaged_over_pairs():
    maps = np.random.default_rng(0).normal(size=(3, 2, 5, 5))
    found = agg.stability(maps, np.array(["a", "b"]))
    pairs = [(0, 1), (0, 2), (1, 2)]
    for case in (0, 1):
        flat = maps[:, case].reshape(3, -1)
        rank = [stats.spearmanr(abs(flat[i]), abs(flat[j])).statistic for i, j in pairs]
        signed = [stats.pearsonr(flat[i], flat[j]).statistic for i, j in pairs]
        assert found["spearman"][case] == pytest.approx(np.mean(rank))
        assert found["pearson"][case] == pytest.approx(np.mean(signed))


def test_a_fixed_pattern_is_stable_but_no_more_than_between_cases():
    rng = np.random.default_rng(1)
    pattern = rng.normal(size=(8, 8))
    patient = np.array(list("aabbc"))
    fixed = agg.stability(pattern + 0.01 * rng.normal(size=(2, 5, 8, 8)), patient)
    own = agg.stability(rng.normal(size=(5, 8, 8)) + 0.01 * rng.normal(size=(2, 5, 8, 8)), patient)
    assert fixed["pearson"].min() > 0.99
    assert fixed["pearson_other"].min() > 0.99
    assert own["pearson"].min() > 0.99
    assert abs(own["pearson_other"]).max() < 0.6


def test_the_control_is_a_case_of_another_patient():
    assert agg.next_patients_case(np.array(list("aabc"))).tolist() == [2, 2, 3, 0]
    assert agg.next_patients_case(np.array(["a", "a"])).tolist() == [0, 1]


def outlines(count: int, size: int = 20) -> Regions:
    mask = np.zeros((count, size, size), dtype=bool)
    mask[:, 5:10, 5:10] = True
    return Regions(mask, mask, np.ones(count, dtype=bool))


def test_an_ensemble_averages_out_what_seeds_do_not_share():
    rng = np.random.default_rng(0)
    where = outlines(6)
    maps = 1.0 * where.mask + rng.normal(0, 0.6, (5, 6, 20, 20))
    made = agg.ensemble(maps)
    assert made.mean == pytest.approx(maps.mean(0))
    assert made.sd.mean() == pytest.approx(0.6 * 0.94, rel=0.05)  # E s = .94 sigma of five normal values
    located = agg.ensemble_localisation(maps, where)
    assert located["single"]["peak"] == pytest.approx(
        [np.mean([where.mask[0].flat[abs(maps[s, k]).argmax()] for s in range(5)]) for k in range(6)]
    )
    assert (located["ensemble"]["mass"] > located["single"]["mass"]).all()


def test_disagreement_points_out_marked_pixels_that_are_wrong():
    # Every seed marks the outline alike, and a place of its own outside it: there the others disagree or mark nothing.
    where = outlines(1)
    quiet = np.random.default_rng(0).normal(0, 1e-3, (4, 1, 20, 20))
    maps = 0.6 * where.mask + quiet
    for seed in range(4):
        maps[seed, 0, 15, 4 * seed : 4 * seed + 4] = 0.9
        maps[seed, 0, 0, :10] = [0.9, -0.9][seed % 2]  # all mark it, each with another sign
    found = agg.doubt(maps, where)
    assert found["relative_sd"][0] > 0.95
    assert found["sd"][0] > 0.5
    assert np.isnan(agg.doubt(maps[:2], where)["sd"]).all()
    nobody = Regions(where.mask, where.dilated, np.array([False]))
    assert np.isnan(agg.doubt(maps, nobody)["sd"]).all()


def test_marked_are_the_largest_of_either_sign():
    one = np.array([[0.0, -3.0], [1.0, 2.0]])
    assert agg.marks(one, share=0.5).tolist() == [[False, True], [False, True]]
