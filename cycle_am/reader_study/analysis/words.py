"""The results in words, ready for a paper's results section, made from the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from cycle_am.reader_study.analysis import tables
from cycle_am.reader_study.analysis.analysis import Analysis
from cycle_am.reader_study.analysis.difference import FEW_CASES, FEW_READERS
from cycle_am.reader_study.analysis.ratings import Ratings
from cycle_am.reports.page import number

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
INTERIM = (
    "[Interim look: the study was open, and ratings were still to come. A test at every look finds more than 5% false "
    "differences; nothing here is final.]"
)


def results(result: Analysis) -> list[str]:
    """Paragraphs of plain text; figures as the APA writes them."""
    parts = [
        _design(result),
        " ".join(missing(result)),
        *(_criterion(result, criterion) for criterion in result.ratings.criteria),
        _agreement(result),
        _questionnaire(result),
        _factor(result),
    ]
    marks = [SIMULATED] * result.ratings.simulated + [INTERIM] * result.ratings.interim
    return [*marks, *filter(None, [*parts, looks(result.ratings)])]


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


def t_text(t: float, degrees: float) -> str:
    """`t(7) = 3.07`, `t(9.4) = 3.07`."""
    return f"t({degrees_text(degrees)}) = {number(t, 2)}"


def degrees_text(degrees: float) -> str:
    """Degrees of freedom: `7`, `9.4`, `> 999`."""
    if degrees > 999:
        return "> 999"
    return number(degrees, 0 if float(degrees).is_integer() else 1)


def within(low: float, high: float, digits: int = 2) -> str:
    """`95% CI [0.50, 3.13]`."""
    return f"95% CI [{number(low, digits)}, {number(high, digits)}]"


def capital(text: str) -> str:
    """The text with its first letter in upper case, the rest as it is."""
    return text[:1].upper() + text[1:]


def _design(result: Analysis) -> str:
    r = result.ratings
    labels = ""
    if r.labels is not None:
        benign, malignant = (int((r.labels == label).sum()) for label in (0, 1))
        labels = f" ({benign} benign, {malignant} malignant)"
    return (
        f"{capital(count(len(r.readers), 'reader'))} rated the explanations of "
        f"{count(len(r.cases), 'case')}{labels} by {count(len(r.names), 'method')} ({listed(r.names)}) for "
        f"{listed(r.criterion_names)} on a scale from {number(r.low, 0)} to {number(r.high, 0)}. "
        f"{completeness(r)} Means are over readers' means; their 95% confidence intervals (CI) are those of t over "
        "readers. Methods are compared by the answers that a reader gave to both. Conclusions are those of the test "
        "that takes readers and cases for samples (Dorfman-Berbaum-Metz, Hillis' degrees of freedom) and so speaks of "
        "other readers and other cases; the paired t over readers' means, beside it, speaks of these cases alone. The "
        f"p-values, not the intervals, are Holm-corrected over the pairs of methods of a criterion.{few(r)}"
    )


def looks(r: Ratings) -> str:
    """How often the study was looked at while it was open; empty where it was not."""
    if not r.earlier_looks:
        return ""
    times = {1: "once", 2: "twice"}.get(len(r.earlier_looks), count(len(r.earlier_looks), "time"))
    return (
        f"The results had been looked at {times} before while the study was open (first "
        f"at {r.earlier_looks[0]}); the p-values do not allow for that."
    )


def few(r: Ratings) -> str:
    """What is to be known of the test with few readers or cases; empty where there are enough."""
    if len(r.cases) > FEW_CASES and len(r.readers) > FEW_READERS:
        return ""
    return (
        f" With {count(len(r.readers), 'reader')} and {count(len(r.cases), 'case')} it may find more than 5% "
        "differences that are not there: up to 8% with 12 cases, 11% with six, 15% with four, and 10% with two "
        "readers."
    )


def missing(result: Analysis) -> list[str]:
    """How many answers are missing by method, and whether at random; nothing where none is."""
    gaps, r = result.gaps, result.ratings
    if not len(r.missing):
        return []
    rows = gaps.of("method")
    shares = [f"{row.missing:,} of {row.asked:,} for {r.methods[row.id]}" for row in rows.itertuples()]
    text = [f"Missing were {listed(shares)}."]
    reasons = []
    if gaps.by_method:
        reasons.append(
            f"the methods lack different numbers of answers (Cochran's Q, {p_text(gaps.p_method)})"
        )
    if gaps.by_case:
        better = "higher" if gaps.rho > 0 else "lower"
        reasons.append(
            f"cases that lack more answers were rated {better} (Spearman's ρ = {bounded(gaps.rho)}, "
            f"{p_text(gaps.p_case)})"
        )
    if reasons:
        text.append(
            f"Warning: these answers are not missing at random: {listed(reasons)}. Means of single methods do not "
            "compare then; differences are of the answers that a reader gave to both methods, and are right only if no "
            "answer is missing because of what it would have been."
        )
    return text


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


def _criterion(result: Analysis, criterion: str) -> str:
    names, scale = result.ratings.methods, tables.fair(result.ratings)
    over = ", over the questions that have every method's answer" if scale == "matched" else ""
    rows = sorted((result.mean(scale, criterion, m) for m in names), key=lambda row: -row["mean"])
    described = [
        f"{names[row['method']]} (M = {number(row['mean'], 2)}, {within(row['ci_low'], row['ci_high'])})"
        for row in rows
    ]
    ranks = [f"{number(result.mean('rank', criterion, m)['mean'], 2)} ({name})" for m, name in names.items()]
    return " ".join(
        [
            f"Regarding {criterion.replace('_', ' ')}{over}, the highest mean rating was that of {described[0]}, "
            f"followed by {listed(described[1:])}.",
            *_friedman(result, criterion),
            *_against_reference(result, criterion),
            f"Mean ranks within a question, 1 being the best, were {listed(ranks)}.",
            _mixed(result, criterion),
        ]
    )


def _friedman(result: Analysis, criterion: str) -> list[str]:
    test = result.friedman[result.friedman["criterion"] == criterion].iloc[0]
    if not math.isfinite(test["p"]):
        return []
    differ = "differed" if test["p"] < SIGNIFICANT else "did not differ significantly"
    return [
        f"Overall, for these cases alone, the methods {differ}, Friedman χ²({test['degrees']}, N = {test['n']}) = "
        f"{number(test['chi2'], 2)}, {p_text(test['p'])}, Kendall's W = {bounded(test['kendall_w'])}."
    ]


def _against_reference(result: Analysis, criterion: str) -> list[str]:
    """One sentence each for the methods rated lower than the reference, higher, neither, and not tested."""
    groups: dict[str, list[str]] = {}
    drawn_alone = []
    for method, name in list(result.ratings.methods.items())[1:]:
        row = result.test("raw", criterion, method)
        groups.setdefault(_verdict(row), []).append(f"{name} ({_test_text(row)})")
        if _verdict(row) == "alike" and row["p_holm"] < SIGNIFICANT:
            drawn_alone.append(name)
    reference = result.ratings.names[0]
    sentences = {
        "alike": "No significant difference was found between {} and {}.",
        "not tested": "No test with readers and cases both random has a value for {} and {}.",
    }
    text = [
        sentences.get(verdict, f"{{}} was rated significantly {verdict} than {{}}.").format(
            reference, listed(methods)
        )
        for verdict, methods in groups.items()
    ]
    if drawn_alone:
        text.append(
            f"The difference from {listed(drawn_alone)} is significant by the paired t, for these cases alone; that it "
            "holds for other cases is not shown."
        )
    return text


def _verdict(row) -> str:
    """`higher` or `lower`, by the test with readers and cases both random; `alike`; `not tested`."""
    if not math.isfinite(row["p_both_holm"]):
        return "not tested"
    if row["p_both_holm"] >= SIGNIFICANT:
        return "alike"
    return "higher" if row["difference"] > 0 else "lower"


def _test_text(row) -> str:
    if row["n"] < 2:
        return "fewer than two readers rated both"
    parts = [f"by {number(row['difference'], 2)}"]
    if math.isfinite(row["t_both"]):
        parts[0] += f", {within(row['both_low'], row['both_high'])}"
        parts.append(f"{t_text(row['t_both'], row['df_both'])}, {p_text(row['p_both_holm'])}")
    if not math.isfinite(row["t"]):
        return "; ".join(
            [*parts, "the mean difference is the same for every reader, so that paired t is not defined"]
        )
    text = f"paired {t_text(row['t'], row['n'] - 1)}, {p_text(row['p_holm'])}"
    if math.isfinite(row["g"]):
        text += f", g = {number(row['g'], 2)}"
    if math.isfinite(row["g_low"]):
        text += f", {within(row['g_low'], row['g_high'])}"
    return "; ".join([*parts, text])


def _mixed(result: Analysis, criterion: str) -> str:
    fit = result.mixed[criterion][-1]
    model = (
        "a linear mixed model with readers, cases and their interactions with the method as random effects"
    )
    if not fit.converged:
        return f"{capital(model)} {fit.remark.split(';')[0]}."
    names = result.ratings.methods
    differences = [
        f"{number(row.difference, 2)} from {names[row.method]}, {within(row.ci_low, row.ci_high)}"
        for row in fit.effects.itertuples()
    ]
    return (
        f"In {model} (normal intervals), {result.ratings.names[0]} differed by {'; by '.join(differences)}."
    )


def _agreement(result: Analysis) -> str:
    rows = result.agreement
    text = (
        "Inter-observer reliability, the mean pairwise Pearson correlation of the questionnaires, was ρ = "
        f"{_per_criterion(result, rows['rho'], 3)}. ICC(2,1) was {_per_criterion(result, rows['icc_single'])}, "
        f"ICC(2,k) {_per_criterion(result, rows['icc_average'])}, Krippendorff's ordinal α "
        f"{_per_criterion(result, rows['alpha'])}."
    )
    undefined = int(rows["undefined"].sum())
    if undefined:
        verb = "has" if undefined == 1 else "have"
        text += (
            f" {capital(count(undefined, 'pairwise correlation'))} of {undefined + int(rows['pairs'].sum())} "
            f"{verb} no value, as a reader did not vary their ratings or two had too few in common, and entered no "
            "mean."
        )
    if len(result.repeats):
        own = result.repeats[result.repeats["reader"] == "all"]
        text += (
            " On items shown again, readers differed from their first rating by a mean of "
            f"{_per_criterion(result, own['mean_difference'], form=number)} points; weighted κ was "
            f"{_per_criterion(result, own['kappa'])}."
        )
    return text


def _per_criterion(result: Analysis, values: Iterable[float], digits: int = 2, form=bounded) -> str:
    """`.64 (intuitive validity), .59 (semantic meaningfulness) and .56 (image quality)`."""
    named = zip(values, result.ratings.criterion_names, strict=True)
    return listed([f"{form(value, digits)} ({name})" for value, name in named])


def _questionnaire(result: Analysis) -> str:
    rows = result.variants
    if not len(rows) or not np.isfinite(rows["p"]).any():
        return ""
    first, second = np.unique(result.ratings.variants)
    significant = rows[rows["p_holm"] < SIGNIFICANT]
    if not len(significant):
        low, high, corrected = (
            bounded(p, 3) for p in (rows["p"].min(), rows["p"].max(), rows["p_holm"].min())
        )
        return (
            f"Between the variants {first} and {second} of the questionnaire no significant difference was found for "
            f"any method and criterion (two-sample t-tests, uncorrected p from {low} to {high}, lowest corrected "
            f"p = {corrected})."
        )
    names = result.ratings.methods
    described = [
        f"{names[row.method]}'s {row.criterion.replace('_', ' ')} ({t_text(row.t, row.degrees)}, "
        f"{p_text(row.p_holm)})"
        for row in significant.itertuples()
    ]
    return f"The variants {first} and {second} of the questionnaire differed significantly in {listed(described)}."


def _factor(result: Analysis) -> str:
    names = result.ratings.criterion_names
    if result.phi is None or len(names) < 2:
        return ""
    pairs = sorted(
        (result.correlations[i, j], names[i], names[j])
        for i in range(len(names))
        for j in range(i + 1, len(names))
    )
    span = [
        f"{bounded(r, 3)} ({first} and {second})" for r, first, second in (pairs[0], pairs[-1])[: len(pairs)]
    ]
    kmo = f"; KMO = {bounded(result.kmo, 3)}" if math.isfinite(result.kmo) else ""
    return (
        f"The criteria correlated with r = {' to '.join(span)}{kmo}. A general factor Φ, the first principal "
        f"component, accounted for {100 * result.phi.explained:.1f}% of the variance, with weights of "
        f"{_per_criterion(result, result.phi.weights)}."
    )
