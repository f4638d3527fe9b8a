"""The pages of more than two classes: the classifier's, and CycleAM's with its transfer matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cycle_am import measures
from cycle_am.estimate import Estimate
from cycle_am.metrics.classes import EACH, ClassesResult, matrix
from cycle_am.reports.draw import matrices, overlay, shown, tiles
from cycle_am.reports.page import Headline, Picture, Report, Section, Table, number, with_interval
from cycle_am.task import Task

SHORT = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "ppv": "PPV",
    "f1": "F1",
}  # columns, narrow enough for a phone


def listed(names: Sequence[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def classifier_section(
    p: np.ndarray, label: np.ndarray, figures: Mapping[str, Estimate], task: Task, figures_dir: Path
) -> Section:
    """Table 1 in the mean and for each class, and the confusion matrix. figures: without their prefix."""
    names, known = task.classes, label >= 0
    total = Table(
        ("Figure", "This run"),
        [("Accuracy", with_interval(figures["accuracy"]))]
        + [
            (f"{measures.named(f'classifier/{rule}').label}, mean", with_interval(figures[rule]))
            for rule in EACH
        ],
        "95 % intervals from a bootstrap over patients. Means over the classes, each against the rest.",
    )
    each = Table(
        ("Class", *SHORT.values(), "Cases"),
        [
            (
                name,
                *(number(figures[f"{rule}/{name}"]["value"]) for rule in SHORT),
                str(int((label == k).sum())),
            )
            for k, name in enumerate(names)
        ],
        "A case is of the class with the highest p. Intervals: metrics.json.",
    )
    counts = np.zeros((len(names),) * 2)
    np.add.at(counts, (label[known], p[known].argmax(1)), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    path = matrices(figures_dir / "confusion.png", {"": shares}, names, ("the classifier says", "label"))
    return Section(
        "The classifier",
        (),
        (total, each),
        (Picture(path, "Share of each class's cases by answer.", fits=True),),
    )


def classifier_report(
    p: np.ndarray,
    label: np.ndarray,
    figures: Mapping[str, Estimate],
    task: Task,
    figures_dir: Path,
    notes: Mapping[str, str],
) -> Report:
    """The page of a classifier."""
    lead = f"How well the network tells {listed(task.classes)} apart, on patients that it has never seen."
    headlines = (
        Headline("Accuracy", number(figures["accuracy"]["value"]), f"{1 / len(task.classes):.2f} by chance"),
        Headline("AUC, mean of the classes", number(figures["auc"]["value"]), "0.5 by chance"),
    )
    section = classifier_section(p, label, figures, task, figures_dir)
    return Report(f"Classifier: {listed(task.classes)}?", lead, headlines, (section,), notes)


def cycle_am_report(
    cases, result: ClassesResult, figures_dir: Path, examples: int, notes: Mapping[str, str]
) -> Report:
    """The page of generators."""
    task, metrics = cases.task, result.metrics

    def value(key: str) -> str:
        return number(metrics[key]["value"])

    lead = (
        "A generator for each class changes each image as little as possible, until the classifier says "
        f"{listed(task.classes)}. R is what the generator of the class that the classifier sees makes brighter or "
        "darker than the others in the mean."
    )
    headlines = (
        Headline(
            "Judge: p of the class that was asked for", value("transfer/independent/reached"), "1 is perfect"
        ),
        Headline("Judge: p left of the class before", value("transfer/independent/left"), "0 is perfect"),
        Headline("SSIM to x", value("similarity/ssim"), "1: nothing changed"),
    )
    sections = [_examples(cases, result, figures_dir, examples), _transfer(result, task, figures_dir)]
    located = {
        key: metrics[f"localisation/{key}"]
        for key in ("peak", "mass", "peak_shifted", "mass_shifted", "shift_correlation")
        if f"localisation/{key}" in metrics and np.isfinite(metrics[f"localisation/{key}"]["value"])
    }
    if located:
        rows = [
            (task.worded(measures.named(f"localisation/{key}").label), with_interval(figure))
            for key, figure in located.items()
        ]
        sections.append(Section("Where R lies", (), (Table(("Figure", "This run"), rows),)))
    figures = {
        key.removeprefix("classifier/"): metrics[key] for key in metrics if key.startswith("classifier/")
    }
    if figures:
        sections.append(classifier_section(result.explained.x, cases.label, figures, task, figures_dir))
    return Report(f"CycleAM: {listed(task.classes)}?", lead, headlines, tuple(sections), notes)


def _transfer(result: ClassesResult, task: Task, figures_dir: Path) -> Section:
    metrics, names = result.metrics, task.classes
    who = {"explained": "Explained", "independent": "Judge"}
    total = Table(
        ("Mean p", *who.values()),
        [
            (text, *(with_interval(metrics[f"transfer/{key}/{name}"]) for key in who))
            for name, text in (
                ("x", "of the seen class, x as it is"),
                ("reached", "of the class asked for, changed images"),
                ("left", "of the seen class, changed images"),
            )
        ],
        f"{len(result.seen)} test cases, each towards every class that the classifier does not see in it.",
    )
    each = Table(
        ("Towards", "SSIM to x"),
        [(name, with_interval(metrics[f"similarity/ssim/{name}"])) for name in names],
    )
    path = matrices(
        figures_dir / "transfer.png",
        {
            "explained classifier": matrix(result.explained, result.seen),
            "independent classifier (judge)": matrix(result.independent, result.seen),
        },
        names,
        ("changed towards", "seen in x"),
    )
    caption = (
        "Mean p of the class asked for (column) of the images that the classifier sees as one class (row)."
    )
    text = (
        "If the changed regions matter to the decision, changing them must change it; and a second classifier that the "
        "generators never saw must agree.",
    )
    return Section("Domain transfer", text, (total, each), (Picture(path, caption, fits=True),))


def _examples(cases, result: ClassesResult, figures_dir: Path, examples: int) -> Section:
    """For each class a figure of its own, so that ten classes are no row too narrow to read."""
    task, pictures = cases.task, []
    each = max(1, examples // len(task.classes))
    for k, name in enumerate(task.classes):
        right = np.flatnonzero((cases.label == k) & (result.seen == k))
        right = right if len(right) else np.flatnonzero((result.seen == k) | (cases.label == k))
        for number_, i in enumerate(right[:each], 1):
            x = shown(result.images.x[i].numpy())
            drawn = {f"x: {name}": x}
            drawn |= {
                f"to {other}: {result.independent.to[j, i, j]:.2f}": shown(
                    result.images.changed[j][i].numpy()
                )
                for j, other in enumerate(task.classes)
                if j != result.seen[i]
            }
            drawn["R"] = overlay(x, result.relevance[i])
            path = tiles(figures_dir / f"example_{k}_{number_}.png", drawn)
            pictures.append(
                Picture(
                    path,
                    f"{name}: x, changed towards each other class (the judge's p of it), and R.",
                    fits=True,
                )
            )
    return Section("Examples", (), (), tuple(pictures))
