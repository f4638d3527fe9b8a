"""Many runs of one experiment as one result: seeds and folds, the stability of R, ensembles of generators.

A run is one seed on one split. Runs on the same split share their test patients, so seeds are averaged within a split
before splits are compared. Two kinds of interval answer two questions: *over runs*, how another training would come
out, and *over patients*, how other patients would be judged by these trainings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from cycle_am.estimate import Estimate, plain, undefined
from cycle_am.metrics import scores
from cycle_am.metrics.bootstrap import LEVEL, Statistic, bootstrap, mean_figure
from cycle_am.metrics.localisation import Regions, locate
from cycle_am.metrics.sanity import pearson, spearman
from cycle_am.task import CT, Task

TOP = 0.05  # share of a map's pixels, those of largest |R|, that count as what it marks
TINY = 1e-6  # of |R|, far below what a pixel can show: keeps SD / |mean R| finite


@dataclass(frozen=True)
class RunFigures:
    """A run's place in the design and its figures: `seed`, `fold` (0 without folds), metrics.json by its names; its
    folder, a name of the classifier that it explains, equal for equal ones, and what speaks against its classifiers
    (`cycle_am.reports.doubts`)."""

    seed: int
    fold: int
    metrics: Mapping[str, Estimate]
    path: str = ""
    classifier: str = ""
    doubts: Sequence[str] = ()


@dataclass(frozen=True)
class Spread:
    """One figure over runs: `figure` is the mean with its interval over runs, `values` (R,) those of the runs, NaN
    where a run has none. `sd` over all runs, `sd_seeds` over the seeds of one split (pooled); NaN where there is
    only one."""

    figure: Estimate
    values: np.ndarray
    sd: float
    sd_seeds: float


def spreads(runs: Sequence[RunFigures], folds: int | None = None) -> dict[str, Spread]:
    """Every figure that any run has, over all runs; `folds`: into how many parts the patients were divided."""
    fold = np.array([run.fold for run in runs])
    keys = dict.fromkeys(key for run in runs for key in run.metrics)
    values = {
        key: np.array([run.metrics[key]["value"] if key in run.metrics else np.nan for run in runs])
        for key in keys
    }
    return {key: spread(row, fold, folds) for key, row in values.items()}


def spread(values: np.ndarray, fold: np.ndarray, folds: int | None = None, level: float = LEVEL) -> Spread:
    """Mean over runs and its t interval.

    One split: over the seeds, so for these test patients. Several: over the folds' means, by the corrected variance
    of Nadeau & Bengio (2003): (1 / J + test / training) s² for J folds, here with test / training = 1 / (folds - 1)
    as in Bouckaert & Frank (2004), since the training sets of two folds overlap. No unbiased estimate of the variance
    of cross-validation exists (Bengio & Grandvalet 2004); this one errs on the wide side.

    Args:
        values: (R,), NaN unknown, left out. fold: (R,) split of each run.
        folds: into how many parts the patients were divided; None without cross-validation.
    """
    known = np.isfinite(values)
    value, at = values[known], fold[known]
    groups = [value[at == mark] for mark in np.unique(at)]
    means = np.array([group.mean() for group in groups])
    inner = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    units = value if len(groups) == 1 else means
    overlap = 0.0 if len(groups) == 1 else 1 / ((folds or len(groups)) - 1)
    return Spread(
        t_interval(units, overlap, len(value), level),
        values,
        float(value.std(ddof=1)) if len(value) > 1 else float("nan"),
        float(np.sqrt(squares / inner)) if inner else float("nan"),
    )


def t_interval(
    units: np.ndarray, overlap: float = 0.0, n: int | None = None, level: float = LEVEL
) -> Estimate:
    """Mean of (J,) units with a t interval of J - 1 degrees of freedom and variance (1 / J + overlap) s²; `n` is what
    is reported as such. Without an interval for one unit, undefined for none."""
    count = len(units)
    if count == 0:
        return undefined()
    value, n = float(np.mean(units)), count if n is None else n
    if count == 1:
        return plain(value, n)
    error = np.sqrt((1 / count + overlap) * np.var(units, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * error)
    return Estimate(value=value, ci_low=value - half, ci_high=value + half, n=n)


# ---------------------------------------------------------------------------------- every patient tested once
@dataclass(frozen=True)
class Tested:
    """The test cases of all splits: `columns` of cases.csv as (S, N), a row a seed and a column a case, and (N,) label,
    patient and split of each case."""

    seeds: Sequence[int]
    columns: Mapping[str, np.ndarray]
    label: np.ndarray
    patient: np.ndarray
    fold: np.ndarray


def pooled_figures(tested: Tested, score: str, **options) -> dict[str, Estimate]:
    """Out of fold, over patients: AUC of the column `score`, and the mean of every column; seeds are averaged.

    `auc` compares all malignant with all benign cases. Those of two folds were scored by two classifiers, whose
    scales may differ; `auc_within_folds` compares only cases of one fold (Forman & Scholz 2010).
    """
    figures = {}
    known = tested.label >= 0
    label, fold = tested.label[known], tested.fold[known]
    if np.ptp(label) if len(label) else 0:
        same = fold[label == 1][:, None] == fold[label == 0][None, :]
        for name, pairs in {"auc": None, "auc_within_folds": same}.items():
            rules = [scores.auc(row[known], label, pairs) for row in tested.columns[score]]
            figures[name] = bootstrap(average(rules), tested.patient[known], **options)
    means = {name: rows.mean(0) for name, rows in tested.columns.items()}
    return figures | {name: mean_figure(row, tested.patient, **options) for name, row in means.items()}


def average(rules: Sequence[Statistic]) -> Statistic:
    """The mean of several statistics on the same resampled patients."""
    return lambda weights: np.mean([rule(weights) for rule in rules], axis=0)


# ---------------------------------------------------------------------------------- maps over seeds
def stability(maps: np.ndarray, patient: np.ndarray) -> dict[str, np.ndarray]:
    """How alike the maps (S, N, H, W) of S seeds on one split are, case by case, each (N,), mean over pairs of seeds.

    `spearman`: rank correlation of |R|. `pearson`: correlation of signed R. `*_other`: the control, the same between
    a case and the next case of another patient: what maps share whatever the image shows. 0 where one of two maps is
    constant, 1 where both are.
    """
    other = next_patients_case(patient)
    correlations: dict[str, list[np.ndarray]] = {}
    for first, second in combinations(maps, 2):
        for suffix, against in (("", second), ("_other", second[other])):
            correlations.setdefault(f"spearman{suffix}", []).append(spearman(np.abs(first), np.abs(against)))
            correlations.setdefault(f"pearson{suffix}", []).append(pearson(first, against))
    return {name: np.mean(rows, axis=0) for name, rows in correlations.items()}


def next_patients_case(patient: np.ndarray) -> np.ndarray:
    """(N,) index of the next case, in a circle, that is another patient's; the case itself where all are one's."""
    count = len(patient)
    steps = (np.arange(count)[:, None] + np.arange(count)) % count
    return steps[np.arange(count), (patient[steps] != patient[:, None]).argmax(1)]


@dataclass(frozen=True)
class Split:
    """The maps of several seeds on one split's test cases. seeds (S,); case_id, patient, label (N,); image (N, C, H, W)
    in [0, 1]; where: the outlines; maps (S, N, H, W) R."""

    fold: int
    seeds: Sequence[int]
    case_id: np.ndarray
    patient: np.ndarray
    label: np.ndarray
    image: np.ndarray
    where: Regions
    maps: np.ndarray
    task: Task = CT


def map_figures(splits: Sequence[Split], **options) -> tuple[dict[str, Estimate], np.ndarray]:
    """Stability and ensembles over the cases of all splits, over patients, by the names of metrics.json; and the
    per-case Spearman correlation (N,) of all splits, for a picture."""
    patient = np.concatenate([split.patient for split in splits])
    alike = joined([stability(split.maps, split.patient) for split in splits])
    located = [ensemble_localisation(split.maps, split.where) for split in splits]
    ours, single = (joined([by_kind[name] for by_kind in located]) for name in ("ensemble", "single"))
    doubts = joined([doubt(split.maps, split.where) for split in splits])
    columns = {
        **{f"stability/{name}": row for name, row in alike.items()},
        **{f"ensemble/{name}": row for name, row in ours.items()},
        **{f"ensemble/single_{name}": row for name, row in single.items()},
        **{f"ensemble/gain_{name}": ours[name] - single[name] for name in ours},
        **{f"ensemble/auc_wrong_by_{name}": row for name, row in doubts.items()},
    }
    return {name: mean_figure(row, patient, **options) for name, row in columns.items()}, alike["spearman"]


def joined(rows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Columns of several splits, one below the other."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@dataclass(frozen=True)
class Ensemble:
    """Mean of R over the seeds of a split and its uncertainty, SD over seeds, each (N, H, W)."""

    mean: np.ndarray
    sd: np.ndarray


def ensemble(maps: np.ndarray) -> Ensemble:
    """(S, N, H, W) with at least two seeds -> their mean and standard deviation (S - 1 in the denominator)."""
    return Ensemble(maps.mean(0), maps.std(0, ddof=1))


def ensemble_localisation(maps: np.ndarray, where: Regions) -> dict[str, dict[str, np.ndarray]]:
    """`locate` of the mean map (`ensemble`) and, averaged over seeds, of the single maps (`single`): names of (N,)."""
    single = [locate(relevance, where) for relevance in maps]
    return {
        "ensemble": locate(maps.mean(0), where),
        "single": {name: np.mean([row[name] for row in single], axis=0) for name in single[0]},
    }


def doubt(maps: np.ndarray, where: Regions) -> dict[str, np.ndarray]:
    """Does the disagreement of the other seeds tell which marked pixels of a seed are wrong? Each (N,) an AUC.

    Of the pixels that a map marks (`TOP` of largest |R|), those outside the grown outline are wrong. AUC of the
    wrong ones against the right ones by the SD of the *other* seeds (`sd`), by that SD over their |mean R|
    (`relative_sd`), and, as the control, by how little they mark it themselves, - |mean R| (`faint`). Mean over seeds;
    NaN where every marked pixel is right, or every one wrong, or nobody drew an outline. Needs three seeds (all NaN
    with two).
    """
    count = maps.shape[1]
    figures = {name: np.full((len(maps), count), np.nan) for name in ("sd", "relative_sd", "faint")}
    if len(maps) < 3:
        return {name: rows[0] for name, rows in figures.items()}
    for seed, single in enumerate(maps):
        others = ensemble(np.delete(maps, seed, axis=0))
        strength = np.abs(others.mean)
        signs = {"sd": others.sd, "relative_sd": others.sd / (strength + TINY), "faint": -strength}
        for case in np.flatnonzero(where.known):
            marked = marks(single[case])
            wrong = (~where.dilated[case])[marked].astype(int)
            if 0 < wrong.sum() < len(wrong):
                for name, sign in signs.items():
                    figures[name][seed, case] = scores.auc(sign[case][marked], wrong)(
                        np.ones((1, len(wrong)))
                    )[0]
    return {name: known_mean(rows) for name, rows in figures.items()}


def marks(relevance: np.ndarray, share: float = TOP) -> np.ndarray:
    """(H, W) bool: the `share` of pixels with the largest |R|, the first ones where several are equal."""
    count = max(1, round(share * relevance.size))
    chosen = np.zeros(relevance.size, dtype=bool)
    chosen[np.argsort(-np.abs(relevance), axis=None, kind="stable")[:count]] = True
    return chosen.reshape(relevance.shape)


def known_mean(rows: np.ndarray) -> np.ndarray:
    """(S, N) -> (N,) mean of what is known, NaN where nothing is."""
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore"):
        return np.where(known, rows, 0.0).sum(0) / known.sum(0)
