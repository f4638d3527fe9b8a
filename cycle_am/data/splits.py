"""Splits of cases into training, validation and test part: grouped by patient, stratified by label, seeded.

All functions are pure: arrays of labels (0, 1, ..., -1 unknown: a stratum of its own) and patient ids in, sorted
index arrays out. No patient is ever in two parts (a shared patient would leak; the paper does not say how it
split).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from cycle_am.errors import UserError

NAMES = ("label 0", "label 1")  # of classes without names
TRIALS = 256  # random orders of the patients among which the best stratified one is taken


class Split(NamedTuple):
    """Sorted index arrays (int64) of the three parts."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def hold_out(
    label: np.ndarray, patient_id: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(kept, held): whole patients whose cases make up `fraction` of every label as nearly as possible.

    Among TRIALS seeded random orders of the patients, the leading run of patients is held that comes nearest,
    and that leaves no label empty on either side where that can be had. Raises UserError for a fraction
    outside (0, 1) and for fewer than two patients.
    """
    if not 0.0 < fraction < 1.0:
        raise UserError(
            f"a part of {fraction} of the cases cannot be held out; give a fraction between 0 and 1"
        )
    patients, member = np.unique(patient_id, return_inverse=True)
    if len(patients) < 2:
        raise UserError(
            f"{len(patients)} patient cannot be divided into two parts; give cases of more patients"
        )
    orders = _random_orders(len(patients), seed)
    counts = _counts(label, member)
    held = counts[orders].cumsum(axis=1)[:, :-1]  # (trial, number of patients held - 1, label)
    trial, last = np.unravel_index(_misfit(held, counts.sum(axis=0), fraction).argmin(), held.shape[:2])
    is_held = np.isin(member, orders[trial, : last + 1])
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def k_fold(
    label: np.ndarray, patient_id: np.ndarray, folds: int, fold: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rest, fold `fold` of `folds`); every case is in one of the folds. UserError where that fails."""
    patients = len(np.unique(patient_id))
    if folds < 2 or not 0 <= fold < folds:
        raise UserError(
            f"fold {fold} of {folds} does not exist; use data.folds >= 2 and data.fold in 0..folds-1"
        )
    if patients < folds:
        raise UserError(
            f"{patients} patients cannot fill {folds} folds; lower data.folds or give more patients"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a label rarer than the folds is fine; the parts are checked afterwards
        warnings.simplefilter("ignore", UserWarning)
        try:
            parts = list(splitter.split(np.zeros(len(label)), label, patient_id))
        except ValueError as error:
            raise UserError(f"the cases do not fill {folds} folds ({error}); lower data.folds") from error
    return parts[fold]


def split(
    label: np.ndarray,
    patient_id: np.ndarray,
    *,
    test_fraction: float = 0.3,
    val_fraction: float = 0.15,
    folds: int | None = None,
    fold: int = 0,
    seed: int = 0,
    classes: Sequence[str] = NAMES,
) -> Split:
    """Test part (a fraction of all cases, or outer fold `fold` of `folds`), then validation out of the rest.

    `val_fraction` is a share of what the test part leaves. classes: names of the labels 0, 1, ...
    Raises UserError where a label has no case in a part.
    """
    check_labels(label, classes)
    if folds is None:
        rest, test = hold_out(label, patient_id, test_fraction, seed)
    else:
        rest, test = k_fold(label, patient_id, folds, fold, seed)
    none = np.array([], dtype=np.int64)
    return with_validation(Split(rest, none, test), label, patient_id, val_fraction, seed)


def with_validation(
    parts: Split, label: np.ndarray, patient_id: np.ndarray, fraction: float, seed: int
) -> Split:
    """The parts; where there is none for validation, that is held out of the training part."""
    if len(parts.val):
        return parts
    rest = parts.train
    kept, held = hold_out(label[rest], patient_id[rest], fraction, seed)
    return parts._replace(train=rest[kept], val=rest[held])


def check_labels(label: np.ndarray, classes: Sequence[str] = NAMES, part: str = "the data") -> None:
    """Raise UserError where one of the classes has no case."""
    for value, name in enumerate(classes):
        if not np.any(label == value):
            raise UserError(f"{part} has no {name} case; give cases of all classes, or more patients")


def check_no_leak(patient_id: np.ndarray, parts: Split) -> None:
    """Raise UserError where a patient is in two parts."""
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        shared = np.intersect1d(patient_id[getattr(parts, first)], patient_id[getattr(parts, second)])
        if len(shared):
            raise UserError(
                f"patient {shared[0]} is in both the {first} and the {second} part ({len(shared)} such "
                "patients); put all images of a patient into one part"
            )


def stratified_subset(strata: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Sorted indices of `limit` cases.

    Each stratum first once, then in proportion. All where `limit` is larger.
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    position = np.empty(len(strata))
    for value in np.unique(strata):
        members = order[strata[order] == value]
        position[members] = np.arange(len(members)) / len(members)
    return np.sort(order[np.argsort(position[order], kind="stable")][:limit])


def _random_orders(count: int, seed: int) -> np.ndarray:
    """(TRIALS, count) seeded permutations of 0..count-1."""
    return np.random.default_rng(seed).random((TRIALS, count)).argsort(axis=1)


def _counts(label: np.ndarray, member: np.ndarray) -> np.ndarray:
    """(patients, labels present) number of cases."""
    values, column = np.unique(label, return_inverse=True)
    counts = np.zeros((member.max() + 1, len(values)), dtype=np.int64)
    np.add.at(counts, (member, column), 1)
    return counts


def _misfit(held: np.ndarray, total: np.ndarray, fraction: float) -> np.ndarray:
    """(..., labels) cases held of `total` -> squared distance to `fraction`, plus 1 per label emptied."""
    emptied = (held == 0) | (held == total)
    return ((held / total - fraction) ** 2 + emptied).sum(axis=-1)
