"""Everything that is always reported of a trained CycleAM: does the explanation change the decision, does a
classifier that the generators never saw agree, does the explanation lie on the nodule, and are the images
real enough to be believed?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from cycle_am.estimate import Estimate
from cycle_am.metrics.bootstrap import RESAMPLES
from cycle_am.metrics.classifier import ClassifierResult, classifier_result
from cycle_am.metrics.inference import Outputs, generate, outputs, probabilities, relevance_maps
from cycle_am.metrics.localisation import Localisation, localisation_figures, localise
from cycle_am.metrics.realism import Judged, Pool, realism_figures
from cycle_am.metrics.similarity import l1_to, similarity_figures, ssim_to
from cycle_am.metrics.transfer import Transfer, transfer, transfer_figures
from cycle_am.reports.cycle_am import cycle_am_report
from cycle_am.reports.page import write_report
from cycle_am.runs.results import prefixed, write_cases, write_maps, write_metrics


@dataclass(frozen=True)
class CycleAMResult:
    """What was measured on the test cases, case by case; `metrics` holds the figures by the names of
    metrics.json."""

    made: Outputs
    explained: Transfer
    independent: Transfer
    similarity: dict[str, np.ndarray]
    localisation: Localisation
    classifier: ClassifierResult | None
    metrics: dict[str, Estimate]


def similarity_per_case(made: Outputs) -> dict[str, np.ndarray]:
    """SSIM and L1 of both transfers to x, and the mean L1 of both cycles, each (N,)."""
    return {
        "ssim_neg": ssim_to(made.x, made.x_neg),
        "ssim_pos": ssim_to(made.x, made.x_pos),
        "l1_neg": l1_to(made.x, made.x_neg),
        "l1_pos": l1_to(made.x, made.x_pos),
        "cycle_l1": (l1_to(made.x, made.cycle_pos) + l1_to(made.x, made.cycle_neg)) / 2,
    }


def measure(gan, classifier, judge, cases, progress: bool = True, **options) -> CycleAMResult:
    """All figures but realism, which needs training patients too."""
    made = outputs(gan, cases.window()[0], progress="test cases" if progress else "")
    explained, independent = (transfer(one, made.x, made.x_neg, made.x_pos) for one in (classifier, judge))
    similar = similarity_per_case(made)
    located = localise(cases, made.relevance, lambda images: relevance_maps(gan, images))
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
        **prefixed("localisation", localisation_figures(located, made.relevance, patients, **options)),
    }
    return CycleAMResult(made, explained, independent, similar, located, labelled, metrics)


def judged(gan, classifier, cases, made: tuple[Tensor, Tensor] | None = None, progress: str = "") -> Judged:
    """Real and generated images of some cases, as the realism test takes them; `made` is (G-(x), G+(x)) where
    known."""
    x, patients = cases.window()[0], cases.patient_id
    x_neg, x_pos = made or generate(gan, x, progress=progress)
    return Judged(*(Pool(images, patients) for images in (x, x_neg, x_pos)), probabilities(classifier, x))


def case_columns(cases, result: CycleAMResult) -> dict[str, np.ndarray]:
    """The columns of cases.csv."""
    where = result.localisation
    probability = {
        f"p_{who}_{on}": getattr(one, on)
        for who, one in (("explained", result.explained), ("independent", result.independent))
        for on in ("x", "neg", "pos")
    }
    return {
        "case_id": cases.case_id,
        "patient_id": cases.patient_id,
        "label": cases.label,
        **probability,
        **result.similarity,
        "peak_in_mask": where.found["peak"],
        "relevance_mass": where.found["mass"],
        "peak_in_dilated": where.found["peak_dilated"],
        "relevance_mass_dilated": where.found["mass_dilated"],
        "shift_correlation": where.correlation,
    }


def evaluate_cycle_am(
    gan,
    classifier,
    judge,
    train_cases,
    cases,
    out_dir: Path | str,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    realism: bool = True,
    examples: int = 4,
    notes: Mapping[str, str] | None = None,
    progress: bool = True,
) -> dict[str, Estimate]:
    """Evaluate generators and write metrics.json, cases.csv, relevance.npz, figures/ and report.html into
    `out_dir`.

    Args:
        gan: has `generate(x) -> (x_neg, x_pos)` by name and `cycle(x) -> (cycle_pos, cycle_neg)` for (N, 1,
            64, 64) in [0, 1].
        classifier: the explained one; has `probability(x) -> (N,)`, and `foreign` where nobody knows which patients
            it was trained on.
        judge: an independent classifier that the generators never saw.
        train_cases: training patients' cases, on which the realism test's discriminators learn.
        cases: test cases (`cycle_am.data.cases.Cases`).
        realism: False leaves the realism test out (it trains eight small networks, about a minute).
        examples: benign and malignant cases each in the picture of explanations.
        notes: small print of the report, such as checkpoints and the data's fingerprint.

    Returns:
        The content of metrics.json.
    """
    out_dir = Path(out_dir)
    for module in (gan, classifier, judge):
        getattr(module, "eval", lambda: None)()
    result = measure(gan, classifier, judge, cases, progress, resamples=resamples, seed=seed)
    if realism:
        train = judged(gan, classifier, train_cases, progress="training cases" if progress else "")
        test = judged(gan, classifier, cases, (result.made.x_neg, result.made.x_pos))
        found = realism_figures(train, test, seed=seed, resamples=resamples, progress=progress)
        result.metrics.update(prefixed("realism", found))
    write_metrics(out_dir / "metrics.json", result.metrics)
    write_cases(out_dir / "cases.csv", case_columns(cases, result))
    write_maps(out_dir / "relevance.npz", cases.case_id, cycle_am=result.made.relevance)
    small_print = {"Bootstrap": f"{resamples} resamples of patients, seed {seed}"} | dict(notes or {})
    report = cycle_am_report(cases, result, out_dir / "figures", examples, seed, small_print)
    write_report(out_dir / "report.html", report)
    return result.metrics
