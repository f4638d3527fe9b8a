"""The words, tables and pictures of a CycleAM report; every number was measured before."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cycle_am import measures
from cycle_am.estimate import Estimate
from cycle_am.explainers.control_centre import BLOB_SIGMA_MM
from cycle_am.metrics.localisation import CONSENSUS, DILATION_MM, SHIFT_PIXELS
from cycle_am.reports import draw
from cycle_am.reports.classifier import classifier_section
from cycle_am.reports.colours import scale_words
from cycle_am.reports.doubts import doubts
from cycle_am.reports.page import Headline, Picture, Report, Section, Table, number, p_value, with_interval
from cycle_am.task import Task

WHO = {"explained": "Explained classifier", "independent": "Independent classifier (judge)"}
EXTREMES = 3
PAPER = measures.paper("transfer/explained/")


def lead(task: Task) -> str:
    """What the page is about."""
    return (
        f"Two generators change each image as little as possible: G⁻ until the classifier says {task.classes[0]}, G⁺ "
        f"until it says {task.classes[1]}. "
        "What they change, R = G⁺(x) − G⁻(x), is the explanation. This page asks whether it can be believed."
    )


def legend(task: Task) -> str:
    """What the columns of a picture of explanations are."""
    second = task.classes[1]
    colour = (
        ""
        if task.channels == 1
        else " In colour, changes and R are the root mean square over the channels, with the sign of the lightness."
    )
    return (
        f"From left: x, G⁻(x), G⁺(x) with {task.p()} of the explained classifier, the changes Δ⁻ = G⁻(x) − "
        "x and Δ⁺ = G⁺(x) − x, "
        "R = Δ⁺ − Δ⁻ = G⁺(x) − G⁻(x), and R laid over x. Changes: red is brighter than x, blue is darker. R: "
        f"red is brighter where {second}, blue is darker where {second}. Both are {scale_words(task)}; R over x is the "
        f"more opaque the larger it is.{colour}"
    )


def cycle_am_report(
    cases, result, figures_dir: Path, examples: int, seed: int, notes: Mapping[str, str]
) -> Report:
    """Draw all pictures into `figures_dir` and put the page together (`result`: `cycle_am.CycleAMResult`)."""
    masks = _masks(cases)
    parts = [
        _examples_section(cases, result, masks, figures_dir, examples, seed),
        _transfer_section(cases, result, figures_dir),
        _similarity_section(result.metrics, cases.task),
        _localisation_section(result, masks, figures_dir, cases.task),
        _realism_section(result.metrics, figures_dir, cases.task),
        _extremes_section(cases, result, masks, figures_dir),
    ]
    if result.classifier:
        parts.insert(
            1, classifier_section(result.classifier, figures_dir, "The classifier that is explained")
        )
    title = f"CycleAM: what makes a {cases.task.thing} {cases.task.classes[1]}?"
    if not cases.task.is_nodule:
        title = f"CycleAM: {cases.task.classes[0]} or {cases.task.classes[1]}?"
    return Report(
        title,
        lead(cases.task),
        _headlines(result.metrics, cases.task),
        [part for part in parts if part],
        notes,
    )


def _masks(cases) -> np.ndarray | None:
    drawn = cases.window()[1]
    return None if drawn is None else drawn[:, 0].numpy() >= CONSENSUS


def _headlines(metrics: Mapping[str, Estimate], task: Task) -> list[Headline]:
    def paper(figure: str) -> str:
        return f" · paper {figure}" if task.is_nodule else ""

    def value(key: str) -> str:
        return number(metrics[key]["value"]) if key in metrics else "–"

    return [
        Headline(
            f"{task.p()} on G⁺(x)",
            value("transfer/explained/pos"),
            f"judge {value('transfer/independent/pos')}{paper('0.820')}",
        ),
        Headline(
            f"{task.p()} on G⁻(x)",
            value("transfer/explained/neg"),
            f"judge {value('transfer/independent/neg')}{paper('0.289')}",
        ),
        Headline(
            "SSIM to x",
            f"{value('similarity/ssim_neg')} / {value('similarity/ssim_pos')}",
            "G⁻ / G⁺ · 1 is unchanged",
        ),
        Headline(
            f"Peak of R on the {task.thing}",
            value("localisation/peak_in_dilated"),
            f"outline grown by {task.length(DILATION_MM)}",
        ),
        Headline("R follows a shifted image", value("localisation/shift_followed"), "share of cases"),
        Headline(
            "Realism, AUC real or made",
            f"{value('realism/auc_neg')} / {value('realism/auc_pos')}",
            "G⁻ / G⁺ · 0.5 is not to be told",
        ),
    ]


# ---------------------------------------------------------------------------------------- pictures of cases
def rows_of(cases, result, indices) -> list[draw.Row]:
    """Rows of an explanation picture, named by their label."""
    return [draw.Row(int(i), cases.task.name(int(cases.label[i]))) for i in indices]


def balanced_sample(label: np.ndarray, p: np.ndarray, each: int, seed: int = 0) -> np.ndarray:
    """Indices of up to `each` cases of both classes that are classified correctly, drawn at random; the first class
    first."""
    rng = np.random.default_rng(seed)
    right = [np.flatnonzero((label == k) & ((p >= 0.5) == (k == 1))) for k in (0, 1)]
    return np.concatenate([np.sort(rng.permutation(indices)[:each]) for indices in right])


def _examples_section(cases, result, masks, figures_dir: Path, each: int, seed: int) -> Section | None:
    chosen = balanced_sample(cases.label, result.explained.x, each, seed)
    if len(chosen) == 0:
        return None
    path = draw.explanations(
        figures_dir / "explanations.png",
        result.images,
        rows_of(cases, result, chosen),
        result.explained,
        masks,
        cases.task,
    )
    whose = "the readers' outline" if cases.task.is_nodule else "the outline"
    outlined = f" Yellow: {whose}." if masks is not None else ""
    caption = (
        f"{len(chosen)} test cases that the explained classifier calls right, drawn at random (not "
        f"chosen by eye), as in the "
        f"paper's figure 6. {legend(cases.task)}{outlined}"
    )
    return Section("Explanations", (), (), (Picture(path, caption),))


def _extremes_section(cases, result, masks, figures_dir: Path) -> Section | None:
    score = result.independent.pos - result.independent.neg
    order = np.argsort(score, kind="stable")
    count = min(EXTREMES, len(order) // 2)  # no case is among the best and the worst
    if not count:
        return None
    worst = draw.explanations(
        figures_dir / "worst.png",
        result.images,
        rows_of(cases, result, order[:count]),
        result.explained,
        masks,
        cases.task,
    )
    best = draw.explanations(
        figures_dir / "best.png",
        result.images,
        rows_of(cases, result, order[::-1][:count]),
        result.explained,
        masks,
        cases.task,
    )
    text = (
        f"Cases ordered by what the independent classifier makes of them: {cases.task.p()} on G⁺(x) minus "
        f"{cases.task.p()} on G⁻(x). "
        f"It runs from {number(score.min(), 2)} to {number(score.max(), 2)}.",
    )
    captions = (
        f"The {count} cases that convince the independent classifier least, where the explanation is "
        f"trusted least.",
        f"The {count} cases that convince it most.",
    )
    return Section("Worst and best cases", text, (), tuple(map(Picture, (worst, best), captions)))


# ---------------------------------------------------------------------------------------- domain transfer
def _transfer_section(cases, result, figures_dir: Path) -> Section:
    metrics, label, task = result.metrics, cases.label, cases.task
    width = len(WHO) + 1 + task.is_nodule  # the paper's figures are of nodules
    table = Table(
        (f"{task.p()}, mean", *WHO.values(), "Paper")[:width],
        [
            (name, *_transfer_cells(metrics, key), with_interval(PAPER[key]))[:width]
            for key, name in PLACES.items()
        ],
        f"{len(result.explained.x)} test cases; 95 % intervals from a bootstrap over patients.",
    )
    tests = Table(
        ("Paired t-test", *(f"{who}: t, p" for who in WHO.values()), "Paper: |t|")[:width],
        [
            _test_row(metrics, f"{sign}(x) against x", key)[:width]
            for key, sign in (("pos", "G⁺"), ("neg", "G⁻"))
        ],
        f"Two-sided, {len(result.explained.x) - 1} degrees of freedom."
        f"{' The paper tests with t(233).' if task.is_nodule else ''}"
        if len(result.explained.x) > 1
        else "One case cannot be tested.",
    )
    path = draw.transfer_distributions(
        figures_dir / "transfer.png",
        {"explained classifier": result.explained, "independent classifier": result.independent},
        task,
    )
    text = (
        "If the changed regions matter to the decision, changing them must change it. A generator can "
        "also fool one classifier with "
        "noise that means nothing; so a second classifier, trained independently and never seen by the "
        "generators, must agree.",
        *(
            []
            if result.classifier
            else doubts(result.explained.x, label, "The explained classifier", task.classes)
        ),
        *doubts(result.independent.x, label, "The independent classifier (judge)", task.classes),
    )
    caption = (
        f"{task.p()} of every test case on G⁻(x), x and G⁺(x); box: quartiles and median. The right "
        "panel is the one that a "
        "generator cannot fake with noise."
    )
    return Section("Domain transfer", text, (table, tests), (Picture(path, caption),))


PLACES = {"x": "x, as it is", "neg": "G⁻(x)", "pos": "G⁺(x)"}


def _transfer_cells(metrics: Mapping[str, Estimate], key: str) -> list[str]:
    return [with_interval(metrics[f"transfer/{who}/{key}"]) for who in WHO]


def _test_row(metrics: Mapping[str, Estimate], name: str, key: str) -> list[str]:
    cells = [
        f"{number(metrics[f'transfer/{who}/t_{key}']['value'], 1)}, "
        f"{p_value(metrics[f'transfer/{who}/p_{key}'])}"
        for who in WHO
    ]
    return [name, *cells, number(PAPER[f"t_{key}"]["value"], 1)]


def _similarity_section(metrics: Mapping[str, Estimate], task: Task) -> Section:
    rows = [
        (
            "SSIM to x (1: unchanged)",
            *(with_interval(metrics[f"similarity/ssim_{k}"]) for k in ("neg", "pos")),
        ),
        (
            "L1 to x (0: unchanged)",
            *(with_interval(metrics[f"similarity/l1_{k}"], 4) for k in ("neg", "pos")),
        ),
    ]
    cycle = with_interval(metrics["cycle/l1"], 4)
    note = f"L1 of both cycles, G⁻(G⁺(x)) and G⁺(G⁻(x)), to x: {cycle}."
    if task.is_hounsfield:
        note += f" 0.01 is {0.01 * (task.high - task.low):.0f} HU."
    text = ("The generators are to change as little as possible, and each is to undo what the other did.",)
    return Section("How little is changed", text, (Table(("Figure", "G⁻(x)", "G⁺(x)"), rows, note),))


# ---------------------------------------------------------------------------------------- localisation
def _localisation_section(result, masks, figures_dir: Path, task: Task) -> Section:
    metrics = result.metrics
    pictures = [_maps_picture(result, masks, figures_dir, task)]
    tables = [_behaviour_table(metrics)]
    if metrics["localisation/peak_in_mask"]["n"]:
        pictures.insert(0, _controls_picture(metrics, figures_dir, task))
        tables.insert(0, _localisation_table(metrics, task))
    text = [
        f"The explanation should lie on the {task.thing}, but {task.thing}s are centred, so a blob painted in the "
        "middle of every image would "
        "score well too. Hence the controls: the same figures for such a blob, and everything again on "
        "images whose content is moved.",
    ]
    if len(tables) == 1:
        text.append("No test case has an outline, so figures that need one are left out.")
    return Section("Where the explanation lies", text, tables, pictures)


def _localisation_table(metrics: Mapping[str, Estimate], task: Task) -> Table:
    def row(name: str, keys: tuple[str, ...]) -> list[str]:
        return [name, *(with_interval(metrics[f"localisation/{key}"]) if key else "" for key in keys)]

    rows = [
        row("Peak of |R| in the outline", ("peak_in_mask", "centre_prior_peak", "mask_area")),
        row("Share of |R| in the outline", ("relevance_mass", "centre_prior_mass", "mask_area")),
        row("Peak in the grown outline", ("peak_in_dilated", "centre_prior_peak_dilated", "dilated_area")),
        row(
            "Share in the grown outline",
            ("relevance_mass_dilated", "centre_prior_mass_dilated", "dilated_area"),
        ),
        row("Peak in the outline, moved", ("peak_in_mask_shifted", "centre_prior_peak_shifted", "")),
        row("Share in the outline, moved", ("relevance_mass_shifted", "centre_prior_mass_shifted", "")),
        row(
            "Peak in the grown outline, moved",
            ("peak_in_dilated_shifted", "centre_prior_peak_dilated_shifted", ""),
        ),
        row(
            "Share in the grown outline, moved",
            ("relevance_mass_dilated_shifted", "centre_prior_mass_dilated_shifted", ""),
        ),
    ]
    drawn = (
        f"drawn by at least half of the readers; grown by {task.length(DILATION_MM)}, because growth and spicules lie "
        "just outside it"
        if task.is_nodule
        else f"as the data give it; grown by {task.length(DILATION_MM)}"
    )
    note = (
        f"Outline: {drawn}. Blob: Gaussian of {task.length(BLOB_SIGMA_MM)} in the middle of the window. Area: what a "
        f"map that is equal everywhere would score. {metrics['localisation/peak_in_mask']['n']} cases with an outline."
    )
    return Table(("Figure", "R", "Central blob", "Area"), rows, note)


def _behaviour_table(metrics: Mapping[str, Estimate]) -> Table:
    pattern = metrics["localisation/fixed_pattern"]
    rows = [
        (
            "R follows a shift (correlation ≥ 0.8), share",
            with_interval(metrics["localisation/shift_followed"]),
        ),
        ("Correlation of R under a shift, mean", with_interval(metrics["localisation/shift_correlation"])),
        (
            f"Fixed pattern ({number(1 / max(pattern['n'], 1))}: nothing in common, 1: the same R for every case)",
            with_interval(pattern),
        ),
    ]
    moved = metrics["localisation/shift_pixels"]
    if moved["n"]:
        note = (
            f"{moved['n']} cases moved by {number(moved['value'], 1)} pixels on average, in four directions by "
            f"turns: {SHIFT_PIXELS} where "
            "the source has that margin around the window, else what it has."
        )
    else:
        note = "The source has no margin around the window, so nothing could be moved."
    return Table(("Figure", "This run"), rows, note)


def _controls_picture(metrics: Mapping[str, Estimate], figures_dir: Path, task: Task) -> Picture:
    pairs = {
        "peak in outline": ("peak_in_mask", "centre_prior_peak"),
        "peak in outline, moved": ("peak_in_mask_shifted", "centre_prior_peak_shifted"),
        "share in grown outline": ("relevance_mass_dilated", "centre_prior_mass_dilated"),
        "share in grown outline, moved": (
            "relevance_mass_dilated_shifted",
            "centre_prior_mass_dilated_shifted",
        ),
    }
    groups = {
        name: {"R": metrics[f"localisation/{ours}"], "central blob": metrics[f"localisation/{blob}"]}
        for name, (ours, blob) in pairs.items()
    }
    path = draw.intervals(
        figures_dir / "localisation.png", groups, "share of cases (peak), share of |R| (share)"
    )
    caption = (
        f"R against a blob that does not look at the image. Where an image is moved by more than its {task.thing}'s "
        "radius, the blob misses and R should not."
    )
    return Picture(path, caption)


def _maps_picture(result, masks, figures_dir: Path, task: Task) -> Picture:
    outline = None if masks is None or not masks.any() else masks[masks.any((1, 2))].mean(0)
    path = draw.mean_maps(
        figures_dir / "mean_maps.png", result.images.relevance, outline, result.localisation.correlation, task
    )
    caption = (
        f"Left: mean of R over all cases, {scale_words(task)}; a generator that paints one pattern shows it here. "
        "Middle: mean of |R| on a scale of its own"
        + (
            f", with the outline of pixels that are {task.thing} in more than half of the cases that have an outline "
            "(green)"
            if outline is not None and outline.max() > 0.5
            else ""
        )
        + ". Right: how well R of a moved image agrees with the moved R of the image."
    )
    return Picture(path, caption)


# ---------------------------------------------------------------------------------------- realism
QUESTIONS = {
    "auc_pos": "G⁺(x) against real ones called {1}",
    "auc_neg": "G⁻(x) against real ones called {0}",
    "auc_unchanged_pos": "Control: x itself against real ones called {1}",
    "auc_unchanged_neg": "Control: x itself against real ones called {0}",
    "auc_real": "Control: real against real (should be near 0.5)",
    "auc_planted": "Control: real with a faint stripe (should be above 0.95)",
}


def _realism_section(metrics: Mapping[str, Estimate], figures_dir: Path, task: Task) -> Section | None:
    if "realism/auc_planted" not in metrics:
        return None
    answers = {name.format(*task.classes): metrics[f"realism/{key}"] for key, name in QUESTIONS.items()}
    table = Table(
        ("A fresh discriminator tells apart", "AUC", "Images"),
        [(name, with_interval(figure), str(figure["n"])) for name, figure in answers.items()],
        "0.5: not to be told apart; 1: always. The discriminators learn on training patients and are "
        "read on test patients.",
    )
    text = (
        "For each question a new network learns to tell generated from real images, on other patients "
        "than those it is tested on. " + _verdict(metrics),
        f"The comparison mixes two things: traces of the generator, and that x was any {task.thing} while the "
        f"real ones were called {task.classes[1]} "
        f"(or {task.classes[0]}). The control with x itself shows how much the second gives away on its own.",
    )
    path = draw.intervals(
        figures_dir / "realism.png",
        {name: {"AUC": figure} for name, figure in answers.items()},
        "AUC",
        marks=(0.5, 0.95),
    )
    caption = (
        "How well each pair is told apart, with 95 % intervals; "
        "dotted: chance, and what the planted stripe must exceed."
    )
    return Section("Realism", text, (table,), (Picture(path, caption),))


def _verdict(metrics: Mapping[str, Estimate]) -> str:
    real, planted = metrics["realism/auc_real"], metrics["realism/auc_planted"]
    sound = real["ci_low"] <= 0.5 <= real["ci_high"] or abs(real["value"] - 0.5) <= 0.1
    if not np.isfinite(planted["value"]):
        return "There are too few images for it."
    if planted["value"] <= 0.95:
        return "The planted stripe was not found, so the test is too weak here to mean anything."
    return (
        "Both controls hold."
        if sound
        else "Real images were told from real ones, so the test cannot be trusted here."
    )
