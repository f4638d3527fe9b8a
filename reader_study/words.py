"""The results in words, ready for a paper's results section, made from the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from evaluation.report import number
from reader_study.analysis import Analysis
from reader_study.ratings import Ratings

SIGNIFICANT = 0.05
COUNTS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
)  # figures from 10, as the APA
SIMULATED = "[Simulated data: no reader has seen an image.]"


def results(one: Analysis) -> list[str]:
    """Paragraphs of plain text; figures as the APA writes them."""
    parts = [
        _design(one),
        *(_criterion(one, criterion) for criterion in one.ratings.criteria),
        _agreement(one),
        _questionnaire(one),
        _factor(one),
    ]
    return [*([SIMULATED] if one.ratings.simulated else []), *filter(None, parts)]


def count(n: int, noun: str, plural: str = "") -> str:
    """`one reader`, `eight readers`, `24 readers`."""
    word = COUNTS[n] if n < len(COUNTS) else f"{n:,}"
    return f"{word} {noun if n == 1 else plural or noun + 's'}"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def bounded(value: float, digits: int = 2) -> str:
    """A number that cannot exceed 1 in magnitude, such as a correlation, without its leading zero."""
    text = number(value, digits)
    return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0.") else text


def p_text(p: float) -> str:
    """`p = .018`, `p < .001`, `p not defined`."""
    if not math.isfinite(p):
        return "p not defined"
    return "p < .001" if p < 0.001 else f"p = {bounded(p, 3)}"


def t_text(t: float, degrees: int) -> str:
    """`t(7) = 3.07`."""
    return f"t({degrees}) = {number(t, 2)}"


def within(low: float, high: float, digits: int = 2) -> str:
    """`95% CI [0.50, 3.13]`."""
    return f"95% CI [{number(low, digits)}, {number(high, digits)}]"


def capital(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def _design(one: Analysis) -> str:
    r = one.ratings
    labels = ""
    if r.labels is not None:
        benign, malignant = (int((r.labels == label).sum()) for label in (0, 1))
        labels = f" ({benign} benign, {malignant} malignant)"
    return (
        f"{capital(count(len(r.readers), 'reader'))} rated the explanations of "
        f"{count(len(r.cases), 'case')}{labels} by {count(len(r.names), 'method')} ({listed(r.names)}) for "
        f"{listed(r.criterion_names)} on a scale from {number(r.low, 0)} to {number(r.high, 0)}. "
        f"{completeness(r)} Means are over readers' means; their 95% confidence intervals (CI) are percentiles of "
        "a bootstrap over readers. Tests between methods take readers' means, and their p-values are "
        "Holm-corrected over the pairs of methods of a criterion."
    )


def completeness(r: Ratings) -> str:
    """How many ratings there are, and how many were asked for and not given."""
    given = int(np.isfinite(r.scores).sum() + np.isfinite(r.repeats).sum())
    lacking, asked = len(r.missing), given + len(r.missing)
    if not lacking:
        return f"This gave {given:,} ratings; none was missing."
    verb = "was" if lacking == 1 else "were"
    share = f"{100 * lacking / asked:.1f}%"
    text = f"This gave {given:,} ratings; {lacking:,} of {asked:,} asked for ({share}) {verb} missing."
    if r.silent:
        silent = len(r.silent)
        verb = "is" if silent == 1 else "are"
        text += f" {capital(count(silent, 'further reader'))} gave no rating at all and {verb} left out."
    return text


def _criterion(one: Analysis, criterion: str) -> str:
    names = one.ratings.methods
    rows = sorted((one.mean("raw", criterion, m) for m in names), key=lambda row: -row["mean"])
    described = [
        f"{names[row['method']]} (M = {number(row['mean'], 2)}, {within(row['ci_low'], row['ci_high'])})"
        for row in rows
    ]
    ranks = [f"{number(one.mean('rank', criterion, m)['mean'], 2)} ({name})" for m, name in names.items()]
    return " ".join(
        [
            f"Regarding {criterion.replace('_', ' ')}, the highest mean rating was that of {described[0]}, "
            f"followed by {listed(described[1:])}.",
            *_friedman(one, criterion),
            *_against_reference(one, criterion),
            f"Mean ranks within a question, 1 being the best, were {listed(ranks)}.",
            _mixed(one, criterion),
        ]
    )


def _friedman(one: Analysis, criterion: str) -> list[str]:
    found = one.friedman[one.friedman["criterion"] == criterion].iloc[0]
    if not math.isfinite(found["p"]):
        return []
    differ = "differed" if found["p"] < SIGNIFICANT else "did not differ significantly"
    return [
        f"Overall, the methods {differ}, Friedman χ²({found['degrees']}, N = {found['n']}) = "
        f"{number(found['chi2'], 2)}, {p_text(found['p'])}, Kendall's W = {bounded(found['kendall_w'])}."
    ]


def _against_reference(one: Analysis, criterion: str) -> list[str]:
    """One sentence each for the methods rated lower than the reference, higher, and neither."""
    groups: dict[str, list[str]] = {}
    for method, name in list(one.ratings.methods.items())[1:]:
        row = one.test("raw", criterion, method)
        verdict = ""
        if row["p_holm"] < SIGNIFICANT:
            verdict = "higher" if row["difference"] > 0 else "lower"
        groups.setdefault(verdict, []).append(f"{name} ({_test_text(row)})")
    reference = one.ratings.names[0]
    return [
        f"{reference} was rated significantly {verdict} than {listed(found)}."
        if verdict
        else f"No significant difference was found between {reference} and {listed(found)}."
        for verdict, found in groups.items()
    ]


def _test_text(row) -> str:
    if row["n"] < 2:
        return "fewer than two readers rated both"
    if not math.isfinite(row["t"]):
        return f"the same difference of {number(row['difference'], 2)} for every reader, so that t is not defined"
    text = f"{t_text(row['t'], row['n'] - 1)}, {p_text(row['p_holm'])}"
    if math.isfinite(row["g"]):
        text += f", g = {number(row['g'], 2)}"
    return f"{text}, {within(row['g_low'], row['g_high'])}" if math.isfinite(row["g_low"]) else text


def _mixed(one: Analysis, criterion: str) -> str:
    fit = one.mixed[criterion][-1]
    model = (
        "a linear mixed model with readers, cases and their interactions with the method as random effects"
    )
    if not fit.converged:
        return f"{capital(model)} {fit.remark.split(';')[0]}."
    names = one.ratings.methods
    found = [
        f"{number(row.difference, 2)} from {names[row.method]}, {within(row.ci_low, row.ci_high)}"
        for row in fit.effects.itertuples()
    ]
    return f"In {model}, {one.ratings.names[0]} differed by {'; by '.join(found)}."


def _agreement(one: Analysis) -> str:
    rows = one.agreement
    text = (
        "Inter-observer reliability, the mean pairwise Pearson correlation of the questionnaires, was ρ = "
        f"{_per_criterion(one, rows['rho'], 3)}. ICC(2,1) was {_per_criterion(one, rows['icc_single'])}, ICC(2,k) "
        f"{_per_criterion(one, rows['icc_average'])}, Krippendorff's ordinal α "
        f"{_per_criterion(one, rows['alpha'])}."
    )
    undefined = int(rows["undefined"].sum())
    if undefined:
        verb = "has" if undefined == 1 else "have"
        text += (
            f" {capital(count(undefined, 'pairwise correlation'))} of {undefined + int(rows['pairs'].sum())} "
            f"{verb} no value, as a reader did not vary his ratings or two had too few in common, and entered no "
            "mean."
        )
    if len(one.repeats):
        own = one.repeats[one.repeats["reader"] == "all"]
        text += (
            " On items shown again, readers differed from their first rating by a mean of "
            f"{_per_criterion(one, own['mean_difference'], form=number)} points; weighted κ was "
            f"{_per_criterion(one, own['kappa'])}."
        )
    return text


def _per_criterion(one: Analysis, values: Iterable[float], digits: int = 2, form=bounded) -> str:
    """`.64 (intuitive validity), .59 (semantic meaningfulness) and .56 (image quality)`."""
    named = zip(values, one.ratings.criterion_names, strict=True)
    return listed([f"{form(value, digits)} ({name})" for value, name in named])


def _questionnaire(one: Analysis) -> str:
    rows = one.variants
    if not len(rows) or not np.isfinite(rows["p"]).any():
        return ""
    first, second = np.unique(one.ratings.variants)
    found = rows[rows["p_holm"] < SIGNIFICANT]
    if not len(found):
        low, high, corrected = (
            bounded(p, 3) for p in (rows["p"].min(), rows["p"].max(), rows["p_holm"].min())
        )
        return (
            f"Between the variants {first} and {second} of the questionnaire no significant difference was found for "
            f"any method and criterion (two-sample t-tests, uncorrected p from {low} to {high}, lowest corrected "
            f"p = {corrected})."
        )
    names = one.ratings.methods
    described = [
        f"{names[row.method]}'s {row.criterion.replace('_', ' ')} ({t_text(row.t, row.degrees)}, "
        f"{p_text(row.p_holm)})"
        for row in found.itertuples()
    ]
    return f"The variants {first} and {second} of the questionnaire differed significantly in {listed(described)}."


def _factor(one: Analysis) -> str:
    names = one.ratings.criterion_names
    if one.phi is None or len(names) < 2:
        return ""
    found = sorted(
        (one.correlations[i, j], names[i], names[j])
        for i in range(len(names))
        for j in range(i + 1, len(names))
    )
    span = [
        f"{bounded(r, 3)} ({first} and {second})" for r, first, second in (found[0], found[-1])[: len(found)]
    ]
    kmo = f"; KMO = {bounded(one.kmo, 3)}" if math.isfinite(one.kmo) else ""
    return (
        f"The criteria correlated with r = {' to '.join(span)}{kmo}. A general factor Φ, the first principal "
        f"component, accounted for {100 * one.phi.explained:.1f}% of the variance, with weights of "
        f"{_per_criterion(one, one.phi.weights)}."
    )
