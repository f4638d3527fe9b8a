"""Everything that is always reported of a trained CycleAM: does the explanation change the decision, does a
classifier that the generators never saw agree, does the explanation lie on the nodule, and are the images
real enough to be believed?"""

from dataclasses import dataclass, replace

import numpy as np

from cycle_am.contract import Changed
from cycle_am.estimate import Estimate, prefixed
from cycle_am.metrics.classifier import ClassifierResult, classifier_result
from cycle_am.metrics.inference import Outputs, generate, outputs, probabilities, relevance_maps
from cycle_am.metrics.localisation import Localisation, localisation_figures, localise
from cycle_am.metrics.realism import Judged, Pool
from cycle_am.metrics.similarity import l1_to, similarity_figures, ssim_to
from cycle_am.metrics.transfer import Transfer, transfer, transfer_figures


@dataclass(frozen=True)
class CycleAMResult:
    """What was measured on the test cases, case by case; `metrics` holds the figures by the names of
    metrics.json."""

    images: Outputs
    explained: Transfer
    independent: Transfer
    similarity: dict[str, np.ndarray]
    localisation: Localisation
    classifier: ClassifierResult | None
    metrics: dict[str, Estimate]


def similarity_per_case(images: Outputs) -> dict[str, np.ndarray]:
    """SSIM and L1 of both transfers to x, and the mean L1 of both cycles, each (N,)."""
    return {
        "ssim_neg": ssim_to(images.x, images.changed.neg),
        "ssim_pos": ssim_to(images.x, images.changed.pos),
        "l1_neg": l1_to(images.x, images.changed.neg),
        "l1_pos": l1_to(images.x, images.changed.pos),
        "cycle_l1": (l1_to(images.x, images.cycle.neg) + l1_to(images.x, images.cycle.pos)) / 2,
    }


def measure(gan, classifier, judge, cases, progress: bool = True, **options) -> CycleAMResult:
    """All figures but realism, which needs training patients too."""
    images = outputs(gan, cases.window()[0], progress="test cases" if progress else "")
    explained, independent = (transfer(network, images.x, *images.changed) for network in (classifier, judge))
    similar = similarity_per_case(images)
    located = localise(cases, images.relevance, lambda x: relevance_maps(gan, x))
    labelled = classifier_result(explained.x, cases, **options) if (cases.label >= 0).any() else None
    if labelled:
        labelled = replace(labelled, foreign=getattr(classifier, "foreign", False))
    patients = cases.patient_id
    kept = similarity_figures(similar, patients, **options)
    metrics = {
        **(prefixed("classifier", labelled.figures) if labelled else {}),
        **prefixed("transfer/explained", transfer_figures(explained, patients, **options)),
        **prefixed("transfer/independent", transfer_figures(independent, patients, **options)),
        **prefixed("similarity", {name: kept[name] for name in kept if name != "cycle_l1"}),
        "cycle/l1": kept["cycle_l1"],
        **prefixed("localisation", localisation_figures(located, images.relevance, patients, **options)),
    }
    return CycleAMResult(images, explained, independent, similar, located, labelled, metrics)


def judged(gan, classifier, cases, changed: Changed | None = None, progress: str = "") -> Judged:
    """Real and generated images of some cases, as the realism test takes them; `changed` where it is
    known."""
    x, patients = cases.window()[0], cases.patient_id
    images = (x, *(changed or generate(gan, x, progress=progress)))
    return Judged(*(Pool(pool, patients) for pool in images), probabilities(classifier, x))


def case_columns(cases, result: CycleAMResult) -> dict[str, np.ndarray]:
    """The columns of cases.csv."""
    where = result.localisation
    probability = {
        f"p_{who}_{on}": getattr(moved, on)
        for who, moved in (("explained", result.explained), ("independent", result.independent))
        for on in ("x", "neg", "pos")
    }
    return {
        "case_id": cases.case_id,
        "patient_id": cases.patient_id,
        "label": cases.label,
        **probability,
        **result.similarity,
        "peak_in_mask": where.figures["peak"],
        "relevance_mass": where.figures["mass"],
        "peak_in_dilated": where.figures["peak_dilated"],
        "relevance_mass_dilated": where.figures["mass_dilated"],
        "shift_correlation": where.correlation,
    }
