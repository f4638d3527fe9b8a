"""The plan in words, a picture and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.ticker import PercentFormatter

from cycle_am.estimate import Estimate
from cycle_am.reader_study import paper
from cycle_am.reader_study.planning.planning import Plan, percent
from cycle_am.reader_study.planning.power import fewest_readers
from cycle_am.reports.draw import PLAIN, WIDTH, _canvas, _plain_axes, _save
from cycle_am.reports.page import Headline, Picture, Report, Section, Table, number, with_interval

QUESTIONS = {"both": "for readers and lesions in general", "readers": "for the drawn lesions alone"}
TEST_NAMES = {"both": "readers and lesions both random", "readers": "paired t over readers, t(N − 1)"}
POWER_CELL = (
    "power, and the difference to the best other method, in points, that is found with a power of {}."
)
CURVES = (
    "Power against the number of readers. Left: the claim is to hold for other readers and other lesions. Right: for "
    "other readers, and the same lesions. Bands: 95 % intervals of the simulation."
)
OWN_DESIGN = (
    f"{paper.READERS} readers, {paper.LESIONS} lesions and the published differences. How much power that has hangs on "
    "how much of what a reader thinks apart from the others is a lasting preference for a method, which more lesions "
    "do not average out. The paper does not tell; the table shows several shares.",
    "The last line of each criterion takes the published t for what it is said to be, a t over the readers' means. "
    "Simulated readers who differ so much agree far less than the paper says: compare rho with the published one. A "
    "reading that fits both is that t was computed from the spread of single answers with n = 8: the published "
    "intervals are multiples of 1/8, as means of eight single answers are, and their width gives about the published "
    "t. Then a t over the readers' means would have been larger, and the other lines are nearer to the truth.",
)
FALSE_POSITIVES = (
    f"The same simulated readers and {paper.LESIONS} lesions, but no method is better. Left: they are alike on every "
    "lesion. Right: on each lesion some are better, by chance, and over all lesions none: the case for which a claim "
    "about lesions in general must be safe.",
    "Answers of one reader, and answers to one lesion, are not independent: a test over all answers or over lesions "
    "finds differences that are not there, far too often. The paired t over readers is right about the drawn lesions, "
    "and finds too much where it is to speak of others. As t(N − 2) it has one degree of freedom too few: safe, and a "
    "little weaker.",
)
READERS = (
    "A rating is the method's mean, what all readers see in this lesion and map, the reader's severity, preference "
    "for the method and opinion on the map, and noise, rounded to a whole number of the scale. The parts are so large "
    "that simulated studies show the paper's figures in the mean: the raw means (Table 2), the t of the second best, "
    "the inter-observer rho (eq. 7) and the correlations of the criteria. The mean ranks (Table 4) were not fitted.",
)


def sentences(plan: Plan) -> list[str]:
    """The answer: one sentence for each question and number of lesions."""
    lines = []
    for test in QUESTIONS:
        rows = plan.power[plan.power["test"] == test]
        lines.append(f"{question_of(test)}:")
        lines += [_sentence(plan, rows, *answer) for answer in fewest_readers(rows, plan.wanted).items()]
    return lines


def _sentence(plan: Plan, rows: pd.DataFrame, cases: int, fewest: int | None) -> str:
    readers = rows["readers"].max() if fewest is None else fewest
    row = rows[(rows["cases"] == cases) & (rows["readers"] == readers)].iloc[0]
    power = (
        f"a power of {percent(row['power'])} [{number(100 * row['low'], 0)}, {number(100 * row['high'], 0)}]"
    )
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
        f"wanted: {percent(plan.wanted)}",
        (0.01, plan.wanted),
        (0, 3),
        fontsize=8,
        color=PLAIN,
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
    )
    axes[1].legend(title="lesions", frameon=False, fontsize=9, title_fontsize=9, loc="lower right")
    return _save(canvas, path)


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
            Section("Power", _answer(plan), [_needed(plan)], [Picture(picture, CURVES)]),
            Section("What the paper's own design could detect", OWN_DESIGN, [_own_table(plan)]),
            Section("Which test to trust", FALSE_POSITIVES, [_null_table(plan)]),
            Section("The simulated readers", READERS),
            Section("Every design", (), [_power_grid(plan, test) for test in QUESTIONS]),
        ],
        notes={
            "assumed": f"preferences are {percent(plan.preference)} of a reader's own variance",
            "simulated studies": f"{plan.studies} a design",
        },
    )


def _shown_cases(plan: Plan) -> int:
    """The number of lesions to speak of first: the paper's, if it is among the designs."""
    cases = set(plan.power["cases"])
    return paper.LESIONS if paper.LESIONS in cases else int(max(cases))


def _answer(plan: Plan) -> list[str]:
    """For one number of lesions, in words."""
    cases = _shown_cases(plan)
    answers = []
    for test, question in QUESTIONS.items():
        rows = plan.power[plan.power["test"] == test]
        sentence = _sentence(plan, rows, cases, fewest_readers(rows, plan.wanted)[cases])
        answers.append(f"{question.capitalize()}: {sentence[0].lower()}{sentence[1:]}")
    return answers


def _headlines(plan: Plan) -> list[Headline]:
    cases = _shown_cases(plan)
    headlines = []
    for test, question in QUESTIONS.items():
        rows = plan.power[plan.power["test"] == test]
        fewest = fewest_readers(rows, plan.wanted)[cases]
        headlines.append(Headline("readers needed", _count(fewest, rows), f"{cases} lesions, {question}"))
    own = plan.own_design.set_index(["criterion", "preference"]).loc[
        (plan.criterion, percent(plan.preference))
    ]
    against = (
        f"points: {paper.READERS} readers, {paper.LESIONS} lesions, power {percent(plan.wanted)}, in general"
    )
    return [*headlines, Headline("the paper's design detects", number(own["detectable_both"], 2), against)]


def _count(fewest: int | None, rows: pd.DataFrame) -> str:
    return f"> {rows['readers'].max()}" if fewest is None else str(fewest)


def _needed(plan: Plan) -> Table:
    by_test = {test: plan.power[plan.power["test"] == test] for test in QUESTIONS}
    fewest = {test: fewest_readers(rows, plan.wanted) for test, rows in by_test.items()}
    lines = [
        [str(cases), *(_count(fewest[test][cases], rows) for test, rows in by_test.items())]
        for cases in fewest["both"]
    ]
    columns = ["lesions", *(f"readers, {question}" for question in QUESTIONS.values())]
    return Table(
        columns, lines, f"Fewest readers with a power of {percent(plan.wanted)}, of those that were tried."
    )


def _power_grid(plan: Plan, test: str) -> Table:
    rows = plan.power[plan.power["test"] == test]
    lesions = sorted(rows["cases"].unique())
    cells = rows.set_index(["readers", "cases"])
    lines = [
        [str(r), *(_cell(cells.loc[(r, c), "power"], cells.loc[(r, c), "detectable"]) for c in lesions)]
        for r in sorted(rows["readers"].unique())
    ]
    note = f"{question_of(test)}: {POWER_CELL.format(percent(plan.wanted))}"
    return Table(["readers", *(f"{c} lesions" for c in lesions)], lines, note)


def question_of(test: str) -> str:
    """The question that a test answers, and its name."""
    return f"{QUESTIONS[test].capitalize()} ({TEST_NAMES[test]})"


def _own_table(plan: Plan) -> Table:
    lines = [
        [
            paper.CRITERIA[row["criterion"]],
            number(row["effect"], 2),
            row["preference"],
            f"{number(row['rho'], 2)} ({number(row['published_rho'], 2)})",
            *(_cell(row[f"power_{test}"], row[f"detectable_{test}"]) for test in QUESTIONS),
        ]
        for row in plan.own_design.to_dict("records")
    ]
    columns = ["criterion", "points", "preferences", "rho (published)", "in general", "the drawn lesions"]
    return Table(columns, lines, f"Last columns: {POWER_CELL.format(percent(plan.wanted))}")


def _cell(power: float, detectable: float) -> str:
    return f"{percent(power)} · {number(detectable, 2)}"


def _null_table(plan: Plan) -> Table:
    cells = plan.false_positives.set_index(["test", "alike"])
    alike = list(dict.fromkeys(plan.false_positives["alike"]))
    lines = [
        [test, *(with_interval(_percentages(cells.loc[(test, name)]), 1) for name in alike)]
        for test in dict.fromkeys(plan.false_positives["test"])
    ]
    note = f"False positives in %, with 95 % intervals; nominal {number(100 * plan.alpha, 1)}."
    return Table(["test", *(f"alike: {name}" for name in alike)], lines, note)


def _percentages(row: pd.Series) -> Estimate:
    return Estimate(value=100 * row["rate"], ci_low=100 * row["low"], ci_high=100 * row["high"], n=0)
