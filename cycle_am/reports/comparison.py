"""The comparison's figures, words and pictures; every number was measured before (`cycle_am.metrics.comparison`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cycle_am import measures
from cycle_am.estimate import Estimate, plain
from cycle_am.metrics.comparison import Measured, Shared, Subject
from cycle_am.metrics.cost import break_even
from cycle_am.metrics.paired import Comparison, compare, method_ranks
from cycle_am.metrics.sanity import REACTS_BELOW
from cycle_am.reports import comparison_figures as draw
from cycle_am.reports.cycle_am import balanced_sample
from cycle_am.reports.doubts import doubts
from cycle_am.reports.page import MISSING, Headline, Picture, Report, Section, Table, number, with_interval

REFERENCE = "cycle_am"
CONTROL = draw.CONTROL
SIGNIFICANT = 0.05
LEAD = (
    "Every method explains the same test images of the same classifier. Which of them mark the {}, follow what the "
    "classifier decides by, notice when the classifier is replaced, and at what cost?"
)
#: Metric -> short name, in the order of the tables.
NAMES = {
    key: measure.label for key, measure in measures.table(measures.COMPARISON).items() if key != "ms_per_case"
}
SCALES = (
    f"Each method has one scale for all cases, since the units differ: full colour at the {draw.PERCENTILE:g}th "
    "percentile of its own |R|, also for cycle_am."
)
MEANING = (
    "Peak: the largest |R| lies in the truth. Mass: share of |R| in it. Rank, IoU: overlap of the truth "
    "with as many of the largest |R|. Truth: the outline, grown (or the planted cue); "
    "moved: on images shifted so that the truth is off the centre. Deletion, insertion: area under p of "
    "the decided class while the most relevant pixels are removed or shown, mean over several infills. "
    "Flip: rise of the other class when a class's evidence is removed. Sensitivity-n, infidelity: does "
    "the summed relevance of random patches forecast the fall of the logit? Random ...: rank correlation "
    "of |R| with that for a randomised classifier (low is right). Stability: correlation under noise that "
    "the classifier does not notice."
)


@dataclass(frozen=True)
class Compared:
    """Everything that is shown. comparisons: every metric of every method against CycleAM."""

    subject: Subject
    shared: Shared
    results: Mapping[str, Measured]
    comparisons: Sequence[Comparison]

    @property
    def supported(self) -> dict[str, Measured]:
        """The methods that can handle the classifier."""
        return {name: measured for name, measured in self.results.items() if not measured.unsupported}

    @property
    def reference(self) -> str:
        """The method that the others are tested against."""
        return _reference(self.supported)

    @cached_property
    def by_name(self) -> dict[tuple[str, str], Comparison]:
        """The comparisons by (method, metric)."""
        return {(comparison.method, comparison.metric): comparison for comparison in self.comparisons}

    def value(self, method: str, metric: str) -> float:
        """A method's mean; NaN where it was not measured."""
        comparison = self.by_name.get((method, metric))
        return np.nan if comparison is None else comparison.mean["value"]


def compared(
    subject: Subject, shared: Shared, results: Mapping[str, Measured], columns, **options
) -> Compared:
    """The methods' figures tested against the reference's (the first method's where CycleAM is not among them)."""
    comparisons = compare(columns, subject.cases.patient_id, _reference(columns), **options)
    return Compared(subject, shared, results, comparisons)


def _reference(methods: Iterable[str]) -> str:
    names = list(methods)
    return REFERENCE if REFERENCE in names else names[0]


def metrics(compared: Compared, planted: bool) -> dict[str, Estimate]:
    """Flat figures `compare/<method>/<metric>`; `randomisation` is that of the whole network. Where the mask is the
    truth of a planted cue, mass and rank also under `planted_mass` and `planted_rank`."""
    figures = {f"compare/{c.method}/{c.metric}": c.mean for c in compared.comparisons}
    for name, measured in compared.supported.items():
        figures |= {f"compare/{name}/{key}": plain(value, 1) for key, value in measured.costs.items()}
        alias = {"randomisation": "randomisation_whole_network"}
        alias |= {"planted_mass": "relevance_mass", "planted_rank": "relevance_rank"} if planted else {}
        for key, source in alias.items():
            if f"compare/{name}/{source}" in figures:
                figures[f"compare/{name}/{key}"] = figures[f"compare/{name}/{source}"]
    return figures


def tests_table(compared: Compared) -> pd.DataFrame:
    """One row a method and metric: mean, interval, difference from the reference, p, corrected p, rank."""
    return pd.DataFrame(
        {
            "method": c.method,
            "metric": c.metric,
            **{f"mean_{key}": c.mean[key] for key in ("value", "ci_low", "ci_high", "n")},
            **{f"difference_{key}": c.difference[key] for key in ("value", "ci_low", "ci_high")},
            "p": c.p,
            "p_holm": c.p_holm,
            "rank": c.rank,
        }
        for c in compared.comparisons
    )


def cases_table(compared: Compared) -> dict[str, np.ndarray]:
    """One row a case and method, all metrics."""
    rows: list[pd.DataFrame] = []
    cases = compared.subject.cases
    for name, measured in compared.supported.items():
        ids = {"case_id": cases.case_id, "patient_id": cases.patient_id, "label": cases.label}
        own = {
            "explainer": np.full(len(cases), name),
            "p_x": compared.shared.p,
            "target": compared.shared.target,
        }
        rows.append(pd.DataFrame({**ids, **own, **measured.columns}))
    return {key: column.to_numpy() for key, column in pd.concat(rows).items()}


def signed_maps(compared: Compared) -> dict[str, np.ndarray]:
    """Maps (N, H, W) with positive for the second class, each method in units of its own scale."""
    sign = np.where(compared.shared.target == 1, 1.0, -1.0)[:, None, None]
    maps = {name: measured.maps * sign for name, measured in compared.supported.items()}
    return {name: maps[name] / scale for name, scale in draw.scales(maps).items()}


# ------------------------------------------------------------------------------------------------------ page
def report(
    compared: Compared,
    figures_dir: Path,
    examples: int,
    training_seconds: float,
    notes: Mapping[str, str],
    truth: str,
) -> Report:
    """The page. training_seconds: of CycleAM's generators, NaN unknown. truth: what the mask is, in words."""
    maps = signed_maps(compared)
    sections = [
        _summary(compared, figures_dir),
        _examples(compared, maps, figures_dir, examples),
        _tables(compared, truth),
        _faithfulness(compared, figures_dir),
        _sanity(compared, figures_dir),
        _cost(compared, training_seconds),
        _extremes(compared, maps, figures_dir),
    ]
    title = "Explanations of one classifier, compared"
    return Report(
        title,
        LEAD.format(compared.subject.cases.task.thing),
        _headlines(compared),
        [part for part in sections if part],
        notes,
    )


def _headlines(compared: Compared) -> list[Headline]:
    headlines = []
    for metric, name in (
        ("pointing_dilated_shifted", f"Peak on the {compared.subject.cases.task.thing}, moved"),
        ("deletion", "Deletion"),
        ("insertion", "Insertion"),
        ("sensitivity_n", "Sensitivity-n"),
    ):
        ranked = [
            c
            for c in compared.comparisons
            if c.metric == metric and np.isfinite(c.rank) and not c.method.startswith(CONTROL)
        ]
        if ranked:
            best = min(ranked, key=lambda c: c.rank)
            ours = compared.value(REFERENCE, metric)
            headlines.append(
                Headline(
                    f"{name}: best", best.method, f"{number(best.mean['value'])} · CycleAM {number(ours)}"
                )
            )
    return headlines


def _shown(compared: Compared) -> list[str]:
    return [m for m in NAMES if any(np.isfinite(compared.value(name, m)) for name in compared.supported)]


def _summary(compared: Compared, figures_dir: Path) -> Section:
    columns, rows = _shown(compared), list(compared.supported)
    values = {name: {m: compared.value(name, m) for m in columns} for name in rows}
    ranks = method_ranks(values)
    texts = [[number(values[name][m], 2) for m in columns] for name in rows]
    path = draw.heat(
        figures_dir / "ranks.png",
        np.array([[ranks[name][m] for m in columns] for name in rows]),
        texts,
        rows,
        [f"{NAMES[m]} {'↓' if measures.lower_is_better(m) else '↑'}" for m in columns],
    )
    caption = (
        "Values; the darker, the better the rank in the column. ↑ more is better, ↓ less is better. "
        + MEANING
    )
    return Section("At a glance", verdicts(compared), (), (Picture(path, caption),))


def verdicts(compared: Compared) -> list[str]:
    """What speaks against the classifier, and what the controls say, in sentences."""
    located = {
        name: beats_controls(compared, name) for name in compared.supported if not name.startswith(CONTROL)
    }
    controls = [name.removeprefix(CONTROL) for name in compared.supported if name.startswith(CONTROL)]
    nothing = [name for name, beats in located.items() if beats is False]
    deaf = [name for name in located if compared.value(name, "randomisation_whole_network") >= REACTS_BELOW]
    cases = compared.subject.cases
    lines = doubts(compared.shared.p, cases.label, "The explained classifier", cases.task.classes)
    if any(beats is not None for beats in located.values()):
        every = "Every method that was tested" if None in located.values() else "Every method"
        lines.append(
            f"{every} beats the controls ({', '.join(controls)}) on moved images."
            if not nothing
            else f"Located nothing, since a control does as well on moved images: {', '.join(nothing)}."
        )
    if any(np.isfinite(compared.value(name, "randomisation_whole_network")) for name in located):
        lines.append(
            f"Do not react to a random classifier (rank correlation of |R| at least {REACTS_BELOW}): {', '.join(deaf)}."
            if deaf
            else "Every method that was tested reacts to a random classifier."
        )
    lines += [m.unsupported for m in compared.results.values() if m.unsupported]
    return lines


def beats_controls(compared: Compared, name: str) -> bool | None:
    """Whether a method's mass and rank accuracy on moved images exceed those of every control; None where unknown.

    Not the peak: on a nodule that is larger than the shift the centre's peak still hits.
    """
    controls = [method for method in compared.supported if method.startswith(CONTROL)]
    pairs = [
        (compared.value(name, metric), compared.value(control, metric))
        for metric in ("relevance_mass_dilated_shifted", "relevance_rank_dilated_shifted")
        for control in controls
    ]
    pairs = [pair for pair in pairs if np.isfinite(pair).all()]
    return all(own > other for own, other in pairs) if pairs else None


def _examples(compared: Compared, maps, figures_dir: Path, each: int) -> Section:
    cases = compared.subject.cases
    chosen = balanced_sample(cases.label, compared.shared.p, each)
    which = "Test cases that the classifier calls right, drawn at random (the paper's figure 6)."
    if not len(chosen):
        chosen = np.arange(min(2 * each, len(cases)))
        which = "The first test cases; there is none with a label that the classifier calls right."
    masks = compared.shared.centred.where.mask[chosen]
    captions = [
        f"{cases.task.name(int(cases.label[i]))}, p {number(compared.shared.p[i], 2)}" for i in chosen
    ]
    first, second = cases.task.classes
    path = draw.methods_by_cases(
        figures_dir / "methods.png",
        compared.shared.images[chosen].numpy(),
        {name: part[chosen] for name, part in maps.items()},
        captions,
        masks,
    )
    caption = (
        f"{which} Red speaks for {second}, blue for {first}; for cycle_am red is brighter where {second}, blue "
        f"darker. {SCALES}{' Yellow: the outline.' if masks.any() else ''}"
    )
    return Section("What each method shows", (), (), (Picture(path, caption),))


def _tables(compared: Compared, truth: str) -> Section:
    def cell(method: str, metric: str) -> str:
        comparison = compared.by_name.get((method, metric))
        if comparison is None:
            return MISSING
        mark = "*" if comparison.p_holm < SIGNIFICANT else ""
        return with_interval(comparison.mean) + mark

    groups = {
        "Where it points": [m for m in _shown(compared) if "dilated" in m],
        "Does the classifier decide by it": [
            m
            for m in _shown(compared)
            if m in ("deletion", "insertion", "flip", "sensitivity_n", "infidelity")
        ],
    }
    note = (
        f"Means over {_counts(compared)} cases with 95 % intervals over patients. *: differs from {compared.reference} "
        f"(patient-level sign-flip test, Holm over all methods and metrics, p < {SIGNIFICANT}). Truth: {truth}."
    )
    tables = [
        Table(
            (title, *(NAMES[m] for m in wanted)),
            [(name, *(cell(name, m) for m in wanted)) for name in compared.supported],
            note,
        )
        for title, wanted in groups.items()
        if wanted
    ]
    return Section("Tables", (), tables)


def _counts(compared: Compared) -> str:
    """How many cases the means are over: `60`, or `41 to 60` where some figures are unknown for some cases."""
    known = sorted({c.mean["n"] for c in compared.comparisons if c.metric in NAMES and c.mean["n"]})
    return " to ".join(str(n) for n in dict.fromkeys([known[0], known[-1]])) if known else "0"


def _faithfulness(compared: Compared, figures_dir: Path) -> Section:
    path = draw.curves(figures_dir / "curves.png", {name: m.curves for name, m in compared.supported.items()})
    caption = (
        "Mean probability of the decided class while the most relevant pixels are replaced (left) or alone are real "
        "(right); mean over the infills. Dashed: controls."
    )
    return Section("Faithfulness", (), (), (Picture(path, caption),))


def _sanity(compared: Compared, figures_dir: Path) -> Section:
    keys = [
        m
        for m in (
            "randomisation_last_layer",
            "randomisation_whole_network",
            "randomisation_random_labels",
            "stability",
            "max_change",
            "agreement",
            "completeness",
        )
        if any(m in measured.columns for measured in compared.supported.values())
    ]

    def cell(method: str, key: str) -> str:
        comparison = compared.by_name.get((method, key))
        return MISSING if comparison is None else with_interval(comparison.mean)

    rows = [
        (name, *(cell(name, key) for key in keys), {True: "yes", False: "no"}.get(_reacts(measured), MISSING))
        for name, measured in compared.supported.items()
    ]
    titles = {key: measures.named(f"compare/*/{key}").label for key in (*NAMES, "max_change", "completeness")}
    table = Table(
        ("Sanity", *(titles[key] for key in keys), "reacts"),
        rows,
        f"Means with 95 % intervals over patients. Reacts: rank correlation with the random network's map below "
        f"{REACTS_BELOW}. Completeness: by how much "
        "the map's sum misses what the method promises, relative; – where it promises nothing. "
        "CycleAM is judged by generators trained for the random classifier.",
    )
    pictures = []
    cascades = {
        name: np.array(
            [np.nanmean(m.columns[key]) for key in sorted(m.columns) if key.startswith("cascade_")]
        )
        for name, m in compared.supported.items()
    }
    cascades = {name: values for name, values in cascades.items() if len(values)}
    if cascades:
        path = draw.cascade(figures_dir / "cascade.png", cascades, REACTS_BELOW)
        pictures.append(
            Picture(path, "How alike the map stays while the classifier's layers become random, one by one.")
        )
    return Section("Does it depend on the classifier?", (), (table,), pictures)


def _reacts(measured: Measured) -> bool | None:
    values = measured.columns.get("randomisation_whole_network")
    return (
        None if values is None or not np.isfinite(values).any() else bool(np.nanmean(values) < REACTS_BELOW)
    )


def _cost(compared: Compared, training_seconds: float) -> Section:
    ours = compared.supported.get(REFERENCE)
    if not any(m.costs for m in compared.supported.values()):
        return Section("Cost", ("Not measured.",))

    def row(name: str, measured: Measured) -> tuple[str, ...]:
        cells = [
            number(measured.costs.get(key, np.nan), 1)
            for key in ("ms_per_case", "ms_per_case_64", "peak_mb", "peak_mb_64")
        ]
        pays = (
            break_even(training_seconds, ours.costs["ms_per_case"], measured.costs["ms_per_case"])
            if ours
            else np.nan
        )
        text = "never" if np.isinf(pays) else f"{pays:,.0f}" if np.isfinite(pays) else MISSING
        return (name, *cells, "" if name == REFERENCE else text)

    table = Table(
        ("Cost", "ms a case, one at a time", "64 at once", "MiB, one", "MiB, 64", "CycleAM pays off from"),
        [row(name, measured) for name, measured in compared.supported.items()],
        f"Training CycleAM took {number(training_seconds, 0)} s; it pays off from the given number of cases on, "
        "explained one at a time."
        if np.isfinite(training_seconds)
        else "How long CycleAM's training took is not known, so neither is from when on it pays off.",
    )
    return Section("Cost", (), (table,))


def _extremes(compared: Compared, maps, figures_dir: Path) -> Section | None:
    each = min(3, len(compared.shared.images) // 2)  # no case is among the best and the worst
    if not each:
        return None
    scores = {name: m.columns["insertion"] - m.columns["deletion"] for name, m in compared.supported.items()}
    order = {name: np.argsort(values, kind="stable") for name, values in scores.items()}
    images = compared.shared.images.numpy()
    path = draw.extremes(figures_dir / "extremes.png", images, maps, order, scores, each)
    caption = f"Each method's worst and best cases by insertion minus deletion (the number). {SCALES}"
    return Section("Worst and best cases of each method", (), (), (Picture(path, caption),))


def logged_rows(compared: Compared, count: int = 12) -> list[dict[str, Any]]:
    """Rows of a table with pictures: a case, its image and every method's map, as uint8 colours."""
    from cycle_am.reports.draw import in_bytes, overlay, shown

    maps = signed_maps(compared)
    images = compared.shared.images.numpy()
    return [
        {
            "label": int(compared.subject.cases.label[i]),
            "p": float(compared.shared.p[i]),
            "x": in_bytes(images[i]),
            **{name: _uint8(overlay(shown(images[i]), part[i], 1.0)) for name, part in maps.items()},
        }
        for i in range(min(count, len(images)))
    ]


def _uint8(picture: np.ndarray) -> np.ndarray:
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
