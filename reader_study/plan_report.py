"""The plan in words, a picture and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.ticker import PercentFormatter

from evaluation.bootstrap import Figure
from evaluation.figures import PLAIN, WIDTH, _canvas, _plain_axes, _save
from evaluation.report import Headline, Picture, Report, Section, Table, number, with_interval
from reader_study import paper
from reader_study.planning import PREFERENCES, Plan
from reader_study.power import fewest_readers

QUESTIONS = {"both": "for readers and lesions in general", "readers": "for the drawn lesions alone"}
TEST_NAMES = {"both": "readers and lesions both random", "readers": "paired t over readers, t(N − 1)"}
CURVES = (
    "Power against the number of readers. Left: the claim is to hold for other readers and other lesions. Right: for "
    "other readers, and the same lesions. Bands: 95 % intervals of the simulation."
)
OWN_DESIGN = (
    f"{paper.READERS} readers, {paper.LESIONS} lesions and the published differences. How much power that has hangs on "
    "how much of what a reader thinks apart from the others is a lasting preference for a method, which more lesions "
    "do not average out. The paper does not tell; the table shows several shares.",
    "The last line of each criterion takes the published t for what it is said to be, a t over the readers' means. "
    "Readers who differ so much could not agree as the paper says they do: compare rho with the published one. The "
    "published t fits if it was computed from the spread of single answers with n = 8, and the published intervals "
    "are multiples of 1/8, as means of eight single answers are. So the stated t is smaller than one over readers' "
    "means was, and the true power is rather that of the other lines.",
)
FALSE_POSITIVES = (
    f"The same simulated readers and {paper.LESIONS} lesions, but no method is better. Left: they are alike on every "
    "lesion. Right: on each lesion some are better, by chance, and over all lesions none: the case for which a claim "
    "about lesions in general must be safe.",
    "Answers of one reader, and answers to one lesion, are not independent: a test over all answers or over lesions "
    "finds a difference nearly as often as not. The paired t over readers is right about the drawn lesions, and finds "
    "too much where it is to speak of others. t(N − 2) is a paired t with one degree of freedom too few: safe, and a "
    "little weaker.",
)
READERS = (
    "A rating is the method's mean, what all readers see in this lesion and map, the reader's severity, preference "
    "for the method and opinion on the map, and noise, rounded to a whole number of the scale. The parts are so large "
    "that simulated studies show the paper's figures in the mean: the raw means (Table 2), the t of the second best, "
    "the inter-observer rho (eq. 7) and the correlations of the criteria. The mean ranks (Table 4) were not fitted.",
)


def sentences(plan: Plan) -> list[str]:
    """The answer: one sentence for each number of lesions."""
    lines = []
    for test, question in QUESTIONS.items():
        rows = plan.power[plan.power["test"] == test]
        lines.append(f"{question.capitalize()} ({TEST_NAMES[test]}):")
        lines += [
            _sentence(plan, rows, cases, fewest)
            for cases, fewest in fewest_readers(rows, plan.wanted).items()
        ]
    return lines


def _sentence(plan: Plan, rows: pd.DataFrame, cases: int, fewest: int | None) -> str:
    readers = rows["readers"].max() if fewest is None else fewest
    found = rows[(rows["cases"] == cases) & (rows["readers"] == readers)].iloc[0]
    power = f"a power of {percent(found['power'])} % [{percent(found['low'])}, {percent(found['high'])}]"
    what = f"a difference of {number(plan.effect, 2)} points"
    if fewest is None:
        return f"With {cases} lesions, even {readers} readers detect {what} only with {power}."
    return f"With {cases} lesions, {readers} readers detect {what} with {power}."


def power_curves(path: Path, plan: Plan) -> Path:
    """Power by the number of readers, a line for each number of lesions; a panel for each test."""
    canvas, axes = _canvas(WIDTH, 4.1, ncols=len(QUESTIONS), sharey=True)
    lesions = sorted(plan.power["cases"].unique())
    colours = colormaps["viridis"](np.linspace(0.85, 0.1, len(lesions)))
    for axis, (test, question) in zip(axes, QUESTIONS.items(), strict=True):
        rows = plan.power[plan.power["test"] == test]
        for cases, colour in zip(lesions, colours, strict=True):
            line = rows[rows["cases"] == cases].sort_values("readers")
            axis.fill_between(line["readers"], line["low"], line["high"], color=colour, alpha=0.2, lw=0)
            axis.plot(line["readers"], line["power"], "o-", color=colour, ms=4, lw=1.8, label=str(cases))
        axis.axhline(plan.wanted, color=PLAIN, lw=1, ls=":")
        axis.set(xlabel="readers", ylim=(0, 1.02), xticks=sorted(rows["readers"].unique()))
        axis.set_title(f"{question}\n{TEST_NAMES[test]}", fontsize=10)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        _plain_axes(axis)
    axes[0].set_ylabel(f"power to detect {number(plan.effect, 2)} points", fontsize=9)
    axes[0].annotate(
        f"wanted: {percent(plan.wanted)} %",
        (0.01, plan.wanted),
        (0, 3),
        fontsize=8,
        color=PLAIN,
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
    )
    axes[1].legend(title="lesions", frameon=False, fontsize=9, title_fontsize=9, loc="lower right")
    return _save(canvas, path)


def percent(share: float) -> str:
    """A share in whole percent."""
    return f"{100 * share:.0f}"


def report(plan: Plan, picture: Path) -> Report:
    """The page."""
    against = " and ".join(paper.METHODS[rival] for rival in plan.rivals)
    return Report(
        title="How many readers, how many lesions?",
        lead=(
            f"How often does a study find a difference of {number(plan.effect, 2)} points in "
            f"{paper.CRITERIA[plan.criterion]} ({paper.METHODS[paper.REFERENCE]} against {against}; scale from "
            f"{number(paper.LOW, 0)} to {paper.HIGH}) with p < {plan.alpha}? {plan.studies} simulated studies, with "
            "readers like the paper's. Everything on this page is simulated."
        ),
        headlines=_headlines(plan),
        sections=[
            Section(
                "Power",
                sentences(plan),
                [_power_grid(plan, test) for test in QUESTIONS],
                [Picture(picture, CURVES)],
            ),
            Section("What the paper's own design could detect", OWN_DESIGN, [_own_table(plan)]),
            Section("Which test to trust", FALSE_POSITIVES, [_null_table(plan)]),
            Section("The simulated readers", READERS),
        ],
        notes={"preference": f"{plan.preference}", "studies": f"{plan.studies}"},
    )


def _headlines(plan: Plan) -> list[Headline]:
    lesions = paper.LESIONS if paper.LESIONS in set(plan.power["cases"]) else int(plan.power["cases"].max())
    found = []
    for test, question in QUESTIONS.items():
        readers = fewest_readers(plan.power[plan.power["test"] == test], plan.wanted)[lesions]
        text = f"more than {plan.power['readers'].max()}" if readers is None else str(readers)
        found.append(Headline("readers needed", text, f"{lesions} lesions, {question}"))
    own = plan.own_design.set_index(["criterion", "preference"]).loc[
        (plan.criterion, percent(PREFERENCES[1]) + " %")
    ]
    against = f"points, {paper.READERS} readers and {paper.LESIONS} lesions, power {percent(plan.wanted)} %"
    return [*found, Headline("the paper's design detects", number(own["detectable_both"], 2), against)]


def _power_grid(plan: Plan, test: str) -> Table:
    rows = plan.power[plan.power["test"] == test]
    lesions = sorted(rows["cases"].unique())
    cells = rows.set_index(["readers", "cases"])
    lines = [
        [
            str(r),
            *(
                f"{percent(cells.loc[(r, c), 'power'])} % · {number(cells.loc[(r, c), 'detectable'], 2)}"
                for c in lesions
            ),
        ]
        for r in sorted(rows["readers"].unique())
    ]
    note = (
        f"{QUESTIONS[test].capitalize()} ({TEST_NAMES[test]}): power, and the difference in points that is found "
        f"with a power of {percent(plan.wanted)} %."
    )
    return Table(["readers", *(f"{c} lesions" for c in lesions)], lines, note)


def _own_table(plan: Plan) -> Table:
    lines = [
        [
            paper.CRITERIA[row["criterion"]],
            number(row["effect"], 2),
            row["preference"],
            f"{number(row['rho'], 2)} ({number(row['published_rho'], 2)})",
            *(
                f"{percent(row[f'power_{test}'])} % · {number(row[f'detectable_{test}'], 2)}"
                for test in QUESTIONS
            ),
        ]
        for row in plan.own_design.to_dict("records")
    ]
    columns = ["criterion", "points", "preferences", "rho (published)", *QUESTIONS.values()]
    return Table(
        columns, lines, f"Power, and the difference that is found with a power of {percent(plan.wanted)} %."
    )


def _null_table(plan: Plan) -> Table:
    cells = plan.false_positives.set_index(["test", "alike"])
    alike = list(dict.fromkeys(plan.false_positives["alike"]))
    lines = [
        [test, *(with_interval(_percentages(cells.loc[(test, name)]), 1) for name in alike)]
        for test in dict.fromkeys(plan.false_positives["test"])
    ]
    note = f"False positives in %, with 95 % intervals; nominal {number(100 * plan.alpha, 1)} %."
    return Table(["test", *(f"alike: {name}" for name in alike)], lines, note)


def _percentages(row: pd.Series) -> Figure:
    return Figure(value=100 * row["rate"], ci_low=100 * row["low"], ci_high=100 * row["high"], n=0)
