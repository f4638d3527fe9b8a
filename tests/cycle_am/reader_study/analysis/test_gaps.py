"""Missing answers: counted by method and reader, and told where chance does not explain them."""

from dataclasses import replace

import numpy as np
import pytest

from cycle_am.reader_study.analysis.gaps import gaps
from cycle_am.reader_study.analysis.ratings import assemble, from_study
from tests.cycle_am.reader_study.analysis.test_ratings import make_study
from tests.cycle_am.reader_study.trials import METHODS, trial_scores, trial_table

BEST = 8


@pytest.fixture(scope="module")
def arranged():
    """Ratings whose scores a test puts in."""
    return assemble(trial_table(trial_scores()))


def lacking(seed=0, share=0.9, methods=(3,), criteria=3):
    """Equal methods; a share of the answers about some methods is missing on the best-rated lesions."""
    scores = trial_scores(effects=np.zeros((4, criteria)), difficulty=1.5, seed=seed)
    best = np.argsort(scores.mean((0, 2, 3)))[-BEST:]
    gone = np.random.default_rng(seed).random(scores.shape) < share
    kept = np.ones(scores.shape, bool)
    kept[np.ix_(range(8), best, methods)] = False
    return np.where(gone & ~kept, np.nan, scores)


def test_counts_are_of_what_was_asked_for():
    scores = trial_scores(readers=3, cases=4)
    scores[1, :, 2] = np.nan
    scores[:, 0, 3] = np.nan  # nobody answered it
    counts = gaps(assemble(trial_table(scores))).counts.set_index("id")
    assert counts.loc[METHODS, "asked"].tolist() == [3 * 4 * 3] * 4
    assert counts.loc[METHODS, "missing"].tolist() == [0, 0, 12, 9]
    assert counts.loc[["r1", "r2", "r3"], "missing"].tolist() == [3, 15, 3]


def test_readers_who_gave_nothing_are_counted():
    study, key, answers = make_study()
    counts = gaps(from_study(answers[answers["reader"] != "r3"], study, key)).of("reader").set_index("id")
    assert counts.loc["r3", ["asked", "missing"]].tolist() == [9 * 3, 9 * 3]


def test_answers_missing_of_one_method_on_the_best_lesions_are_told():
    found = gaps(assemble(trial_table(lacking())))
    assert found.by_method
    assert found.by_case
    assert found.rho > 0.5


def test_answers_missing_of_all_methods_on_the_best_lesions_are_told_by_lesion_alone():
    found = gaps(assemble(trial_table(lacking(methods=(0, 1, 2, 3), share=0.5))))
    assert (found.by_method, found.by_case) == (False, True)


def test_two_methods_by_the_sign_test():
    found = gaps(assemble(trial_table(lacking()[:, :, 2:])))
    assert found.by_method


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_answers_missing_at_random_are_rarely_called_otherwise(arranged, share):
    told = []
    for seed in range(60):
        scores = trial_scores(seed=seed)
        gone = np.random.default_rng(seed).random(scores.shape) < share
        found = gaps(replace(arranged, scores=np.where(gone, np.nan, scores)))
        told.append(found.by_method or found.by_case)
    assert np.mean(told) < 0.12


def test_readers_who_stop_early_are_no_sign_of_anything(arranged):
    told = []
    for seed in range(40):
        scores, rng = trial_scores(seed=seed), np.random.default_rng(seed)
        for reader in range(8):
            scores[reader, rng.permutation(24)[rng.integers(6, 25) :]] = np.nan
        found = gaps(replace(arranged, scores=scores))
        told.append(found.by_method or found.by_case)
    assert np.mean(told) < 0.12


def test_nothing_missing():
    found = gaps(assemble(trial_table(trial_scores())))
    assert not found.by_method
    assert not found.by_case
    assert found.counts["missing"].sum() == 0
