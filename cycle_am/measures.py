"""The catalogue of measures: what each key of metrics.json is called, which way is better, what the paper has.

Keys whose middle or end varies stand here with `*`: `compare/*/deletion` is of every method. `named` finds an entry.
"""

from __future__ import annotations

from dataclasses import dataclass

from cycle_am.estimate import Estimate

HIGHER, LOWER, HALF = "higher", "lower", ".5"
SIGNS = {HIGHER: "↑", LOWER: "↓"}
EVALUATION, SPREAD, COMPARISON = "evaluation", "spread", "comparison"
CASES = 235  # of the paper's test


@dataclass(frozen=True)
class Measure:
    """One key of metrics.json.

    label: in tables and reports. better: `higher`, `lower`, `.5`, or empty where neither is. meaning: in a sentence.
    paper: its value there, with the interval, on 235 test cases. tables: in which of `evaluation` (many figures of one
    run), `spread` (of many runs) and `comparison` (of explainers) it stands.
    """

    label: str
    better: str = ""
    meaning: str = ""
    paper: Estimate | None = None
    tables: tuple[str, ...] = ()


def _paper(value: float, low: float = float("nan"), high: float = float("nan")) -> Estimate:
    return Estimate(value=value, ci_low=low, ci_high=high, n=CASES)


BOTH = (EVALUATION, SPREAD)
# Table 1 of the paper; its text gives AUC .800 [.741, .847].
_CLASSIFIER = {
    "accuracy": Measure(
        "Accuracy", HIGHER, "share of cases called right at p >= .5", _paper(0.809, 0.757, 0.860)
    ),
    "f1": Measure("F1", HIGHER, "harmonic mean of sensitivity and PPV", _paper(0.801, 0.737, 0.856)),
    "sensitivity": Measure(
        "Sensitivity",
        HIGHER,
        "share of malignant cases called malignant",
        _paper(0.813, 0.737, 0.884),
        (SPREAD,),
    ),
    "specificity": Measure(
        "Specificity", HIGHER, "share of benign cases called benign", _paper(0.805, 0.729, 0.866), (SPREAD,)
    ),
    "ppv": Measure(
        "PPV", HIGHER, "share of malignant among those called malignant", _paper(0.790, 0.715, 0.861)
    ),
    "npv": Measure("NPV", HIGHER, "share of benign among those called benign", _paper(0.826, 0.757, 0.894)),
    "informedness": Measure(
        "Informedness", HIGHER, "sensitivity + specificity - 1", _paper(0.618, 0.514, 0.719)
    ),
    "markedness": Measure("Markedness", HIGHER, "PPV + NPV - 1", _paper(0.616, 0.511, 0.718)),
    "mcc": Measure("MCC", HIGHER, "correlation of label and call (Matthews)", _paper(0.617, 0.511, 0.718)),
    "auc": Measure(
        "AUC",
        HIGHER,
        "share of pairs, one of each class, that p ranks right",
        _paper(0.809, 0.757, 0.860),
        BOTH,
    ),
    "size_only_auc": Measure("AUC of size alone", "", "the same by the diameter instead of p", None, BOTH),
    "auc_minus_size": Measure("AUC minus that of size", HIGHER, "paired over patients"),
    "auc_size_matched": Measure(
        "AUC, pairs of equal size",
        HIGHER,
        "among pairs whose diameters differ by less than a tenth",
        None,
        BOTH,
    ),
    "size_only_auc_matched": Measure("AUC of size, pairs of equal size", HALF, "the control: near .5"),
    "brier": Measure("Brier score", LOWER, "mean squared difference of p and label"),
    "ece": Measure(
        "Calibration error", LOWER, "mean distance of p from the share of malignant, by bins of p"
    ),
}
_PLACES = {"x": "x", "neg": "G⁻(x)", "pos": "G⁺(x)"}
_PAPER_P = {
    "x": _paper(0.470, 0.418, 0.522),
    "neg": _paper(0.289, 0.250, 0.330),
    "pos": _paper(0.820, 0.788, 0.848),
}
_PAPER_T = {"neg": _paper(14.5), "pos": _paper(17.9)}


def _transfer(who: str, name: str) -> dict[str, Measure]:
    own = who == "explained"
    means = {
        f"transfer/{who}/{at}": Measure(
            f"p(malignant) of {place}, {name}",
            {"x": "", "neg": LOWER, "pos": HIGHER}[at],
            "mean over the test cases",
            _PAPER_P[at] if own else None,
            (EVALUATION,) if at == "x" else BOTH,
        )
        for at, place in _PLACES.items()
    }
    for at in ("neg", "pos"):
        place = _PLACES[at]
        means[f"transfer/{who}/t_{at}"] = Measure(
            f"t of {place} against x, {name}", "", "of a paired t-test", _PAPER_T[at] if own else None
        )
        means[f"transfer/{who}/p_{at}"] = Measure(f"p-value of that test, {place}, {name}", "", "two-sided")
    return means


_SIMILARITY = {
    f"similarity/{kind}_{at}": Measure(
        f"{name} of {_PLACES[at]} to x", better, meaning, None, BOTH if kind == "ssim" else ()
    )
    for kind, name, better, meaning in (
        ("ssim", "SSIM", HIGHER, "structural similarity; 1 is unchanged"),
        ("l1", "L1", LOWER, "mean absolute change of the pixels"),
    )
    for at in ("neg", "pos")
}
_CYCLE = {
    "cycle/l1": Measure(
        "L1 of the cycles", LOWER, "mean absolute error of G⁻(G⁺(x)) and G⁺(G⁻(x))", None, (EVALUATION,)
    )
}


def _places() -> dict[str, Measure]:
    """Peak and mass of R, and of a central blob, in outlines as drawn and grown, on images as they are and moved."""
    measures = {}
    for moved, where_moved in (("", ""), ("_shifted", ", image moved")):
        for grown, where in (("", "in the outline"), ("_dilated", "in the outline + 3 mm")):
            peak = "peak_in_mask" if not grown else "peak_in_dilated"
            measures[f"localisation/{peak}{moved}"] = Measure(
                f"Peak of |R| {where}{where_moved}",
                HIGHER,
                "share of cases whose largest |R| lies there",
                None,
                BOTH if grown else (EVALUATION,),
            )
            measures[f"localisation/relevance_mass{grown}{moved}"] = Measure(
                f"Share of |R| {where}{where_moved}",
                HIGHER,
                "mean share of the sum of |R|",
                None,
                BOTH if grown and not moved else (),
            )
            measures[f"localisation/centre_prior_peak{grown}{moved}"] = Measure(
                f"The same of a central blob, peak {where}{where_moved}",
                "",
                "the control: it looks at no image",
                None,
                (EVALUATION,) if not grown else (),
            )
            measures[f"localisation/centre_prior_mass{grown}{moved}"] = Measure(
                f"The same of a central blob, share {where}{where_moved}",
                "",
                "the control: it looks at no image",
            )
    return measures


_LOCALISATION = _places() | {
    "localisation/mask_area": Measure(
        "Area of the outline", "", "share of the window: what a flat map's mass is"
    ),
    "localisation/dilated_area": Measure(
        "Area of the outline + 3 mm",
        "",
        "share of the window: what a flat map's mass is",
        None,
        (EVALUATION,),
    ),
    "localisation/shift_followed": Measure(
        "R follows a shift",
        HIGHER,
        "share of cases with a correlation of at least .8 after moving back",
        None,
        BOTH,
    ),
    "localisation/shift_correlation": Measure("Correlation of R under a shift", HIGHER, "mean over cases"),
    "localisation/shift_pixels": Measure("Shift", "", "pixels by which images were moved"),
    "localisation/fixed_pattern": Measure(
        "Fixed pattern of R", LOWER, "energy of the mean map over the mean energy of the maps", None, BOTH
    ),
}
_REALISM = {
    "realism/auc_neg": Measure(
        "Realism of G⁻(x)", HALF, "AUC of a fresh discriminator against real images called benign", None, BOTH
    ),
    "realism/auc_unchanged_neg": Measure(
        "The same of unchanged x, benign", HALF, "the part that is the choice of images", None, (EVALUATION,)
    ),
    "realism/auc_pos": Measure(
        "Realism of G⁺(x)",
        HALF,
        "AUC of a fresh discriminator against real images called malignant",
        None,
        BOTH,
    ),
    "realism/auc_unchanged_pos": Measure(
        "The same of unchanged x, malignant",
        HALF,
        "the part that is the choice of images",
        None,
        (EVALUATION,),
    ),
    "realism/auc_real": Measure(
        "Control: real against real", HALF, "it must not find a difference", None, (EVALUATION,)
    ),
    "realism/auc_planted": Measure(
        "Control: planted stripe", HIGHER, "of 28 HU; it must be found", None, (EVALUATION,)
    ),
}


def _pointing() -> dict[str, Measure]:
    kinds = {
        "pointing": ("peak", "the largest |R| lies in the truth"),
        "relevance_mass": ("mass", "share of |R| in the truth"),
        "relevance_rank": ("rank", "share of as many of the largest |R| as the truth has pixels"),
        "topk_iou": ("IoU", "overlap of these with the truth"),
    }
    shown = {"_dilated_shifted": ", moved", "_dilated": ""}
    ends = {"": " (outline as drawn)", "_shifted": ", moved (outline as drawn)"}
    return {
        f"{kind}{end}": Measure(
            label + words,
            HIGHER,
            meaning,
            None,
            (COMPARISON,) if end in shown and (kind, end) != ("topk_iou", "_dilated") else (),
        )
        for end, words in (shown | ends).items()
        for kind, (label, meaning) in kinds.items()
    }


_INFILLS = {"blur": "a blur", "local_mean": "the local mean", "neighbour": "neighbours"}
_COMPARED = _pointing() | {
    "deletion": Measure(
        "deletion",
        LOWER,
        "area under p while the most relevant pixels are removed, mean over infills",
        None,
        (COMPARISON,),
    ),
    **{
        f"deletion_{key}": Measure(f"deletion by {name}", LOWER, "of one infill")
        for key, name in _INFILLS.items()
    },
    "insertion": Measure(
        "insertion",
        HIGHER,
        "area under p while the most relevant pixels are shown, mean over infills",
        None,
        (COMPARISON,),
    ),
    **{
        f"insertion_{key}": Measure(f"insertion by {name}", HIGHER, "of one infill")
        for key, name in _INFILLS.items()
    },
    "flip": Measure(
        "flip", HIGHER, "rise of the other class when a class's evidence is removed", None, (COMPARISON,)
    ),
    "flip_for": Measure("flip, for", HIGHER, "evidence for the decided class removed"),
    "flip_against": Measure("flip, against", HIGHER, "evidence against it removed"),
    "sensitivity_n": Measure(
        "sensitivity-n", HIGHER, "correlation of summed relevance and fall of the logit", None, (COMPARISON,)
    ),
    "infidelity": Measure(
        "infidelity", LOWER, "error of the forecast fall of the logit", None, (COMPARISON,)
    ),
    "randomisation_last_layer": Measure(
        "random last layer",
        LOWER,
        "rank correlation of |R| with that for a randomised classifier",
        None,
        (COMPARISON,),
    ),
    "randomisation_whole_network": Measure(
        "random network", LOWER, "the same, all layers random", None, (COMPARISON,)
    ),
    "randomisation_random_labels": Measure(
        "random labels", LOWER, "the same, trained on random labels", None, (COMPARISON,)
    ),
    "randomisation": Measure("randomisation", LOWER, "that of the whole network"),
    "stability": Measure(
        "stability", HIGHER, "correlation of maps under noise that p ignores", None, (COMPARISON,)
    ),
    "agreement": Measure(
        "seeds agree", HIGHER, "correlation of the maps of two trainings", None, (COMPARISON,)
    ),
    "max_change": Measure("largest change", LOWER, "of a map under that noise, relative"),
    "completeness": Measure(
        "completeness error", LOWER, "of what a method's sums promise; none where it promises nothing"
    ),
    "planted_mass": Measure("planted mass", HIGHER, "share of |R| in the planted cue"),
    "planted_rank": Measure("planted rank", HIGHER, "rank accuracy in the planted cue"),
    "ms_per_case": Measure("ms a case", LOWER, "median time of one explanation", None, (COMPARISON,)),
    "ms_per_case_64": Measure("ms a case, 64 at once", LOWER, "median time"),
    "peak_mb": Measure("peak MB", LOWER, "memory of one explanation"),
    "peak_mb_64": Measure("peak MB, 64 at once", LOWER, "memory"),
}
_ENSEMBLE = {
    "peak": "peak of |R| in the outline",
    "mass": "share of |R| in the outline",
    "peak_dilated": "peak in the outline + 3 mm",
    "mass_dilated": "share in the outline + 3 mm",
}
_MANY = {
    "runs/*": Measure("", "", "mean over runs of the measure behind it; the interval is over runs"),
    "patients/*": Measure("", "", "over all patients, each tested once; seeds averaged"),
    "stability/*": Measure(
        "", HIGHER, "agreement of the maps of two seeds, mean over pairs of seeds and cases"
    ),
    **{
        f"ensemble/{prefix}{key}": Measure(f"{which}: {name}", HIGHER, meaning)
        for prefix, which, meaning in (
            ("", "Mean map", "of the mean of R over seeds"),
            ("single_", "One seed", "mean over seeds"),
            ("gain_", "Gain", "mean map minus one seed"),
        )
        for key, name in _ENSEMBLE.items()
    },
    "ensemble/auc_wrong_by_*": Measure(
        "", HIGHER, "AUC of wrong against right pixels among those that R marks, by the seeds' disagreement"
    ),
}
# Of more than two classes: Table 1 of each against the rest, and what each generator makes of each class.
_CLASSES = {
    **{
        f"classifier/{rule}/*": Measure("", HIGHER, "of one of more than two classes against the rest")
        for rule in ("auc", "sensitivity", "specificity", "ppv", "npv", "f1")
    },
    **{
        f"transfer/{who}/{name}": Measure(f"{label}, {who} classifier", better, meaning)
        for who in ("explained", "independent")
        for name, label, better, meaning in (
            ("reached", "p of the class asked for", HIGHER, "mean p of k of G_k(x), k not the seen class"),
            ("left", "p left of the seen class", LOWER, "mean p of the class seen in x, of the same G_k(x)"),
            ("matrix/*", "", HIGHER, "mean p of the second class, of images of the first changed towards it"),
        )
    },
    "similarity/ssim": Measure("SSIM of G_k(x) to x", HIGHER, "mean over all k but the seen class"),
    "similarity/ssim/*": Measure("", HIGHER, "of one class's generator"),
}
CATALOGUE: dict[str, Measure] = {
    **_CLASSES,
    **{f"classifier/{key}": measure for key, measure in _CLASSIFIER.items()},
    **_transfer("explained", "explained"),
    **_transfer("independent", "judge"),
    **_SIMILARITY,
    **_CYCLE,
    **_LOCALISATION,
    **_REALISM,
    **{f"compare/*/{key}": measure for key, measure in _COMPARED.items()},
    **_MANY,
}


def named(key: str) -> Measure:
    """The entry of a key of metrics.json. Raises KeyError where there is none."""
    parts = key.split("/")
    if parts[0] == "compare":
        return CATALOGUE["/".join(["compare", "*", *parts[2:]])]
    if key in CATALOGUE:
        return CATALOGUE[key]
    for pattern, measure in CATALOGUE.items():
        if pattern.endswith("*") and key.startswith(pattern[:-1]):
            return measure
    raise KeyError(key)


def table(name: str) -> dict[str, Measure]:
    """The entries of a table, in its order; of the comparison by the metric's own name."""
    chosen = {key: measure for key, measure in CATALOGUE.items() if name in measure.tables}
    return {key.removeprefix("compare/*/"): measure for key, measure in chosen.items()}


def lower_is_better(metric: str) -> bool:
    """Whether less is better of a metric of the comparison; False of one that is not in the catalogue."""
    measure = CATALOGUE.get(f"compare/*/{metric}")
    return measure is not None and measure.better == LOWER


def paper(prefix: str) -> dict[str, Estimate]:
    """What the paper has, by what follows `prefix` in the key."""
    known = {key: measure.paper for key, measure in CATALOGUE.items() if key.startswith(prefix)}
    return {key.removeprefix(prefix): value for key, value in known.items() if value is not None}
