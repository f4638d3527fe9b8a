"""The words, tables and pictures of `evaluation=aggregate`; the numbers come from `cycle_am.metrics.spread`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cycle_am import measures
from cycle_am.estimate import Estimate, prefixed
from cycle_am.metrics.localisation import DILATION_MM
from cycle_am.metrics.spread import (
    TOP,
    RunFigures,
    Split,
    Spread,
    Tested,
    map_figures,
    pooled_figures,
    spreads,
)
from cycle_am.reports import spread_figures as draw
from cycle_am.reports.colours import RELEVANCE_SCALE, scale_words
from cycle_am.reports.page import Headline, Picture, Report, Section, Table, number, with_interval
from cycle_am.task import CT, Task

LEAD = (
    "One training is one draw. This page takes several, which differ only in the seed and in which patients were kept "
    "for testing, as one result: how far the figures scatter, whether another training would explain a case the same "
    "way, and whether several together explain it better than one."
)
PLACES = {
    "peak": "localisation/peak_in_mask",
    "mass": "localisation/relevance_mass",
    "peak_dilated": "localisation/peak_in_dilated",
    "mass_dilated": "localisation/relevance_mass_dilated",
}
NAMES = {name: measures.named(key).label for name, key in PLACES.items()}
SIGNS = {
    "sd": "SD of the other seeds",
    "relative_sd": "the same over their |mean R|",
    "faint": "control: how little the others mark it (−|mean R|)",
}


SHOWN = {key: measure.label for key, measure in measures.table(measures.SPREAD).items()}
IN_RUN_TABLE = (
    "classifier/auc",
    "transfer/independent/neg",
    "transfer/independent/pos",
    "localisation/peak_in_dilated",
)
#: Columns of cases.csv -> the measures whose mean they have.
SOURCES = {
    "auc": "classifier/auc",
    **{
        f"p_{who}_{at}": f"transfer/{who}/{at}"
        for who in ("explained", "independent")
        for at in ("x", "neg", "pos")
    },
    **{f"{kind}_{at}": f"similarity/{kind}_{at}" for kind in ("ssim", "l1") for at in ("neg", "pos")},
    "cycle_l1": "cycle/l1",
    "peak_in_mask": PLACES["peak"],
    "relevance_mass": PLACES["mass"],
    "peak_in_dilated": PLACES["peak_dilated"],
    "relevance_mass_dilated": PLACES["mass_dilated"],
    "shift_correlation": "localisation/shift_correlation",
}
COLUMNS = {column: measures.named(key).label for column, key in SOURCES.items()}
COLUMNS |= {"auc_within_folds": "AUC within folds", "p_x": "p(malignant)"}


@dataclass(frozen=True)
class Aggregated:
    """All results. `figures` over runs; `metrics` everything by the names of metrics.json; `alike` (N,) the
    correlation of each case's maps over seeds, empty without `splits`."""

    runs: Sequence[RunFigures]
    folds: int | None
    figures: Mapping[str, Spread]
    tested: Tested | None
    splits: Sequence[Split]
    alike: np.ndarray
    metrics: Mapping[str, Estimate]

    @property
    def task(self) -> Task:
        """What the images are, where maps were read; else as in CT."""
        return self.splits[0].task if self.splits else CT


def aggregated(
    runs: Sequence[RunFigures], folds: int | None, tested: Tested | None, splits: Sequence[Split], **options
) -> Aggregated:
    """Compute everything from what the runs left (`options` of `cycle_am.metrics.bootstrap.bootstrap`)."""
    figures = spreads(runs, folds)
    score = "p_explained_x" if tested and "p_explained_x" in tested.columns else "p_x"
    pooled = pooled_figures(tested, score, **options) if tested else {}
    of_maps, alike = map_figures(splits, **options) if splits else ({}, np.zeros(0))
    over_runs = {key: figure.figure for key, figure in figures.items()}
    metrics = prefixed("runs", over_runs) | prefixed("patients", pooled) | of_maps
    return Aggregated(runs, folds, figures, tested, splits, alike, metrics)


def table(aggregated: Aggregated) -> pd.DataFrame:
    """aggregate.csv: a row a figure with mean, interval over runs, SDs, and a column a run."""
    names = [run_name(run, aggregated.folds) for run in aggregated.runs]
    rows = [
        {
            "figure": key,
            **row.figure,
            "sd": row.sd,
            "sd_seeds": row.sd_seeds,
            **dict(zip(names, row.values, strict=True)),
        }
        for key, row in aggregated.figures.items()
    ]
    return pd.DataFrame(rows).rename(columns={"value": "mean"})


def run_name(run: RunFigures, folds: int | None) -> str:
    """`seed 1, fold 2`, without folds `seed 1`."""
    return f"seed {run.seed}, fold {run.fold}" if folds else f"seed {run.seed}"


def report(
    aggregated: Aggregated, title: str, figures_dir: Path, examples: int, notes: Mapping[str, str]
) -> Report:
    """Draw all pictures into `figures_dir` and put the page together."""
    sections = [
        _runs_section(aggregated, figures_dir),
        _design_section(aggregated),
        _patients_section(aggregated),
        _stability_section(aggregated, figures_dir),
        _ensemble_section(aggregated, figures_dir, examples),
    ]
    return Report(title, LEAD, _headlines(aggregated), [section for section in sections if section], notes)


def shown(aggregated: Aggregated) -> dict[str, Spread]:
    """The figures of the table and the picture, by their names there."""
    there = {key: name for key, name in SHOWN.items() if key in aggregated.figures}
    return {aggregated.task.worded(name): aggregated.figures[key] for key, name in there.items()}


def _headlines(aggregated: Aggregated) -> list[Headline]:
    wanted = [
        ("runs/classifier/auc", "AUC, mean of runs"),
        ("runs/transfer/independent/neg", f"{aggregated.task.p()} of G⁻(x), judge"),
        ("runs/transfer/independent/pos", f"{aggregated.task.p()} of G⁺(x), judge"),
        ("stability/spearman", "|R| alike over seeds"),
        ("ensemble/peak_dilated", f"Peak of the mean R on the {aggregated.task.thing}"),
        ("ensemble/gain_peak_dilated", "its gain over one seed"),
    ]
    if not aggregated.splits:
        wanted = [(f"runs/{key}", name) for key, name in SHOWN.items()][:6]
    shown = [(aggregated.metrics[key], name, key) for key, name in wanted if key in aggregated.metrics]
    return [
        Headline(
            name, number(figure["value"]), _against(figure, "runs" if key.startswith("runs/") else "patients")
        )
        for figure, name, key in shown
    ]


def _against(figure: Estimate, over: str) -> str:
    if not np.isfinite(figure["ci_low"]):
        return f"one value, no interval over {over}"
    return f"[{number(figure['ci_low'])}, {number(figure['ci_high'])}] over {over}"


# ---------------------------------------------------------------------------------- over runs
def _runs_section(aggregated: Aggregated, figures_dir: Path) -> Section:
    rows = shown(aggregated)
    path = draw.runs_as_dots(figures_dir / "runs.png", rows, aggregated.runs)
    cells = [
        (name, with_interval(row.figure), number(row.sd), number(row.sd_seeds), _range(row.values))
        for name, row in rows.items()
    ]
    columns = ("Figure", "Mean [95 %, over runs]", "SD of runs", "SD of seeds", "Least to most")
    note = (
        "SD of seeds: within a split, pooled over splits. "
        "An interval of a t distribution may leave the range of its figure."
    )
    caption = "Every run a dot, the mean a bar, its 95 % interval over runs grey."
    return Section(
        "How far runs scatter",
        (_meaning(aggregated), *_doubts(aggregated)),
        (Table(columns, cells, note),),
        (Picture(path, caption),),
    )


def _doubts(aggregated: Aggregated) -> list[str]:
    """What speaks against the runs' classifiers, each sentence once, behind the runs that it is said of."""
    said: dict[str, list[str]] = {}
    for run in aggregated.runs:
        for text in run.doubts:
            said.setdefault(text, []).append(run_name(run, aggregated.folds))
    return [f"{'; '.join(names)}: {text}" for text, names in said.items()]


def _range(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{number(known.min())} to {number(known.max())}" if len(known) else number(float("nan"))


def _meaning(aggregated: Aggregated) -> str:
    seeds, folds = ({getattr(run, name) for run in aggregated.runs} for name in ("seed", "fold"))
    if len(folds) > 1:
        return (
            f"{len(aggregated.runs)} runs, {len(seeds)} seeds on {len(folds)} of {aggregated.folds} folds. "
            "The seeds of a fold are averaged, then the folds compared. Their training sets overlap, which "
            "makes the plain interval too short: this one has the corrected variance (1/J + 1/(k−1)) s² of Nadeau and "
            "Bengio (2003) for J folds of k, in the form of Bouckaert and Frank (2004). An unbiased one does not exist "
            "(Bengio and Grandvalet 2004)."
        )
    if len(seeds) > 1:
        return (
            f"{len(seeds)} seeds on one split: a t interval over seeds. It says how another training would come out on "
            "these test patients, not how other patients would; for those see the intervals over patients."
        )
    return "One run: nothing scatters, and there is no interval over runs."


def _design_section(aggregated: Aggregated) -> Section:
    keys = [key for key in IN_RUN_TABLE if key in aggregated.figures]
    rows = [
        (
            run_name(run, aggregated.folds),
            run.classifier,
            *(number(aggregated.figures[key].values[i]) for key in keys),
            run.path,
        )
        for i, run in enumerate(aggregated.runs)
    ]
    columns = ("Run", "Classifier", *(aggregated.task.worded(SHOWN[key]) for key in keys), "Folder")
    return Section("Which run is which", _classifiers(aggregated.runs), (Table(columns, rows),))


def _classifiers(runs: Sequence[RunFigures]) -> tuple[str, ...]:
    """What the runs explain, because it decides what their scatter means."""
    names = [run.classifier for run in runs if run.classifier.startswith("C")]
    if not names or len(runs) == 1:
        return ()
    folds = {run.fold for run in runs}
    if len(set(names)) == len(runs):
        text = "Every run explains a classifier of its own: the scatter is that of classifier and generators together."
    elif len(set(names)) == len(folds):
        text = "The runs of a split explain the same classifier: seeds scatter by their generators alone."
    else:
        text = (
            "Some runs of a split share a classifier and others do not: the scatter mixes that of classifiers "
            "with that of generators."
        )
    return (text,)


# ---------------------------------------------------------------------------------- over patients
def _patients_section(aggregated: Aggregated) -> Section:
    title = "Over patients"
    if aggregated.tested is None:
        return Section(title, ("No seed was trained on every split, so the cases cannot be put together.",))
    figures = {
        k.removeprefix("patients/"): v for k, v in aggregated.metrics.items() if k.startswith("patients/")
    }
    folds = np.unique(aggregated.tested.fold)
    if len(folds) == 1:
        figures.pop("auc_within_folds", None)
        how = "The test patients of the split"
    else:
        whole = "all" if len(folds) == aggregated.folds else f"{len(folds)} of {aggregated.folds}"
        how = f"Out of fold: the test patients of {whole} folds, each tested once by runs that never saw them"
    text = (
        f"{how}; {len(aggregated.tested.label)} cases of {len(np.unique(aggregated.tested.patient))} patients, "
        f"{len(aggregated.tested.seeds)} seeds averaged. The interval is a bootstrap over patients with the trainings "
        "as they are: how other patients would be judged.",
    )
    rows = [
        (aggregated.task.worded(COLUMNS.get(name, name)), with_interval(figure), str(figure["n"]))
        for name, figure in figures.items()
    ]
    note = (
        "Cases of different folds were scored by different classifiers; the AUC within folds compares only cases "
        "that one classifier scored (Forman and Scholz 2010)."
        if len(folds) > 1
        else ""
    )
    return Section(
        title, text, (Table(("Figure", "Mean of seeds [95 %, over patients]", "Cases"), rows, note),)
    )


# ---------------------------------------------------------------------------------- maps over seeds
def _stability_section(aggregated: Aggregated, figures_dir: Path) -> Section | None:
    if not aggregated.splits:
        return None
    figure = {
        name: aggregated.metrics[f"stability/{name}"]
        for name in ("spearman", "spearman_other", "pearson", "pearson_other")
    }
    path = draw.map_correlations(
        figures_dir / "stability.png", aggregated.alike, figure["spearman"], figure["spearman_other"]
    )
    rows = [
        ("|R|, rank correlation", *(with_interval(figure[name]) for name in ("spearman", "spearman_other"))),
        ("R, correlation", *(with_interval(figure[name]) for name in ("pearson", "pearson_other"))),
    ]
    text = (
        "Maps of the same case by two seeds of the same split, every pair of seeds. Nodules are centred, so maps of "
        "different cases are somewhat alike too: that is the control.",
    )
    columns = ("Mean over cases [95 %, over patients]", "Same case", "Control: different cases")
    caption = "Every case once, the mean over pairs of seeds. 1: the seeds agree which pixels matter, 0: not at all."
    return Section(
        "Would another seed explain it the same way?",
        text,
        (Table(columns, rows),),
        (Picture(path, caption),),
    )


def _ensemble_section(aggregated: Aggregated, figures_dir: Path, each: int) -> Section | None:
    if not aggregated.splits:
        return None
    metrics = aggregated.metrics
    rows = [
        (
            aggregated.task.worded(name),
            *(with_interval(metrics[f"ensemble/{part}{key}"]) for part in ("", "single_", "gain_")),
        )
        for key, name in NAMES.items()
    ]
    columns = ("Mean [95 %, over patients]", "Mean R", "One seed, on average", "Gain, paired")
    tables = [Table(columns, rows, f"{metrics['ensemble/peak']['n']} cases with an outline.")]
    doubts = {name: metrics[f"ensemble/auc_wrong_by_{key}"] for key, name in SIGNS.items()}
    if any(figure["n"] for figure in doubts.values()):
        tables.append(_doubt_table(doubts))
    split = aggregated.splits[0]
    chosen = _sample(split.label, each)
    captions = [_caption(split, case) for case in chosen]
    path = draw.ensembles(figures_dir / "ensembles.png", split, chosen, captions)
    caption = (
        f"{len(chosen)} test cases drawn at random{f' from fold {split.fold}' if aggregated.folds else ''}. From left: "
        "the image with the readers' outline, R of single seeds, the mean R of all seeds, and its uncertainty: the "
        f"standard deviation over seeds. R is {scale_words(split.task)}; SD from 0 to {RELEVANCE_SCALE / 2}."
    )
    text = (
        "The mean R of several generators, and where they disagree. A gain above 0 says that the mean map lies better "
        "than a single seed's does on average.",
    )
    return Section("Several generators as one", text, tables, (Picture(path, caption),))


def _doubt_table(doubts: Mapping[str, Estimate]) -> Table:
    note = (
        f"Of the {100 * TOP:.0f} % of pixels that a seed marks most, those outside the outline + {DILATION_MM:g} mm "
        "are wrong. AUC of wrong against right pixels: .5 tells nothing, 1 points out every wrong pixel. The "
        "disagreement is that of the other seeds, and is of use where it beats the control. "
        "Only cases with both kinds of pixels."
    )
    rows = [(name, with_interval(figure), str(figure["n"])) for name, figure in doubts.items()]
    return Table(("Does it tell wrong pixels?", "AUC [95 %, over patients]", "Cases"), rows, note)


def _sample(label: np.ndarray, each: int, seed: int = 0) -> np.ndarray:
    """Indices of up to `each` cases of each class, drawn at random; where none is labelled, of any."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(label == value) for value in (0, 1)]
    groups = groups if any(map(len, groups)) else [np.arange(len(label))]
    return np.concatenate([np.sort(rng.permutation(group)[:each]) for group in groups])


def _caption(split: Split, case: int) -> str:
    return split.task.name(int(split.label[case]))
