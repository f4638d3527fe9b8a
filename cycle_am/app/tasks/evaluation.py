"""Evaluations that write what they found into a folder: metrics.json, cases.csv, relevance.npz, figures, report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from cycle_am.app.callbacks.relevance_panel import TITLES, picture
from cycle_am.errors import UserError
from cycle_am.estimate import Estimate, prefixed
from cycle_am.metrics import classes
from cycle_am.metrics.bootstrap import RESAMPLES
from cycle_am.metrics.classifier import classifier_result
from cycle_am.metrics.cycle_am import case_columns, judged, measure
from cycle_am.metrics.inference import probabilities
from cycle_am.metrics.realism import realism_figures
from cycle_am.metrics.size import diameters
from cycle_am.reports import classes as page
from cycle_am.reports.classifier import classifier_section, headlines, lead
from cycle_am.reports.cycle_am import cycle_am_report
from cycle_am.reports.page import Report, write_report
from cycle_am.runs.results import write_cases, write_maps, write_metrics

Rows = list[dict[str, Any]]
ROWS = 200  # of the loggers' table of cases


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    metrics: the content of metrics.json. tables: makes the loggers' tables, by name, when there is a logger; their
    cells hold numbers, text and uint8 pictures.
    """

    metrics: Mapping[str, Estimate]
    tables: Callable[[], dict[str, Rows]]


def case_tables(columns: Mapping[str, Any], pictures: Mapping[str, Tensor]) -> dict[str, Rows]:
    """`cases`: the first `ROWS` rows of cases.csv without the ids, which may belong to a person, and pictures
    (N, C, H, W) by their names in the panels.
    """
    rows = pd.DataFrame(dict(columns))[:ROWS].drop(columns=["case_id", "patient_id"]).to_dict("records")
    return {
        "cases": [
            {TITLES[key]: picture(key, images[i].cpu().numpy()) for key, images in pictures.items()} | row
            for i, row in enumerate(rows)
        ]
    }


def evaluate_classifier(
    module,
    cases,
    out_dir: Path | str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    notes: Mapping[str, str] | None = None,
) -> Evaluation:
    """Evaluate a classifier and write metrics.json, cases.csv, figures/ and report.html into `out_dir`.

    Args:
        module: has `probability(image (N, C, S, S)) -> (N,)`.
        cases: test cases (`cycle_am.data.cases.Cases`).
        notes: small print of the report, such as the checkpoint's name and the data's fingerprint.

    Raises:
        UserError: no case is labelled.
    """
    out_dir = Path(out_dir)
    x = cases.window()[0]
    p = probabilities(module, x)
    if not cases.task.is_pair:
        return _classifier_of_classes(x, p, cases, out_dir, resamples, seed, dict(notes or {}))
    result = classifier_result(p, cases, resamples=resamples, seed=seed)
    metrics = prefixed("classifier", result.figures)
    section = classifier_section(result, out_dir / "figures", "Performance on the test set")
    write_metrics(out_dir / "metrics.json", metrics)
    columns = {"case_id": cases.case_id, "patient_id": cases.patient_id, "label": cases.label, "p_x": p}
    if cases.task.is_nodule:
        columns |= {"diameter_mm": diameters(cases)[0]}
    write_cases(out_dir / "cases.csv", columns)
    small_print = {"Bootstrap": f"{resamples} resamples of patients, seed {seed}"} | dict(notes or {})
    report = Report(
        f"Classifier: {' or '.join(cases.task.classes)}?",
        lead(cases.task),
        headlines(result),
        (section,),
        small_print,
    )
    write_report(out_dir / "report.html", report)
    return Evaluation(metrics, partial(case_tables, columns, {"x": x}))


def evaluate_cycle_am(
    gan,
    classifier,
    judge,
    train_cases,
    cases,
    out_dir: Path | str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    realism: bool = True,
    examples: int = 4,
    notes: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Evaluate generators and write metrics.json, cases.csv, relevance.npz, figures/ and report.html into
    `out_dir`.

    Args:
        gan: has `generate(x) -> Changed` and `cycle(x) -> Changed` for (N, C, H, W) in [0, 1].
        classifier: the explained one; has `probability(x) -> (N,)`, and `foreign` where nobody knows which patients
            it was trained on.
        judge: an independent classifier that the generators never saw.
        train_cases: training patients' cases, on which the realism test's discriminators learn.
        cases: test cases (`cycle_am.data.cases.Cases`).
        realism: of two classes; False leaves the realism test out (it trains eight small networks, about a minute).
        examples: cases of each class in the picture of explanations.
        notes: small print of the report, such as checkpoints and the data's fingerprint.
    """
    out_dir = Path(out_dir)
    for module in (gan, classifier, judge):
        getattr(module, "eval", lambda: None)()
    if not cases.task.is_pair:
        result = classes.measure(gan, classifier, judge, cases, progress, resamples=resamples, seed=seed)
        return _cycle_am_of_classes(cases, result, out_dir, examples, resamples, seed, dict(notes or {}))
    result = measure(gan, classifier, judge, cases, progress, resamples=resamples, seed=seed)
    if realism:
        train = judged(gan, classifier, train_cases, progress="training cases" if progress else "")
        test = judged(gan, classifier, cases, result.images.changed)
        found = realism_figures(train, test, seed=seed, resamples=resamples, progress=progress)
        result.metrics.update(prefixed("realism", found))
    write_metrics(out_dir / "metrics.json", result.metrics)
    columns = case_columns(cases, result)
    write_cases(out_dir / "cases.csv", columns)
    write_maps(out_dir / "relevance.npz", cases.case_id, cycle_am=result.images.relevance)
    small_print = {"Bootstrap": f"{resamples} resamples of patients, seed {seed}"} | dict(notes or {})
    report = cycle_am_report(cases, result, out_dir / "figures", examples, seed, small_print)
    write_report(out_dir / "report.html", report)
    x, (neg, pos) = result.images.x, result.images.changed
    pictures = {"x": x, "neg": neg, "pos": pos, "relevance": pos - neg}
    return Evaluation(result.metrics, partial(case_tables, columns, pictures))


def _classifier_of_classes(
    x: Tensor, p, cases, out_dir: Path, resamples: int, seed: int, notes: dict[str, str]
) -> Evaluation:
    """`evaluate_classifier` of more than two classes, p (N, K)."""
    if not (cases.label >= 0).any():
        raise UserError(
            f"no test case has a label; give labels ({', '.join(cases.task.classes)}) to evaluate a classifier"
        )
    names, options = cases.task.classes, {"resamples": resamples, "seed": seed}
    figures = classes.classifier_figures(p, cases.label, cases.patient_id, names, **options)
    metrics = prefixed("classifier", figures)
    write_metrics(out_dir / "metrics.json", metrics)
    columns = {"case_id": cases.case_id, "patient_id": cases.patient_id, "label": cases.label}
    columns |= {f"p_x/{name}": p[:, k] for k, name in enumerate(names)}
    write_cases(out_dir / "cases.csv", columns)
    small_print = {"Bootstrap": f"{resamples} resamples of patients, seed {seed}"} | notes
    report = page.classifier_report(p, cases.label, figures, cases.task, out_dir / "figures", small_print)
    write_report(out_dir / "report.html", report)
    return Evaluation(metrics, partial(case_tables, columns, {"x": x}))


def _cycle_am_of_classes(
    cases, result, out_dir: Path, examples: int, resamples: int, seed: int, notes: dict[str, str]
) -> Evaluation:
    """`evaluate_cycle_am` of more than two classes."""
    write_metrics(out_dir / "metrics.json", result.metrics)
    columns = classes.case_columns(cases, result)
    write_cases(out_dir / "cases.csv", columns)
    write_maps(out_dir / "relevance.npz", cases.case_id, cycle_am=result.relevance)
    small_print = {"Bootstrap": f"{resamples} resamples of patients, seed {seed}"} | notes
    report = page.cycle_am_report(cases, result, out_dir / "figures", examples, small_print)
    write_report(out_dir / "report.html", report)
    return Evaluation(result.metrics, partial(case_tables, columns, {"x": result.images.x}))
