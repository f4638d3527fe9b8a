"""Table 1 of a classifier on a test set, its calibration, and how much of its decision is mere size: the numbers."""

from dataclasses import dataclass

import numpy as np

from cycle_am.errors import UserError
from cycle_am.estimate import Estimate, plain, undefined
from cycle_am.metrics import scores
from cycle_am.metrics.bootstrap import bootstrap, difference
from cycle_am.metrics.size import diameters, size_matched_pairs
from cycle_am.task import Task


@dataclass(frozen=True)
class ClassifierResult:
    """The labelled test cases, each (N,): p of the second class, label, patient, diameter, and the figures by name;
    `foreign`: trained elsewhere, on patients that are not known. The diameter is None where size is no rival of the
    classifier: of other things than nodules."""

    p: np.ndarray
    label: np.ndarray
    patient: np.ndarray
    diameter_mm: np.ndarray | None
    estimated: bool
    figures: dict[str, Estimate]
    task: Task
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
    """All figures of the labelled ones among `cases`, given p of the second class (N,) of all of them.

    Raises:
        UserError: no case is labelled.
    """
    known = cases.label >= 0
    if not known.any():
        raise UserError(
            f"no test case has a label; give labels ({' or '.join(cases.task.classes)}) to evaluate a classifier"
        )
    p, label, patient = p[known], cases.label[known], cases.patient_id[known]
    figures = {name: bootstrap(rule, patient, **options) for name, rule in scores.table_one(p, label).items()}
    diameter, estimated = None, False
    if cases.task.is_nodule:
        diameter, estimated = diameters(cases)
        diameter = diameter[known]
        figures |= size_figures(p, label, diameter, patient, **options)
    figures["brier"] = plain(scores.brier(p, label), len(p))
    figures["ece"] = plain(scores.expected_calibration_error(p, label), len(p))
    return ClassifierResult(p, label, patient, diameter, estimated, figures, cases.task)
