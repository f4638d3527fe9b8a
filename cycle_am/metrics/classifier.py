"""Table 1 of a classifier on a test set, its calibration, and how much of its decision is mere size: the numbers."""

from dataclasses import dataclass

import numpy as np

from cycle_am.errors import UserError
from cycle_am.estimate import Estimate, plain, undefined
from cycle_am.metrics import scores
from cycle_am.metrics.bootstrap import bootstrap, difference
from cycle_am.metrics.size import diameters, size_matched_pairs


@dataclass(frozen=True)
class ClassifierResult:
    """The labelled test cases, each (N,): p(malignant), label, patient, diameter, and the figures by name; `foreign`:
    trained elsewhere, on patients that are not known."""

    p: np.ndarray
    label: np.ndarray
    patient: np.ndarray
    diameter_mm: np.ndarray
    estimated: bool
    figures: dict[str, Estimate]
    foreign: bool = False


def size_figures(
    p: np.ndarray, label: np.ndarray, diameter_mm: np.ndarray, patient: np.ndarray, **options
) -> dict[str, Estimate]:
    """What the diameter alone would reach, how much better the classifier is (paired), and both among pairs
    of equal size."""
    pairs = size_matched_pairs(diameter_mm, label)
    by_classifier, by_size = scores.auc(p, label), scores.auc(diameter_mm, label)
    matched = {
        name: bootstrap(scores.auc(values, label, pairs), patient, n=int(pairs.sum()), **options)
        if pairs.any()
        else undefined()
        for name, values in (("auc_size_matched", p), ("size_only_auc_matched", diameter_mm))
    }
    return {
        "size_only_auc": bootstrap(by_size, patient, **options),
        "auc_minus_size": bootstrap(difference(by_classifier, by_size), patient, **options),
        **matched,
    }


def classifier_result(p: np.ndarray, cases, **options) -> ClassifierResult:
    """All figures of the labelled ones among `cases`, given p(malignant) (N,) of all of them.

    Raises:
        UserError: no case is labelled.
    """
    known = cases.label >= 0
    if not known.any():
        raise UserError(
            "no test case has a label; give labels (0 benign, 1 malignant) to evaluate a classifier"
        )
    diameter, estimated = diameters(cases)
    p, label, patient, diameter = p[known], cases.label[known], cases.patient_id[known], diameter[known]
    figures = {name: bootstrap(rule, patient, **options) for name, rule in scores.table_one(p, label).items()}
    figures |= size_figures(p, label, diameter, patient, **options)
    figures["brier"] = plain(scores.brier(p, label), len(p))
    figures["ece"] = plain(scores.expected_calibration_error(p, label), len(p))
    return ClassifierResult(p, label, patient, diameter, estimated, figures)
