"""Splits: no patient in two parts, labels in proportion, same seed same parts, clear errors."""

import numpy as np
import pytest

from cycle_am.data.splits import (
    Split,
    check_labels,
    check_no_leak,
    hold_out,
    k_fold,
    split,
    stratified_subset,
)
from cycle_am.errors import UserError


def cohort(seed, patients=60, unknown=True):
    """Labels and patient ids of `patients` patients with 1 to 6 cases each, in random order."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    rng.shuffle(owner)
    label = rng.choice([-1, 0, 1] if unknown else [0, 1], len(owner))
    return label, np.array([f"P{number:03d}" for number in owner])


def partitions(count, *parts):
    return np.array_equal(np.sort(np.concatenate(parts)), np.arange(count))


@pytest.mark.parametrize("seed", range(40))
def test_split_is_a_partition_without_leak(seed):
    label, patient = cohort(seed, patients=8 + 5 * (seed % 12))
    parts = split(label, patient, seed=seed)
    assert partitions(len(label), *parts)
    sets = [set(patient[part]) for part in parts]
    assert len(set.union(*sets)) == sum(map(len, sets))
    assert all({0, 1} <= set(label[part]) for part in parts)


@pytest.mark.parametrize("seed", range(12))
def test_folds_partition_all_cases_without_leak(seed):
    label, patient = cohort(seed)
    folds = 2 + seed % 5
    parts = [split(label, patient, folds=folds, fold=fold, seed=seed) for fold in range(folds)]
    assert partitions(len(label), *[part.test for part in parts])
    for part in parts:
        assert partitions(len(label), *part)
        check_no_leak(patient, part)


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.3, 0.5])
def test_every_label_is_held_out_in_proportion(fraction):
    for seed in range(10):
        label, patient = cohort(seed, patients=200)
        _, held = hold_out(label, patient, fraction, seed)
        for value in (-1, 0, 1):
            assert abs(np.mean(np.isin(np.flatnonzero(label == value), held)) - fraction) < 0.02


def test_patients_with_many_cases_are_not_preferred():
    label, patient = cohort(0, patients=100)
    names, counts = np.unique(patient, return_counts=True)
    means = [
        counts[np.isin(names, patient[hold_out(label, patient, 0.3, seed)[1]])].mean() for seed in range(60)
    ]
    assert abs(np.mean(means) - counts.mean()) < 0.15


def test_split_depends_on_the_seed_and_not_on_the_order_of_rows():
    label, patient = cohort(3)
    first, again, other = (split(label, patient, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert set(first.test) != set(other.test)
    order = np.random.default_rng(0).permutation(len(label))
    shuffled = split(label[order], patient[order], seed=1)
    assert set(patient[order][shuffled.test]) == set(patient[first.test])


def test_a_rare_class_reaches_every_part_where_it_can():
    label = np.array([1, 1, 1] + [0] * 40)
    patient = np.array([f"P{number}" for number in range(43)])
    for seed in range(20):
        assert all(1 in label[part] for part in split(label, patient, seed=seed))


def test_validation_is_a_share_of_what_the_test_part_leaves():
    label, patient = cohort(5, patients=300)
    parts = split(label, patient, test_fraction=0.3, val_fraction=0.2, seed=0)
    assert len(parts.test) / len(label) == pytest.approx(0.3, abs=0.02)
    assert len(parts.val) / len(label) == pytest.approx(0.14, abs=0.02)


@pytest.mark.parametrize(("labels", "missing"), [([0] * 8, "dog"), ([1] * 8, "cat"), ([-1] * 8, "cat")])
def test_a_class_without_cases_is_named(labels, missing):
    with pytest.raises(UserError, match=f"no {missing} case"):
        split(np.array(labels), np.array([f"P{number}" for number in range(8)]), classes=("cat", "dog"))


def test_errors_say_what_to_change():
    label, patient = cohort(0, patients=4)
    with pytest.raises(UserError, match=r"4 patients cannot fill 5 folds; lower data\.folds"):
        k_fold(label, patient, 5, 0, 0)
    with pytest.raises(UserError, match=r"fold 5 of 5 does not exist.*0\.\.folds-1"):
        k_fold(label, patient, 5, 5, 0)
    with pytest.raises(UserError, match="1 patient cannot be divided"):
        hold_out(np.array([0, 1]), np.array(["A", "A"]), 0.3, 0)
    for fraction in (0.0, 1.0, -0.2):
        with pytest.raises(UserError, match="between 0 and 1"):
            hold_out(label, patient, fraction, 0)


def test_folds_that_the_labels_cannot_fill_are_an_error():
    with pytest.raises(UserError, match=r"lower data\.folds"):
        k_fold(np.array([0, 0, 1, 1]), np.array(list("ABCD")), 4, 0, 0)


def test_a_shared_patient_is_named():
    patient = np.array(["A", "B", "B", "C"])
    with pytest.raises(UserError, match="patient B is in both the train and the test part"):
        check_no_leak(patient, Split(np.array([0, 1]), np.array([3]), np.array([2])))
    check_no_leak(patient, Split(np.array([0]), np.array([3]), np.array([1, 2])))
    check_labels(np.array([0, 1]))


def test_subset_takes_every_stratum_first_and_then_in_proportion():
    strata = np.array([0] * 80 + [1] * 19 + [2])
    assert set(strata[stratified_subset(strata, 3, 0)]) == {0, 1, 2}
    assert np.bincount(strata[stratified_subset(strata, 50, 0)]).tolist() == pytest.approx(
        [40, 9.5, 1], abs=1
    )
    assert len(stratified_subset(strata, 1000, 0)) == 100
    assert np.array_equal(stratified_subset(strata, 20, 4), stratified_subset(strata, 20, 4))
    assert not np.array_equal(stratified_subset(strata, 20, 4), stratified_subset(strata, 20, 5))
