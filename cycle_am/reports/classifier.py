"""What a report says of a classifier."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cycle_am import measures
from cycle_am.estimate import Estimate
from cycle_am.metrics import scores
from cycle_am.metrics.classifier import ClassifierResult
from cycle_am.metrics.size import MATCHED_WITHIN
from cycle_am.reports.doubts import doubts
from cycle_am.reports.draw import roc_and_calibration
from cycle_am.reports.page import Headline, Picture, Section, Table, number, with_interval
from cycle_am.task import Task


def lead(task: Task) -> str:
    """What the page is about."""
    things = "lung nodules in CT" if task.is_nodule else f"{task.thing} images"
    return (
        f"How well the network tells {task.classes[1]} from {task.classes[0]} {things}, on patients that it has never "
        "seen."
    )


def table_one(figures: Mapping[str, Estimate], task: Task) -> Table:
    """The paper's Table 1, for nodules with its own numbers beside ours."""
    rows = [
        (measures.named(f"classifier/{name}").label, with_interval(figures[name]), with_interval(paper))
        for name, paper in measures.paper("classifier/").items()
    ]
    if not task.is_nodule:
        note = "95 % intervals from a bootstrap over patients."
        return Table(("Figure", "This run"), [row[:2] for row in rows], note)
    note = (
        "95 % intervals; ours from a bootstrap over patients. "
        "The paper's text gives AUC 0.800 [0.741, 0.847] beside its table's 0.809."
    )
    return Table(("Figure", "This run", "Paper, Table 1"), rows, note)


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
        figures_dir / "classifier.png", result.p, result.diameter_mm, result.label, bins, result.task
    )
    (benign, malignant), p = result.task.classes, result.task.p()
    counts = [int((result.label == k).sum()) for k in (0, 1)]
    sized = result.diameter_mm is not None
    trained = (
        "which may be among those that it was trained on: that is not known here"
        if result.foreign
        else "none of them in the training set"
    )
    text = (
        f"Tested on {len(result.p)} labelled cases ({counts[1]} {malignant}, {counts[0]} {benign}) of "
        f"{len(np.unique(result.patient))} patients, {trained}; called {malignant} where {p} is at least 0.5.",
        *(
            []
            if all(counts)
            else ["Figures that need cases of both classes, such as the AUC, are left open."]
        ),
        *doubts(result.p, result.label, classes=result.task.classes),
        *(
            ["Malignancy follows size, so the second table asks how much of the decision is mere size."]
            if sized
            else []
        ),
    )
    beside = ", beside what the diameter alone reaches" if sized else ""
    caption = (
        f"Left: sensitivity against false alarms at every threshold{beside}. "
        "Right: how often "
        f"cases with a given {p} are {malignant}; on the dotted line the probabilities could be "
        "taken at their word "
        f"(dot size: number of cases; expected calibration error {number(result.figures['ece']['value'])}, "
        f"Brier score {number(result.figures['brier']['value'])})."
    )
    tables = [table_one(result.figures, result.task), *([size_table(result)] if sized else [])]
    return Section(title, text, tables, (Picture(path, caption),))


def headlines(result: ClassifierResult) -> list[Headline]:
    """The numbers to see first."""
    figures = result.figures
    if result.diameter_mm is None:
        names = ("auc", "accuracy", "sensitivity", "specificity")
        labels = [measures.named(f"classifier/{name}").label for name in names]
        return [
            Headline(label, number(figures[name]["value"]), "")
            for label, name in zip(labels, names, strict=True)
        ]
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
