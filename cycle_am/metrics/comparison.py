"""Every explainer on the same test cases: where it points, whether the classifier decides by it, whether it depends
on the classifier, and what it costs.

Each method explains the class that the classifier decides for. A method that gives signed evidence is judged by it.
R of CycleAM is signed brightness, not evidence: where a metric wants evidence its magnitude takes its place, and
what only evidence can answer (`flip`) is left open.

An explainer's results are kept in `parts/` as soon as they are there, so an interrupted comparison goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from cycle_am.explainers.base import Explainer, Unsupported
from cycle_am.explainers.build import Context, build
from cycle_am.files import write_npz
from cycle_am.metrics import cost, faithfulness, localisation, sanity
from cycle_am.progress import steps

LAST, WHOLE, LABELS, SEED = "last_layer", "whole_network", "random_labels", "seed"  # kinds of `Variant`
BATCH = 32
Columns = dict[str, np.ndarray]  # metric -> (N,) values of the cases, NaN unknown


@dataclass(frozen=True)
class Plan:
    """What is measured.

    explainers: ids. overrides: settings of single ones, by id. infills: of deletion and insertion. subsets: of
    sensitivity-n and infidelity. copies: noisy copies of a case for the stability, 0 leaves it out. repeats: of
    the clock, 0 leaves the cost out. cascade: randomise the classifier layer by layer, not only last and whole.
    """

    explainers: Sequence[str]
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    infills: Sequence[str] = tuple(faithfulness.INFILLS)
    subsets: int = faithfulness.SUBSETS
    copies: int = sanity.COPIES
    repeats: int = 3
    cascade: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Variant:
    """Another classifier for the same images, or another training of the generators: what a map should (random
    weights, random labels) or should not (`seed`) depend on. gan: generators trained for it, where there are any."""

    kind: str
    classifier: nn.Module
    gan: Any = None


@dataclass(frozen=True)
class Subject:
    """What is explained: classifier (N, 1, H, W) -> logits (N, 2), generators, background of training images
    (M, 1, H, W), test cases (`cycle_am.data.cases.Cases`), and the variants."""

    classifier: nn.Module
    gan: Any
    background: Tensor
    cases: Any
    variants: Sequence[Variant] = ()


@dataclass(frozen=True)
class Shared:
    """What all methods share and none of them changes, each (N, ...): windows, answers, subsets, noisy copies."""

    centred: localisation.Window
    shifted: localisation.Window
    p: np.ndarray
    target: np.ndarray
    subsets: np.ndarray
    drops: np.ndarray
    copies: sanity.Copies | None

    @property
    def images(self) -> Tensor:
        """The centred windows (N, 1, H, W)."""
        return self.centred.images


@dataclass(frozen=True)
class Measured:
    """One method's results. maps (N, H, W) for the decided class; columns: values of the cases by metric; curves
    (2, N, S): deletion and insertion, means over the infills; costs: single numbers. `unsupported` says why a method
    cannot handle the classifier; nothing else is there then."""

    maps: np.ndarray
    columns: Columns
    curves: np.ndarray
    costs: dict[str, float]
    unsupported: str = ""


def log_odds(classifier: nn.Module) -> faithfulness.Predict:
    """(M, 2): each class's logit minus the other's, which no softmax saturates."""

    def predict(images: Tensor) -> Tensor:
        logits = classifier(images).float()
        return logits - logits.flip(1)

    return predict


def probabilities(classifier: nn.Module) -> faithfulness.Predict:
    """(M, 2) probabilities."""
    return lambda images: classifier(images).float().softmax(1)


@torch.no_grad()
def share(subject: Subject, plan: Plan) -> Shared:
    """Everything that needs no explainer."""
    centred, shifted = localisation.windows(subject.cases)
    predict, images = probabilities(subject.classifier), centred.images
    p = torch.cat([predict(part)[:, 1] for part in images.split(BATCH)]).double().cpu().numpy()
    target = (p >= 0.5).astype(np.int64)
    subsets = faithfulness.random_subsets(images.shape[-2:], draws=plan.subsets, seed=plan.seed)
    drops = faithfulness.removal_drops(log_odds(subject.classifier), images, target, subsets)
    copies = None
    if plan.copies:
        copies = sanity.noisy_copies(predict, images, target, copies=plan.copies, seed=plan.seed)
    return Shared(centred, shifted, p, target, subsets, drops, copies)


# ------------------------------------------------------------------------------------------- one explainer
def measure(name: str, subject: Subject, shared: Shared, plan: Plan) -> Iterator[str | Measured]:
    """All figures of one method; yields the name of each step before it, and last the result."""
    yield "maps"
    try:
        explainer = _build(name, subject, plan)
        maps = explain(explainer, shared.images, shared.target)
    except Unsupported as error:
        yield _unsupported(shared, str(error))
        return
    yield "localisation"
    moved = explain(explainer, shared.shifted.images, shared.target)
    columns = localisation.pointing(maps, shared.centred.where)
    columns |= localisation.pointing(moved, shared.shifted.where, "_shifted")
    yield "faithfulness"
    evidence = maps if explainer.evidence else np.abs(maps)
    faithful, curves = _faithfulness(evidence, explainer.evidence, subject, shared, plan)
    columns |= faithful
    yield "completeness"
    columns["completeness"] = _completeness(explainer, shared, maps)
    for variant in subject.variants:
        yield variant.kind
        columns |= _variant(name, variant, subject, shared, plan, maps)
    if plan.cascade:
        yield "cascade"
        columns |= _cascade(name, subject, shared, plan, maps)
    if shared.copies is not None:
        yield "stability"
        columns |= _stability(explainer, shared, maps)
    yield "cost"
    yield Measured(maps, columns, curves, _costs(explainer, shared, plan) if plan.repeats else {})


def _build(name: str, subject: Subject, plan: Plan, variant: Variant | None = None) -> Explainer:
    model = variant or subject
    context = Context(
        classifier=model.classifier,
        background=subject.background,
        gan=model.gan,
        pixel_mm=subject.cases.pixel_mm,
        seed=plan.seed,
    )
    return build(name, context, plan.overrides.get(name))


def explain(explainer: Explainer, images: Tensor, target: np.ndarray) -> np.ndarray:
    """Maps (N, H, W) float32 for one class each, in batches."""
    parts = zip(images.split(BATCH), torch.from_numpy(target).split(BATCH), strict=True)
    return torch.cat([explainer.explain(*part).float().cpu() for part in parts])[:, 0].numpy()


def _unsupported(shared: Shared, reason: str) -> Measured:
    count, *size = shared.images[:, 0].shape
    return Measured(
        np.full((count, *size), np.nan, np.float32), {}, np.full((2, count, 0), np.nan), {}, reason
    )


def _faithfulness(
    maps: np.ndarray, signed: bool, subject: Subject, shared: Shared, plan: Plan
) -> tuple[Columns, np.ndarray]:
    predict = probabilities(subject.classifier)
    infills = {name: faithfulness.INFILLS[name] for name in plan.infills}
    curves = faithfulness.curves(predict, shared.images, maps, shared.target, infills, seed=plan.seed)
    sums = faithfulness.subset_sums(maps, shared.subsets)
    flips = faithfulness.signed_flips(predict, shared.images, maps, shared.target, seed=plan.seed)
    columns = {
        **faithfulness.areas(curves),
        **{key: values if signed else np.full_like(values, np.nan) for key, values in flips.items()},
        "sensitivity_n": faithfulness.sensitivity_n(sums, shared.drops),
        "infidelity": faithfulness.infidelity(sums, shared.drops),
    }
    kinds = ("deletion_", "insertion_")
    mean = [np.mean([curve for key, curve in curves.items() if key.startswith(kind)], 0) for kind in kinds]
    return columns, np.stack(mean)


def _completeness(explainer: Explainer, shared: Shared, maps: np.ndarray) -> np.ndarray:
    relevance, target = torch.from_numpy(maps)[:, None], torch.from_numpy(shared.target)
    batches = zip(shared.images.split(BATCH), target.split(BATCH), relevance.split(BATCH), strict=True)
    gaps = [explainer.completeness(*batch) for batch in batches]
    if any(part is None for part in gaps):
        return np.full(len(maps), np.nan)
    return torch.cat(gaps).double().cpu().numpy()


def _variant(
    name: str, variant: Variant, subject: Subject, shared: Shared, plan: Plan, maps: np.ndarray
) -> Columns:
    """Rank correlation of the absolute maps with the variant's: `randomisation_<kind>`, or `agreement` of seeds."""
    key = "agreement" if variant.kind == SEED else f"randomisation_{variant.kind}"
    unknown = {key: np.full(len(maps), np.nan)}
    if needs_generators(name) and variant.gan is None:
        return unknown
    if variant.kind == SEED and not needs_generators(name):
        return unknown  # nothing of it was trained, and its random numbers are part of the method
    try:
        other = explain(_build(name, subject, plan, variant), shared.images, shared.target)
    except Unsupported:
        return unknown
    return {key: sanity.map_similarity(maps, other)["spearman"]}


def needs_generators(name: str) -> bool:
    """Whether a method looks at trained generators."""
    return name.startswith("cycle_am")


def _cascade(name: str, subject: Subject, shared: Shared, plan: Plan, maps: np.ndarray) -> Columns:
    """`cascade_<k>`: similarity when the last k layers are random; nothing for methods with trained generators."""
    if needs_generators(name):
        return {}
    order = sanity.layer_order(subject.classifier, shared.images[:2])
    columns = {}
    for number, (_, network) in enumerate(
        sanity.cascade(subject.classifier, order, plan.seed, subject.background), 1
    ):
        variant = Variant(f"cascade_{number:02d}", network)
        columns |= {
            key.removeprefix("randomisation_"): values
            for key, values in _variant(name, variant, subject, shared, plan, maps).items()
        }
    return columns


def _stability(explainer: Explainer, shared: Shared, maps: np.ndarray) -> Columns:
    copies = shared.copies
    kept = explain(explainer, copies.kept, shared.target[copies.case]) if copies.keep.any() else maps[:0]
    stable = sanity.stability(maps, kept, copies.keep)
    return {key: np.asarray(stable[key], dtype=np.float64) for key in ("stability", "max_change")}


def _costs(explainer: Explainer, shared: Shared, plan: Plan) -> dict[str, float]:
    """Milliseconds a case and memory, one case at a time and 64 at once."""

    def run(images: Tensor) -> None:
        explainer.explain(images, 1)

    costs = {}
    # A batch of 64 is long enough for one reading without a warm-up.
    for batch, ending, repeats in ((1, "", plan.repeats), (64, "_64", 1)):
        spent = cost.cost(run, shared.images, batch, repeats=repeats, warmup=repeats > 1)
        costs |= {f"ms_per_case{ending}": spent.ms_per_case, f"peak_mb{ending}": spent.peak_mb}
    return costs


# ---------------------------------------------------------------------------------------- all of them, kept
def compare_all(subject: Subject, plan: Plan, shared: Shared, keep: Path, digest: str) -> dict[str, Measured]:
    """Every method of the plan, by id; what `keep` holds under the same `digest` of model, data and settings is
    taken from there."""
    results = {}
    bar = steps(plan.explainers, "explainers", unit="methods")
    for name in bar:
        path = keep / f"{name}-{digest}.npz"
        results[name] = read_part(path) if path.is_file() else None
        if results[name] is None:
            for step in measure(name, subject, shared, plan):
                if isinstance(step, Measured):
                    results[name] = step
                else:
                    bar.set_postfix_str(f"{name}: {step}")
            write_part(path, results[name])
    return results


def write_part(path: Path, measured: Measured) -> None:
    """Keep one method's results; the file appears whole or not at all."""
    arrays = {"maps": measured.maps, "curves": measured.curves, "unsupported": np.array(measured.unsupported)}
    arrays |= {f"column:{key}": values for key, values in measured.columns.items()}
    arrays |= {f"cost:{key}": np.array(value) for key, value in measured.costs.items()}
    write_npz(path, arrays)


def read_part(path: Path) -> Measured | None:
    """What `write_part` kept; None where the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile):
        return None
    return Measured(
        maps=arrays["maps"],
        columns={key[7:]: values for key, values in arrays.items() if key.startswith("column:")},
        curves=arrays["curves"],
        costs={key[5:]: float(value) for key, value in arrays.items() if key.startswith("cost:")},
        unsupported=str(arrays["unsupported"]),
    )


def table(results: Mapping[str, Measured]) -> dict[str, Columns]:
    """Method -> metric -> (N,), every method with the same metrics; methods that are not supported are left out."""
    there = {name: measured.columns for name, measured in results.items() if not measured.unsupported}
    metrics = list(dict.fromkeys(key for columns in there.values() for key in columns))
    count = max((len(measured.maps) for measured in results.values()), default=0)
    unknown = np.full(count, np.nan)
    return {name: {key: columns.get(key, unknown) for key in metrics} for name, columns in there.items()}
