"""Table 1 of a classifier on a test set, its calibration, and how much of its decision is mere size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cycle_am.errors import UserError
from cycle_am.estimate import Estimate, plain, undefined
from cycle_am.metrics import scores
from cycle_am.metrics.bootstrap import RESAMPLES, bootstrap, difference
from cycle_am.metrics.inference import probabilities
from cycle_am.metrics.size import MATCHED_WITHIN, diameters, size_matched_pairs
from cycle_am.reports.doubts import doubts
from cycle_am.reports.draw import roc_and_calibration
from cycle_am.reports.page import (
    Headline,
    Picture,
    Report,
    Section,
    Table,
    number,
    with_interval,
    write_report,
)
from cycle_am.runs.results import prefixed, write_cases, write_metrics

#: Table 1 of the paper, 235 test cases. Its text gives AUC .800 [.741, .847].
PAPER_TABLE = {
    "accuracy": (0.809, 0.757, 0.860),
    "f1": (0.801, 0.737, 0.856),
    "sensitivity": (0.813, 0.737, 0.884),
    "specificity": (0.805, 0.729, 0.866),
    "ppv": (0.790, 0.715, 0.861),
    "npv": (0.826, 0.757, 0.894),
    "informedness": (0.618, 0.514, 0.719),
    "markedness": (0.616, 0.511, 0.718),
    "mcc": (0.617, 0.511, 0.718),
    "auc": (0.809, 0.757, 0.860),
}
NAMES = {"f1": "F1", "ppv": "PPV", "npv": "NPV", "mcc": "MCC", "auc": "AUC"}


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


def table_one(figures: Mapping[str, Estimate]) -> Table:
    """The paper's Table 1 with its own numbers beside ours."""
    rows = [
        (NAMES.get(name, name.capitalize()), with_interval(figures[name]), with_interval(_paper(name)))
        for name in PAPER_TABLE
    ]
    note = (
        "95 % intervals; ours from a bootstrap over patients. "
        "The paper's text gives AUC 0.800 [0.741, 0.847] beside its table's 0.809."
    )
    return Table(("Figure", "This run", "Paper, Table 1"), rows, note)


def _paper(name: str) -> Estimate:
    value, low, high = PAPER_TABLE[name]
    return Estimate(value=value, ci_low=low, ci_high=high, n=235)


def size_table(result: ClassifierResult) -> Table:
    """Size-only and size-matched figures."""
    figures = result.figures
    rows = [
        ("AUC of the classifier", with_interval(figures["auc"])),
        ("AUC of the diameter alone", with_interval(figures["size_only_auc"])),
        ("Difference, paired", with_interval(figures["auc_minus_size"])),
        ("AUC of the classifier among pairs of equal size", with_interval(figures["auc_size_matched"])),
        ("AUC of the diameter among the same pairs", with_interval(figures["size_only_auc_matched"])),
    ]
    source = (
        "estimated from the images, since the source has none for every case"
        if result.estimated
        else "from the annotations"
    )
    pairs = figures["auc_size_matched"]["n"]
    note = (
        f"Diameters are {source}. Equal size: one benign and one malignant case whose diameters differ "
        f"by less than "
        f"{100 * MATCHED_WITHIN:.0f} %; {pairs} pairs."
    )
    return Table(("Figure", "This run"), rows, note)


def classifier_section(result: ClassifierResult, figures_dir: Path, title: str = "The classifier") -> Section:
    """What a report says of a classifier; draws its ROC curve and calibration plot."""
    bins = scores.calibration_bins(result.p, result.label)
    path = roc_and_calibration(
        figures_dir / "classifier.png", result.p, result.diameter_mm, result.label, bins
    )
    benign, malignant = (int((result.label == k).sum()) for k in (0, 1))
    trained = (
        "which may be among those that it was trained on: that is not known here"
        if result.foreign
        else "none of them in the training set"
    )
    text = (
        f"Tested on {len(result.p)} labelled cases ({malignant} malignant, {benign} benign) of "
        f"{len(np.unique(result.patient))} patients, {trained}; called malignant where p(malignant) is at least 0.5.",
        *(
            []
            if benign and malignant
            else ["Figures that need cases of both classes, such as the AUC, are left open."]
        ),
        *doubts(result.p, result.label),
        "Malignancy follows size, so the second table asks how much of the decision is mere size.",
    )
    caption = (
        "Left: sensitivity against false alarms at every threshold, beside what the diameter alone "
        "reaches. Right: how often "
        "cases with a given p(malignant) are malignant; on the dotted line the probabilities could be "
        "taken at their word "
        f"(dot size: number of cases; expected calibration error {number(result.figures['ece']['value'])}, "
        f"Brier score {number(result.figures['brier']['value'])})."
    )
    return Section(title, text, (table_one(result.figures), size_table(result)), (Picture(path, caption),))


def evaluate_classifier(
    module,
    cases,
    out_dir: Path | str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    notes: Mapping[str, str] | None = None,
) -> dict[str, Estimate]:
    """Evaluate a classifier and write metrics.json, cases.csv, figures/ and report.html into `out_dir`.

    Args:
        module: has `probability(image (N, 1, 64, 64)) -> (N,)`.
        cases: test cases (`cycle_am.data.cases.Cases`).
        notes: small print of the report, such as the checkpoint's name and the data's fingerprint.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: no case is labelled.
    """
    out_dir = Path(out_dir)
    p = probabilities(module, cases.window()[0])
    result = classifier_result(p, cases, resamples=resamples, seed=seed)
    metrics = prefixed("classifier", result.figures)
    section = classifier_section(result, out_dir / "figures", "Performance on the test set")
    write_metrics(out_dir / "metrics.json", metrics)
    columns = {"case_id": cases.case_id, "patient_id": cases.patient_id, "label": cases.label, "p_x": p}
    write_cases(out_dir / "cases.csv", columns | {"diameter_mm": diameters(cases)[0]})
    small_print = {"Bootstrap": f"{resamples} resamples of patients, seed {seed}"} | dict(notes or {})
    report = Report("Classifier: benign or malignant?", LEAD, headlines(result), (section,), small_print)
    write_report(out_dir / "report.html", report)
    return metrics


LEAD = (
    "How well the network tells malignant from benign lung nodules in CT, on patients that it has never seen."
)


def headlines(result: ClassifierResult) -> list[Headline]:
    """The numbers to see first."""
    figures = result.figures
    return [
        Headline(
            "AUC",
            number(figures["auc"]["value"]),
            f"diameter alone {number(figures['size_only_auc']['value'])}",
        ),
        Headline(
            "AUC among pairs of equal size", number(figures["auc_size_matched"]["value"]), "chance 0.500"
        ),
        Headline("Sensitivity", number(figures["sensitivity"]["value"]), "paper 0.813"),
        Headline("Specificity", number(figures["specificity"]["value"]), "paper 0.805"),
    ]
