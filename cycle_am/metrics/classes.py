"""Figures of more than two classes: Table 1 of each against the rest and in the mean, and what each generator makes of
each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cycle_am.contract import one_map, relevance
from cycle_am.estimate import Estimate, prefixed
from cycle_am.metrics import scores
from cycle_am.metrics.bootstrap import Statistic, bootstrap, mean_figure
from cycle_am.metrics.inference import Outputs, generate, outputs, probabilities
from cycle_am.metrics.localisation import Localisation, localisation_figures, localise
from cycle_am.metrics.similarity import l1_to, ssim_to

EACH = ("auc", "sensitivity", "specificity", "ppv", "npv", "f1")  # of the paper's Table 1, for each class


def one_against_rest(p: np.ndarray, label: np.ndarray, k: int) -> dict[str, Statistic]:
    """Statistics of class k against all others; a case is called k where p (N, K) is highest for k."""
    called = (p.argmax(1) == k).astype(np.float64)
    rules = scores.table_one(called, (label == k).astype(int))
    return {name: rules[name] for name in EACH} | {"auc": scores.auc(p[:, k], (label == k).astype(int))}


def macro(statistics: Sequence[Statistic]) -> Statistic:
    """The mean over the classes."""
    return lambda weights: np.mean([rule(weights) for rule in statistics], axis=0)


def classifier_figures(
    p: np.ndarray, label: np.ndarray, patients: np.ndarray, names: Sequence[str], **options
) -> dict[str, Estimate]:
    """`accuracy` of all labelled cases; `auc`, `f1`, ... as means over the classes, and `auc/<name>`, ... of each."""
    known = label >= 0
    p, label, patients = p[known], label[known], patients[known]
    figures = {"accuracy": mean_figure(p.argmax(1) == label, patients, **options)}
    tables = [one_against_rest(p, label, k) for k in range(len(names))]
    for rule in EACH:
        figures[rule] = bootstrap(macro([table[rule] for table in tables]), patients, **options)
    for rule in EACH:
        for name, table in zip(names, tables, strict=True):
            figures[f"{rule}/{name}"] = bootstrap(table[rule], patients, **options)
    return figures


@dataclass(frozen=True)
class Moved:
    """Answers of one classifier: x (N, K) to the images, to (K, N, K) to what G_k made of them, k first."""

    x: np.ndarray
    to: np.ndarray

    def reached(self) -> np.ndarray:
        """(N, K): p of class k of G_k(x)."""
        return np.stack([answers[:, k] for k, answers in enumerate(self.to)], 1)


def moved(classifier, images: Outputs) -> Moved:
    """Read one classifier on originals and all transfers."""
    to = [probabilities(classifier, changed) for changed in images.changed]
    return Moved(probabilities(classifier, images.x), np.stack(to))


def elsewhere(seen: np.ndarray, count: int) -> np.ndarray:
    """(N, K) bool: the classes that the classifier does not see in x anyway."""
    return seen[:, None] != np.arange(count)


def mean_elsewhere(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(N,): mean of values (N, K) over the classes that are not seen in x."""
    away = elsewhere(seen, values.shape[1])
    return np.where(away, values, 0).sum(1) / away.sum(1)


def transfer_figures(
    result: Moved, seen: np.ndarray, patients: np.ndarray, names: Sequence[str], **options
) -> dict[str, Estimate]:
    """The figures of metrics.json.

    `x`: p of the seen class of x; `reached`: p of k of G_k(x), mean over all k but the seen one; `left`: what remains
    there of the seen class; `matrix/<seen>/<k>`: the transfer matrix, on whose diagonal x should stay what it is.
    """
    rows, reached = np.arange(len(seen)), result.reached()
    left = result.to[:, rows, seen].T
    figures = {
        "x": mean_figure(result.x[rows, seen], patients, **options),
        "reached": mean_figure(mean_elsewhere(reached, seen), patients, **options),
        "left": mean_figure(mean_elsewhere(left, seen), patients, **options),
    }
    for j, source in enumerate(names):
        for k, target in enumerate(names):
            figures[f"matrix/{source}/{target}"] = mean_figure(
                reached[seen == j, k], patients[seen == j], **options
            )
    return figures


def matrix(result: Moved, seen: np.ndarray) -> np.ndarray:
    """(K, K): mean p of class k (column) of G_k(x) for the images seen as j (row); NaN where there are none."""
    reached = result.reached()
    empty = np.full(reached.shape[1], np.nan)
    return np.stack(
        [reached[seen == j].mean(0) if (seen == j).any() else empty for j in range(reached.shape[1])]
    )


@dataclass(frozen=True)
class ClassesResult:
    """What was measured on the test cases. seen (N,): the explained classifier's class of x; relevance (N, H, W): R of
    that class against the rest; kept (N, K): SSIM of G_k(x) to x."""

    images: Outputs
    explained: Moved
    independent: Moved
    seen: np.ndarray
    relevance: np.ndarray
    kept: np.ndarray
    localisation: Localisation
    metrics: dict[str, Estimate]


def measure(gan, classifier, judge, cases, progress: bool = True, **options) -> ClassesResult:
    """All figures of generators for more than two classes."""
    images = outputs(gan, cases.window()[0], progress="test cases" if progress else "")
    explained, independent = (moved(network, images) for network in (classifier, judge))
    seen, patients, names = explained.x.argmax(1), cases.patient_id, cases.task.classes

    def explain(x: Tensor) -> np.ndarray:
        of = probabilities(classifier, x).argmax(1)
        return against_rest(generate(gan, x), of)

    maps = against_rest(images.changed, seen)
    located = localise(cases, maps, explain)
    kept = np.stack([ssim_to(images.x, changed) for changed in images.changed], 1)
    away = elsewhere(seen, len(names))
    cycle = np.mean([l1_to(images.x, again) for again in images.cycle], axis=0)
    labelled = (cases.label >= 0).any()
    metrics = {
        **(
            prefixed("classifier", classifier_figures(explained.x, cases.label, patients, names, **options))
            if labelled
            else {}
        ),
        **prefixed("transfer/explained", transfer_figures(explained, seen, patients, names, **options)),
        **prefixed("transfer/independent", transfer_figures(independent, seen, patients, names, **options)),
        "similarity/ssim": mean_figure(mean_elsewhere(kept, seen), patients, **options),
        **{
            f"similarity/ssim/{name}": mean_figure(kept[away[:, k], k], patients[away[:, k]], **options)
            for k, name in enumerate(names)
        },
        "cycle/l1": mean_figure(cycle, patients, **options),
        **prefixed("localisation", localisation_figures(located, maps, patients, **options)),
    }
    return ClassesResult(images, explained, independent, seen, maps, kept, located, metrics)


def against_rest(changed: Sequence[Tensor], seen: np.ndarray) -> np.ndarray:
    """R of each image's class against the rest, (N, H, W) float32."""
    return one_map(relevance(changed, torch.from_numpy(seen))).numpy()


def case_columns(cases, result: ClassesResult) -> dict[str, np.ndarray]:
    """The columns of cases.csv."""
    where, names = result.localisation, cases.task.classes
    reached = result.independent.reached()
    return {
        "case_id": cases.case_id,
        "patient_id": cases.patient_id,
        "label": cases.label,
        "seen": result.seen,
        **{f"p_explained_x/{name}": result.explained.x[:, k] for k, name in enumerate(names)},
        **{f"p_independent_reached/{name}": reached[:, k] for k, name in enumerate(names)},
        **{f"ssim/{name}": result.kept[:, k] for k, name in enumerate(names)},
        "peak_in_mask": where.figures["peak"],
        "relevance_mass": where.figures["mass"],
        "shift_correlation": where.correlation,
    }
