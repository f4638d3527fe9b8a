"""Figures 7, 8 and 9 of the paper for a study. Each function draws one file; nothing here computes a result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from scipy.cluster.hierarchy import dendrogram

from cycle_am.reader_study.analysis import factor, tables
from cycle_am.reader_study.analysis.analysis import Analysis
from cycle_am.reports.draw import ACCENT, FIRST, PLAIN, SECOND, WIDTH, _canvas, _plain_axes, _save
from cycle_am.reports.page import number

#: Okabe & Ito's palette, told apart by colour-blind readers; the reference comes first.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#999999", "#000000")
SIMULATED = "SIMULATED DATA – no reader has seen an image"
INTERIM = "INTERIM LOOK – ratings are still to come"
GAP = 1.2  # between the groups of criteria, in widths of a method


def ratings_by_method(path: Path, result: Analysis) -> Path:
    """Figure 7: adjusted ratings of each criterion and method, all cases (left) and benign and malignant cases apart
    (right, where labels are known). Above centred, below z-adjusted. Boxes: answers; dots and lines: mean and CI."""
    apart = len(result.by_label) > 0
    width = WIDTH if apart else 0.62 * WIDTH
    canvas, axes = _canvas(width, 6.4, nrows=2, ncols=1 + apart, sharex="col", sharey="row", squeeze=False)
    for line, scale in zip(axes, ("centred", "z_adjusted"), strict=True):
        _boxes(line[0], result, scale)
        line[0].set_ylabel(tables.SCALES[scale].title, fontsize=9)
        if apart:
            _by_label(line[1], result, scale)
    axes[0, 0].set_title("all cases", fontsize=10)
    if apart:
        axes[0, 1].set_title("by type of lesion", fontsize=10)
        for colour, name in ((FIRST, "benign"), (SECOND, "malignant")):
            axes[0, 1].plot([], [], "o-", color=colour, label=name)
        axes[0, 1].legend(frameon=False, fontsize=9, loc="upper right")
    for axis in axes[-1]:
        _name_places(axis, result)
    return _save(_marked(canvas, result), path)


def criteria_tree(path: Path, result: Analysis) -> Path | None:
    """Figure 8: dendrogram of the criteria by their distances 1 - r, and their Pearson matrix in the same order; None
    where a correlation is undefined or there is one criterion."""
    links = factor.tree(result.correlations)
    if links is None:
        return None
    names = [name.replace(" ", "\n") for name in result.ratings.criterion_names]
    height = 1.6 + 0.75 * len(names)
    canvas, (left, right) = _canvas(WIDTH, height, ncols=2, width_ratios=(1, 1.5))
    drawn = dendrogram(
        links, ax=left, orientation="left", color_threshold=0, above_threshold_color=ACCENT, no_labels=True
    )
    # scipy puts leaf i at 5 + 10 i from the bottom; row i of the matrix lies i from the top.
    left.set_ylim(10 * len(names), 0)
    left.set_xlabel("1 − r", fontsize=9)
    left.spines["left"].set_visible(False)
    _plain_axes(left)
    order = drawn["leaves"]
    matrix = result.correlations[np.ix_(order, order)]
    right.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for i, j in np.ndindex(matrix.shape):
        dark = abs(matrix[i, j]) > 0.6
        text = number(matrix[i, j], 3)
        right.text(j, i, text, ha="center", va="center", fontsize=10, color="white" if dark else "black")
    right.set_xticks(range(len(names)), [names[i] for i in order], fontsize=9)
    right.set_yticks(range(len(names)), [names[i] for i in order], fontsize=9)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    return _save(_marked(canvas, result), path)


def general_factor(path: Path, result: Analysis) -> Path | None:
    """Figure 9: Phi of each method (left), weights of the criteria in Phi (right); None where Phi has no value."""
    if result.phi is None:
        return None
    ratings, scores = result.ratings, result.phi_scores
    canvas, (left, right) = _canvas(WIDTH, 3.6, ncols=2, width_ratios=(1.5, 1))
    for place, (method, colour) in enumerate(zip(ratings.methods, _colours(result), strict=True)):
        row = result.phi_means[result.phi_means["method"] == method].iloc[0]
        _box(left, scores[:, :, place], place, colour)
        _mean(left, row, place, ACCENT)
    left.set_xticks(range(len(ratings.names)), ratings.names, fontsize=9)
    left.axhline(0, color=PLAIN, lw=0.7, ls=":")
    left.set_ylabel("general factor Φ", fontsize=9)
    left.set_title(f"Φ explains {100 * result.phi.explained:.1f} % of the variance", fontsize=10)
    places = np.arange(len(ratings.criteria))
    right.barh(places, result.phi.weights, color=PALETTE[1], height=0.6)
    for place, weight in zip(places, result.phi.weights, strict=True):
        right.text(weight / 2, place, f"{weight:.3f}", ha="center", va="center", color="white", fontsize=9)
    right.set_yticks(places, [name.replace(" ", "\n") for name in ratings.criterion_names], fontsize=9)
    right.invert_yaxis()
    right.set_title("its eigenvector, L1-normalised", fontsize=10)
    for axis in (left, right):
        _plain_axes(axis)
    return _save(_marked(canvas, result), path)


def _marked(canvas, result: Analysis):
    marks = [SIMULATED] * result.ratings.simulated + [INTERIM] * result.ratings.interim
    if marks:
        canvas.suptitle("\n".join(marks), color=SECOND, fontsize=11, fontweight="bold")
    return canvas


def _colours(result: Analysis) -> list:
    count = len(result.ratings.methods)
    return list(PALETTE[:count]) if count <= len(PALETTE) else list(colormaps["tab20"](np.arange(count) % 20))


def _places(result: Analysis):
    """Index of criterion and method, id of each, and where they are drawn."""
    methods = list(result.ratings.methods)
    for k, criterion in enumerate(result.ratings.criteria):
        for m, method in enumerate(methods):
            yield k, m, criterion, method, k * (len(methods) + GAP) + m


def _boxes(axis, result: Analysis, scale: str) -> None:
    values = tables.SCALES[scale].of(result.ratings.scores)
    colours = _colours(result)
    for k, m, criterion, method, place in _places(result):
        _box(axis, values[:, :, m, k], place, colours[m])
        _mean(axis, result.mean(scale, criterion, method), place, ACCENT)
    _level(axis)


def _by_label(axis, result: Analysis, scale: str) -> None:
    rows = result.by_label[result.by_label["scale"] == scale].set_index(["criterion", "method", "label"])
    for _, _, criterion, method, place in _places(result):
        for label, colour in ((0, FIRST), (1, SECOND)):
            if (criterion, method, label) in rows.index:
                _mean(axis, rows.loc[(criterion, method, label)], place + 0.4 * label - 0.2, colour)
    _level(axis)


def _level(axis) -> None:
    axis.axhline(0, color=PLAIN, lw=0.7, ls=":")
    axis.tick_params(axis="x", which="both", length=0)
    _plain_axes(axis)


def _name_places(axis, result: Analysis) -> None:
    """The methods' names under their places, the criteria's below these."""
    methods = len(result.ratings.methods)
    centres = [k * (methods + GAP) + (methods - 1) / 2 for k in range(len(result.ratings.criteria))]
    axis.set_xticks(
        [place for *_, place in _places(result)], result.ratings.names * len(centres), rotation=90, fontsize=8
    )
    below = axis.secondary_xaxis("bottom")
    below.set_xticks(
        centres, [name.replace(" ", "\n") for name in result.ratings.criterion_names], fontsize=9
    )
    below.tick_params(length=0, pad=8 + 4.8 * max(map(len, result.ratings.names)))
    below.spines[:].set_visible(False)


def _box(axis, values: np.ndarray, place: float, colour) -> None:
    known = values[np.isfinite(values)]
    if not len(known):
        return
    parts = axis.boxplot(
        [known], positions=[place], widths=0.7, patch_artist=True, showfliers=False, manage_ticks=False
    )
    parts["boxes"][0].set(facecolor=colour, alpha=0.45, lw=0)
    for part in (*parts["whiskers"], *parts["caps"], *parts["medians"]):
        part.set(color=colour, lw=1.2)


def _mean(axis, row: pd.Series, place: float, colour) -> None:
    axis.plot([place, place], [row["ci_low"], row["ci_high"]], color=colour, lw=2, solid_capstyle="round")
    axis.plot(place, row["mean"], "o", color=colour, ms=4.5)
