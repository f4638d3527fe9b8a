"""The report of a study: every number was computed before (`cycle_am.reader_study.analysis.analysis`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cycle_am.reader_study import paper
from cycle_am.reader_study.analysis import figures as draw
from cycle_am.reader_study.analysis import inference, tables, words
from cycle_am.reader_study.analysis.analysis import Analysis
from cycle_am.reader_study.analysis.words import bounded
from cycle_am.reports.page import MISSING, Headline, Picture, Report, Section, Table, number

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
STARS_NOTE = (
    "Against {reference}, readers and lesions both random, after Holm: * p < .05, ** p < .01, *** p < .001."
)
LEAD = (
    "Readers who did not know which method made which image rated explanations of the same lesions. Which method "
    "do they prefer, by how much, and do they agree?"
)


def report(result: Analysis, folder: Path, notes: Mapping[str, str]) -> Report:
    """The page; draws its figures into `folder`."""
    title, lead = "Double-blind reader study", LEAD
    if result.ratings.interim:
        title, lead = f"INTERIM LOOK: {title}", f"The study was open and ratings were still to come. {lead}"
    if result.ratings.simulated:
        title = f"SIMULATED DATA: {title}"
        lead = f"{draw.SIMULATED}: readers and ratings are synthetic. {lead}"
    sections = [
        _answers(result),
        _figure7(result, folder),
        _tables(result),
        _tests(result),
        _mixed(result),
        _agreement(result),
        _variants(result),
        _labels(result),
        _criteria(result, folder),
        _beside_the_paper(result),
        _arithmetic(),
        Section("Results in words", words.results(result)),
    ]
    return Report(title, lead, _headlines(result), [section for section in sections if section], notes)


def stars(p: float) -> str:
    """The paper's marks of significance."""
    return next((mark for limit, mark in STARS if p < limit), "")


def _p(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    return "< .001" if value < 0.001 else bounded(value, 3)


def _cell(value: float, low: float, high: float, mark: str = "") -> str:
    text = number(value, 2) + mark
    return f"{text} [{number(low, 2)}, {number(high, 2)}]" if math.isfinite(low) else text


def _headlines(result: Analysis) -> list[Headline]:
    headlines, scale = [], tables.fair(result.ratings)
    over = ", over questions with every answer" if scale == "matched" else ""
    for criterion, name in zip(result.ratings.criteria, result.ratings.criterion_names, strict=True):
        rows = result.means[(result.means["scale"] == scale) & (result.means["criterion"] == criterion)]
        first, second = (row for _, row in rows.sort_values("mean", ascending=False).head(2).iterrows())
        names = result.ratings.methods
        test = result.pair(scale, criterion, first["method"], second["method"])
        headlines.append(
            Headline(
                f"{words.capital(name)}: highest mean",
                names[first["method"]],
                f"{number(first['mean'], 2)}; next {names[second['method']]}, {number(second['mean'], 2)}{over}; "
                f"difference: {words.p_text(test['p_both_holm'])}",
            )
        )
    return headlines


def _answers(result: Analysis) -> Section:
    r = result.ratings
    text = [words.completeness(r)]
    if not len(r.missing):
        return Section("Ratings", text)
    text += words.missing(result)
    text.append(
        "Methods are compared by the answers that a reader gave to both. Missing ratings are left out of each mean; a "
        "question with one has no ranks, and an item with one no place in the ICC. missing.csv names each."
    )
    return Section("Ratings", text, [_lacking(result, "method", r.methods), _lacking(result, "reader", {})])


def _lacking(result: Analysis, kind: str, names: Mapping[str, str]) -> Table:
    rows = [
        [
            names.get(row.id, row.id),
            f"{row.asked:,}",
            f"{row.missing:,}",
            f"{100 * row.missing / row.asked:.1f} %",
        ]
        for row in result.gaps.of(kind).itertuples()
    ]
    return Table([words.capital(kind), "Asked for", "Missing", "Share"], rows)


def _tables(result: Analysis) -> Section:
    text = [
        "Means over readers' means with 95 % intervals of t over readers (another sample of readers, the same cases).",
        "Two adjustments stand side by side: the paper describes z-normalisation and its Table 3 shows centring. "
        "Centring takes the same number off all methods, so it leaves their differences and every t as they are "
        "in raw ratings, but for missing answers.",
    ]
    if "matched" in tables.scales(result.ratings):
        text.append(
            "Answers are missing, so the means over all given answers do not quite compare. Those over complete "
            "questions, which have every method's answer by the reader, do."
        )
    note = STARS_NOTE.format(reference=result.ratings.names[0])
    parts = []
    for scale, what in tables.scales(result.ratings).items():
        better = "Lower" if what.lower_is_better else "Higher"
        rows = [
            [name, *(_mean_cell(result, scale, criterion, method) for criterion in result.ratings.criteria)]
            for method, name in result.ratings.methods.items()
        ]
        parts.append(
            Table([what.title, *result.ratings.criterion_names], rows, f"{better} is better. {note}")
        )
    return Section("Means and ranks (the paper's Tables 2 to 4)", text, parts)


def _mean_cell(result: Analysis, scale: str, criterion: str, method: str) -> str:
    row = result.mean(scale, criterion, method)
    mark = (
        ""
        if method == result.ratings.reference
        else stars(result.test(scale, criterion, method)["p_both_holm"])
    )
    return _cell(row["mean"], row["ci_low"], row["ci_high"], mark)


def _figure7(result: Analysis, folder: Path) -> Section:
    caption = (
        "Figure 7 of the paper. Left: boxes are the single adjusted ratings, black dots and lines the means with "
        "their 95 % intervals over readers. "
    )
    if len(result.by_label):
        caption += "Right: means and intervals for benign (blue) and malignant (red) lesions apart. "
    caption += "Top: centred, as in the paper's Table 3; bottom: z-adjusted, as in its text."
    path = draw.ratings_by_method(folder / "figure7.png", result)
    return Section("Ratings by criterion and method", pictures=[Picture(path, caption)])


def _tests(result: Analysis) -> Section:
    r = result.ratings
    text = [
        f"Raw ratings, {r.names[0]} less each other method, of the answers that a reader gave to both. Two tests stand "
        "side by side. Readers and lesions both random (Dorfman-Berbaum-Metz, Hillis' degrees of freedom): the "
        "conclusion holds for other readers and other lesions; trust this one, as the results in words do. The paired "
        "t over readers' means takes the lesions as they were drawn: what readers agree on about these lesions counts "
        f"as a difference of the methods.{words.few(r)}",
        f"The paired p stands twice: by t(N−1) = t({len(r.readers) - 1}), the degrees of freedom of a paired t-test, "
        "and by t(N−2), as the paper states it. Holm's correction is over all pairs of methods of a criterion. The "
        "exact Wilcoxon signed-rank test is over readers' means. g: "
        "Hedges' g of the readers' differences, with its exact 95 % interval. r: matched-pairs rank-biserial "
        "correlation. All pairs, and the same for adjusted ratings and ranks, are in tests.csv.",
    ]
    n = len(r.readers)
    columns = ["Both random", "t", "p, Holm", "Paired, these lesions", f"t({n - 1})", "p, Holm"]
    parts, others = [], []
    for criterion, name in zip(r.criteria, r.criterion_names, strict=True):
        tested = [
            (other, result.test("raw", criterion, method)) for method, other in list(r.methods.items())[1:]
        ]
        parts.append(Table([words.capital(name), *columns], [_test_row(*pair) for pair in tested]))
        others += [[f"{words.capital(name)}, {other}", *_other_tests(row)] for other, row in tested]
    columns = ["p, both random", f"p, t({n - 1})", f"p, t({n - 2})", "Wilcoxon", "g", "r"]
    parts.append(Table(["Without correction", *columns], others))
    friedman = [
        [
            name,
            f"χ²({row['degrees']}) = {number(row['chi2'], 2)}" if math.isfinite(row["chi2"]) else MISSING,
            _p(row["p"]),
            bounded(row["kendall_w"]),
            str(row["n"]),
        ]
        for name, (_, row) in zip(r.criterion_names, result.friedman.iterrows(), strict=True)
    ]
    note = "All methods at once, over readers' means." + (
        " Not defined for two methods."
        if len(r.names) < 3
        else " Kendall's W: 1 where all readers rank the methods alike."
    )
    parts.append(Table(["Friedman", "Statistic", "p", "Kendall's W", "Readers"], friedman, note))
    return Section("Tests between methods", text, parts)


def _test_row(name: str, row: pd.Series) -> list[str]:
    return [
        name,
        _cell(row["difference"], row["both_low"], row["both_high"]),
        _t(row["t_both"], row["df_both"]),
        _p(row["p_both_holm"]),
        _cell(row["difference"], row["ci_low"], row["ci_high"]),
        number(row["t"], 2),
        _p(row["p_holm"]),
    ]


def _other_tests(row: pd.Series) -> list[str]:
    ps = [_p(row[name]) for name in ("p_both", "p", "p_paper", "p_wilcoxon")]
    return [*ps, _cell(row["g"], row["g_low"], row["g_high"]), bounded(row["rank_biserial"])]


def _t(t: float, degrees: float) -> str:
    """`t(9.4) = 3.07`."""
    return words.t_text(t, degrees) if math.isfinite(t) else MISSING


def _mixed(result: Analysis) -> Section:
    r = result.ratings
    text = [
        f"Linear mixed-effects models by REML of the raw ratings: method fixed (difference from {r.names[0]}), "
        "reader and case crossed random effects. Random intercepts alone take all readers to see the same "
        "differences and then count every rating as evidence of its own; with the interactions reader × method "
        "and case × method the conclusion is on other readers and other cases. Where the two disagree, the "
        "second is the one to believe. z is normal, without a correction for few readers.",
    ]
    named = list(zip(r.criteria, r.criterion_names, strict=True))
    parts = []
    for place, model in enumerate(inference.MODELS):
        fits = [(name, result.mixed[criterion][place]) for criterion, name in named]
        rows = [row for name, fit in fits for row in _mixed_rows(name, fit, r.methods)]
        parts.append(Table([f"Model {model}", f"{r.names[0]} less", "Difference", "z", "p"], rows))
    for place, (model, components) in enumerate(inference.MODELS.items()):
        shown = [*components, "residual"]
        rows = [
            [
                name,
                *(number(fit.components.get(key, math.nan), 3) for key in shown),
                "converged" if fit.converged else fit.remark,
            ]
            for name, fit in ((name, result.mixed[criterion][place]) for criterion, name in named)
        ]
        parts.append(
            Table([f"Variances {model}", *(key.replace(" x ", " × ") for key in shown), "Fit"], rows)
        )
    return Section("Mixed-effects models", text, parts)


def _mixed_rows(name: str, fit: inference.Mixed, methods: Mapping[str, str]) -> list[list[str]]:
    if not fit.converged:
        return [[name, *[MISSING] * 4]]
    return [
        [
            name if i == 0 else "",
            methods[row.method],
            _cell(row.difference, row.ci_low, row.ci_high),
            number(row.z, 2),
            _p(row.p),
        ]
        for i, row in enumerate(fit.effects.itertuples())
    ]


def _agreement(result: Analysis) -> Section:
    text = [
        "ρ: equation 7, mean pairwise Pearson correlation of the questionnaires. ICC: two-way random effects, "
        "absolute agreement, of a single reader, ICC(2,1), and of the mean of all, ICC(2,k). α: Krippendorff's, "
        "ordinal.",
    ]
    undefined = int(result.agreement["undefined"].sum())
    if undefined:
        text.append(
            "Pairs without a correlation, as a reader did not vary their ratings or two had too few in common: "
            f"{undefined}. They are left out of ρ."
        )
    rows = [
        [
            name,
            bounded(row["rho"], 3),
            f"{row['pairs']} of {row['pairs'] + row['undefined']}",
            _cell(row["icc_single"], row["icc_single_low"], row["icc_single_high"]),
            _cell(row["icc_average"], row["icc_average_low"], row["icc_average_high"]),
            bounded(row["alpha"], 3),
            str(row["icc_items"]),
        ]
        for name, (_, row) in zip(result.ratings.criterion_names, result.agreement.iterrows(), strict=True)
    ]
    columns = ["Between readers", "ρ", "Pairs", "ICC(2,1)", "ICC(2,k)", "α", "Items in the ICC"]
    parts = [Table(columns, rows)]
    if len(result.repeats):
        parts.append(_repeats(result))
    else:
        text.append("No item was shown twice, so the readers' agreement with themselves is not known.")
    return Section("Do readers agree?", text, parts)


def _repeats(result: Analysis) -> Table:
    rows = [
        [
            row["criterion"].replace("_", " "),
            str(row["pairs"]),
            number(row["mean_difference"], 2),
            f"{100 * row['equal']:.0f} %" if row["pairs"] else MISSING,
            bounded(row["kappa"]),
            bounded(row["icc"]),
        ]
        for _, row in result.repeats[result.repeats["reader"] == "all"].iterrows()
    ]
    columns = ["Within readers", "Pairs", "Mean |difference|", "Equal", "Weighted κ", "ICC(2,1)"]
    note = "Items shown twice, all readers together; each reader: repeats.csv. κ with quadratic weights."
    return Table(columns, rows, note)


def _variants(result: Analysis) -> Section:
    title = "Variants of the questionnaire"
    if not len(result.variants):
        return Section(title, ["There are no two variants to compare."])
    first, second = np.unique(result.ratings.variants)
    text = [
        f"Mean of the readers of {first} less that of {second}; two-sample t-test of equal variances, t(N−2), the "
        "test for two independent groups; Holm's correction over all rows.",
    ]
    rows = [
        [
            row["criterion"].replace("_", " "),
            result.ratings.methods[row["method"]],
            number(row["difference"], 2),
            f"t({row['degrees']}) = {number(row['t'], 2)}" if math.isfinite(row["t"]) else MISSING,
            _p(row["p"]),
            _p(row["p_holm"]),
        ]
        for _, row in result.variants.iterrows()
    ]
    return Section(
        title, text, [Table([f"{first} − {second}", "Method", "Difference", "t", "p", "p, Holm"], rows)]
    )


def _labels(result: Analysis) -> Section:
    title = "Benign and malignant lesions"
    if not len(result.label_tests):
        return Section(title, ["It is not known, or the same for all cases, which lesions are malignant."])
    rows_of = result.by_label[result.by_label["scale"] == "raw"].set_index(["criterion", "method", "label"])
    rows = []
    for _, test in result.label_tests.iterrows():
        key = test["criterion"], test["method"]
        cells = [_cell(*rows_of.loc[(*key, label), ["mean", "ci_low", "ci_high"]]) for label in (0, 1)]
        rows.append(
            [
                test["criterion"].replace("_", " "),
                result.ratings.methods[test["method"]],
                *cells,
                _cell(test["difference"], test["both_low"], test["both_high"]),
                _p(test["p_both_holm"]),
                _p(test["p_holm"]),
            ]
        )
    columns = ["Raw rating", "Method", "Benign", "Malignant", "Difference", "p", "paired"]
    return Section(
        title,
        tables=[
            Table(
                columns,
                rows,
                "Malignant less benign, p corrected by Holm over all rows. Difference and p: readers and lesions both "
                "random; paired: t over readers' means, for these lesions alone.",
            )
        ],
    )


def _criteria(result: Analysis, folder: Path) -> Section:
    pictures = []
    tree = draw.criteria_tree(folder / "figure8.png", result)
    if tree:
        pictures.append(
            Picture(
                tree,
                "Figure 8 of the paper: Pearson correlations of the criteria over all answers, and their "
                "dendrogram (average linkage of 1 − r).",
            )
        )
    phi = draw.general_factor(folder / "figure9.png", result)
    if phi:
        pictures.append(
            Picture(
                phi,
                "Figure 9 of the paper: the general factor Φ by method (boxes: answers; dots and lines: means "
                "with 95 % intervals over readers), and its L1-normalised eigenvector.",
            )
        )
    if len(result.ratings.criteria) < 2:
        text = ["There is one criterion: no correlations, and Φ is that criterion, standardised."]
    else:
        text = [_kmo(result.kmo)]
    if result.phi is None:
        text.append("A criterion has one rating throughout: there is no general factor.")
        return Section("Do the criteria measure one thing?", text, pictures=pictures)
    rows = [
        [name, number(weight, 3), number(loading, 3)]
        for name, weight, loading in zip(
            result.ratings.criterion_names, result.phi.weights, result.phi.loadings, strict=True
        )
    ]
    explained = f"{100 * result.phi.explained:.1f} %"
    note = f"PCA of the standardised criteria; the first component explains {explained} of the variance."
    return Section(
        "Do the criteria measure one thing?",
        text,
        [Table(["Criterion", "Weight in Φ (L1)", "Loading"], rows, note), _phi_table(result)],
        pictures,
    )


def _kmo(value: float) -> str:
    if not math.isfinite(value):
        return "KMO is not defined: the correlations cannot be inverted."
    verdict = "adequate for a PCA" if value >= 0.6 else "below .6, which is held to be poor for a PCA"
    return f"Kaiser-Meyer-Olkin measure: KMO = {bounded(value, 3)}, {verdict}."


def _phi_table(result: Analysis) -> Table:
    tests = result.phi_tests.set_index(["first", "second"])
    rows = []
    for _, row in result.phi_means.iterrows():
        method = row["method"]
        cells = [MISSING] * 4
        if method != result.ratings.reference:
            test = tests.loc[(result.ratings.reference, method)]
            both = _t(test["t_both"], test["df_both"]), _p(test["p_both_holm"])
            cells = [*both, number(test["t"], 2), _p(test["p_holm"])]
        rows.append(
            [result.ratings.methods[method], _cell(row["mean"], row["ci_low"], row["ci_high"]), *cells]
        )
    columns = [
        "Φ",
        "Mean",
        f"Against {result.ratings.names[0]}, both random",
        "p, Holm",
        "paired t",
        "p, Holm",
    ]
    return Table(columns, rows)


def _beside_the_paper(result: Analysis) -> Section | None:
    """This study's tables beside the published ones, where methods and criteria are the paper's."""
    r = result.ratings
    if not set(r.methods) <= set(paper.METHODS) or not set(r.criteria) <= set(paper.CRITERIA):
        return None
    published = {"raw": paper.RAW, "centred": paper.ADJUSTED, "rank": paper.RANKS}
    parts = []
    for scale, table in published.items():
        rows = []
        for method, name in r.methods.items():
            here = [result.mean(scale, criterion, method) for criterion in r.criteria]
            rows.append(
                [name, *(_cell(row["mean"], row["answers_low"], row["answers_high"]) for row in here)]
            )
            cells = [table[method][criterion] for criterion in r.criteria]
            rows.append([f"{name}, published", *(_cell(cell.mean, cell.low, cell.high) for cell in cells)])
        parts.append(Table([tables.SCALES[scale].title, *r.criterion_names], rows))
    text = [
        "Intervals here are of the kind that the paper's appear to be, so that the two compare: percentiles of "
        f"the mean of {len(r.readers)} answers (as many as readers) drawn from all. They say how much a few "
        "single answers vary, and are too wide for the mean of all.",
    ]
    return Section("Beside the published tables", text, parts)


def _arithmetic() -> Section:
    """What the published numbers say of how they were computed."""
    columns = ["Raw less mean / Table 3", "Mean of Table 2", *paper.METHODS.values()]
    rows = []
    for criterion, name in paper.CRITERIA.items():
        mean = float(np.mean([paper.RAW[m][criterion].mean for m in paper.METHODS]))
        rows.append(
            [name, number(mean, 2)]
            + [
                f"{number(paper.RAW[m][criterion].mean - mean, 2)} / {number(paper.ADJUSTED[m][criterion].mean, 2)}"
                for m in paper.METHODS
            ]
        )
    centring = Table(
        columns,
        rows,
        "The same but for rounding: Table 3 is centred and not divided by a standard deviation.",
    )
    n = paper.READERS
    degrees = [
        [
            f"{paper.CRITERIA[test.criterion]}, against {paper.METHODS[test.method]}",
            number(test.t, 2),
            bounded(test.p, 3),
            bounded(inference.two_sided(test.t, n - 1), 3),
            bounded(inference.two_sided(test.t, n - 2), 3),
        ]
        for test in paper.TESTS
    ]
    tests = Table(
        ["Published test", "t", "Published p", f"p of t(N−1) = t({n - 1})", f"p of t(N−2) = t({n - 2})"],
        degrees,
        "The published p belong to a paired t-test of eight readers, t(7), not to the stated t(6).",
    )
    text = [
        "Two findings on the published numbers, which is why both variants stand side by side above. Neither "
        "changes which method is best.",
        "A third is likely, not certain: all bounds of Table 2 are multiples of 1/8 and all of Table 4 of 1/16, "
        "which means of eight single answers (or tied ranks) must be and means over 24 lesions need not. The "
        "published intervals then say how the mean of eight answers varies, and are wider than those of the mean "
        "of all 192.",
    ]
    return Section("The paper's arithmetic", text, [centring, tests])
