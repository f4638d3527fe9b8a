"""Pictures of a report. Each function draws one file and returns its path; nothing here computes a result.

Blue speaks for the first class (benign) and red for the second (malignant), as in the paper's figure 6; the two are
told apart by colour-blind readers too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.patheffects import withStroke

from cycle_am.contract import one_map
from cycle_am.estimate import Estimate
from cycle_am.metrics.inference import Outputs
from cycle_am.metrics.transfer import Transfer
from cycle_am.reports.colours import (
    ACCENT,
    DIVERGING,
    FIRST,
    PLAIN,
    RELEVANCE_SCALE,
    SECOND,
    whole_words,
)
from cycle_am.reports.page import number
from cycle_am.task import Task

VIVID_RED, VIVID_BLUE = (
    np.array([1.0, 0.22, 0.16]),
    np.array([0.18, 0.5, 1.0]),
)  # bright enough to show on grey
OUTLINED = [withStroke(linewidth=2, foreground="black")]  # readable on any image
WIDTH = 9.0  # inches; the report shows pictures at about this width
DPI = 130


def _canvas(width: float, height: float, **grid):
    canvas = Canvas(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas, canvas.subplots(**grid)


def _save(canvas: Canvas, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, facecolor="white")
    return path


def relevance_bar(canvas, drawn, axes, task: Task, label: str = "R", **place):
    """The colour bar of R or changes; its arrows say that larger ones are cut."""
    bar = canvas.colorbar(drawn, ax=axes, extend="both", **place)
    bar.set_label(f"{label} ({whole_words(task)})", fontsize=8)
    bar.set_ticks([-RELEVANCE_SCALE, 0, RELEVANCE_SCALE])
    bar.ax.tick_params(labelsize=8)
    return bar


def _plain_axes(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def tint(strength: np.ndarray, power: float = 1.0) -> np.ndarray:
    """(H, W, 4) in [0, 1]: red where `strength` in [-1, 1] is positive, blue where negative, and opacity as
    |strength| to the `power`."""
    strength = np.clip(strength, -1, 1)[..., None]
    colour = np.where(strength > 0, VIVID_RED, VIVID_BLUE)
    return np.concatenate([colour, 0.8 * np.abs(strength) ** power], -1)


def overlay(image: np.ndarray, relevance: np.ndarray, scale: float = RELEVANCE_SCALE) -> np.ndarray:
    """(H, W, 3) in [0, 1]: the image (H, W) or (H, W, 3) in grey, R laid over it in red or blue, the more opaque the
    larger |R|."""
    tinted = tint(relevance / scale, power=0.5)
    colour, opacity = tinted[..., :3], tinted[..., 3:]
    grey = image if image.ndim == 2 else image.mean(-1)
    mixed = np.clip(grey, 0, 1)[..., None] * (1 - opacity) + colour * opacity
    return np.clip(mixed, 0, 1)  # rounding may leave the range by 1e-8, which matplotlib warns of


@dataclass(frozen=True)
class Row:
    """One line of an explanation picture: a caption, p on x, G-(x), G+(x), and the case's
    index."""

    index: int
    caption: str


COLUMNS = ("x", "G⁻(x)", "G⁺(x)", "Δ⁻", "Δ⁺", "R", "x with R")


def explanations(
    path: Path,
    outputs: Outputs,
    rows: Sequence[Row],
    explained: Transfer,
    masks: np.ndarray | None,
    task: Task,
) -> Path:
    """The paper's figure 6, row by row: x, G-(x), G+(x), both changes (eq. 5), R (eq. 6) and R over x; mask
    outlined on x."""
    height = 0.35 + 1.34 * len(rows)
    canvas, axes = _canvas(WIDTH, height, nrows=len(rows), ncols=len(COLUMNS), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        drawn = _draw_row(line, outputs, row, explained, None if masks is None else masks[row.index])
    for axis, title in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(title, fontsize=10)
    relevance_bar(
        canvas,
        drawn,
        axes,
        task,
        "change of brightness, R",
        location="bottom",
        shrink=0.4,
        aspect=40,
        pad=0.02,
    )
    return _save(canvas, path)


def caption(axis, text: str, size: float, place: tuple[float, float]) -> None:
    """White words within a picture, `place` from its lower left corner in shares of its sides."""
    axis.text(*place, text, transform=axis.transAxes, fontsize=size, color="white", path_effects=OUTLINED)


def _draw_row(line, outputs: Outputs, row: Row, explained: Transfer, mask: np.ndarray | None):
    x, x_neg, x_pos = (part[row.index].numpy() for part in (outputs.x, *outputs.changed))
    probability = (explained.x[row.index], explained.neg[row.index], explained.pos[row.index])
    for axis, image, p in zip(line, (x, x_neg, x_pos), probability, strict=False):
        axis.imshow(shown(image), cmap="gray", vmin=0, vmax=1)
        caption(axis, f"p {number(p, 2)}", 8, (0.04, 0.06))
    for axis, change in zip(line[3:6], (x_neg - x, x_pos - x, x_pos - x_neg), strict=True):
        drawn = axis.imshow(
            one_map(change[None])[0], cmap=DIVERGING, vmin=-RELEVANCE_SCALE, vmax=RELEVANCE_SCALE
        )
    line[6].imshow(overlay(shown(x), one_map((x_pos - x_neg)[None])[0]))
    if mask is not None and mask.any():
        for axis in (line[0], line[5]):
            axis.contour(mask, levels=[0.5], colors="#c99700", linewidths=0.8)
    for axis in line:
        axis.set_xticks([])
        axis.set_yticks([])
    line[0].set_ylabel(row.caption, fontsize=8)
    return drawn


def shown(image: np.ndarray) -> np.ndarray:
    """(C, H, W) as it is drawn: (H, W) of one channel, (H, W, 3) of three."""
    return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)


def in_bytes(image: np.ndarray) -> np.ndarray:
    """(C, H, W) in [0, 1] -> (H, W, 3) uint8."""
    drawn = (shown(image).clip(0, 1) * 255).round().astype(np.uint8)
    return drawn if drawn.ndim == 3 else np.repeat(drawn[..., None], 3, axis=2)


def transfer_distributions(path: Path, transfers: Mapping[str, Transfer], task: Task) -> Path:
    """p of the second class on G-(x), x and G+(x): every case a dot, median and quartiles as a box; one panel per
    classifier."""
    canvas, axes = _canvas(WIDTH, 3.4, ncols=len(transfers), sharey=True, squeeze=False)
    for axis, (title, result) in zip(axes[0], transfers.items(), strict=True):
        _strips(axis, (result.neg, result.x, result.pos))
        axis.set_title(title, fontsize=10)
    axes[0, 0].set_ylabel(task.p(), fontsize=9)
    return _save(canvas, path)


def _strips(axis, groups: Sequence[np.ndarray]) -> None:
    jitter = np.random.default_rng(0)
    for place, (values, colour) in enumerate(zip(groups, (FIRST, PLAIN, SECOND), strict=True)):
        axis.scatter(
            place + jitter.uniform(-0.28, 0.28, len(values)), values, s=7, color=colour, alpha=0.35, lw=0
        )
    boxes = axis.boxplot(groups, positions=range(3), widths=0.5, showfliers=False, patch_artist=False)
    for part in (*boxes["boxes"], *boxes["medians"], *boxes["whiskers"], *boxes["caps"]):
        part.set(color=ACCENT, lw=1.4)
    axis.set_xticks(range(3), ["G⁻(x)", "x", "G⁺(x)"])
    axis.set_ylim(-0.03, 1.03)
    axis.axhline(0.5, color=PLAIN, lw=0.7, ls=":")
    _plain_axes(axis)


def roc_and_calibration(
    path: Path, scores: np.ndarray, size: np.ndarray | None, labels: np.ndarray, bins: np.ndarray, task: Task
) -> Path:
    """ROC curve of the classifier, beside that of the diameter alone where there is one, and how often p comes true.

    Args:
        scores, size, labels: (N,).
        bins: (K, 3) mean p, share of the second class, count (`scores.calibration_bins`).
    """
    canvas, (left, right) = _canvas(WIDTH, 4.2, ncols=2)
    rivals = [] if size is None else [(size, "diameter alone", PLAIN)]
    curves = [(scores, "classifier", SECOND), *rivals] if np.ptp(labels) else []
    for values, name, colour in curves:
        left.plot(*roc_points(values, labels), color=colour, lw=2, label=name)
    if not curves:
        left.text(0.5, 0.3, "needs both classes", fontsize=9, color=PLAIN, ha="center")
    left.set(
        xlabel="1 − specificity", ylabel="sensitivity", title="ROC", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01)
    )
    right.scatter(
        bins[:, 0], bins[:, 1], s=20 + 160 * bins[:, 2] / bins[:, 2].max(), color=FIRST, alpha=0.8, zorder=3
    )
    right.plot(bins[:, 0], bins[:, 1], color=FIRST, lw=1)
    right.set(
        xlabel=task.p(),
        ylabel=f"share {task.classes[1]}",
        title="Calibration",
        xlim=(-0.03, 1.03),
        ylim=(-0.05, 1.05),
    )
    for axis in (left, right):
        axis.plot([0, 1], [0, 1], color=PLAIN, lw=0.8, ls=":")
        axis.set_aspect("equal")
        _plain_axes(axis)
    if curves:
        left.legend(frameon=False, fontsize=9, loc="lower right")
    return _save(canvas, path)


def roc_points(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate at every threshold, from (0, 0) to (1, 1); equal scores move together."""
    order = np.argsort(-scores, kind="stable")
    last = np.r_[np.flatnonzero(np.diff(scores[order])), len(scores) - 1]
    hits, misses = np.cumsum(labels[order] == 1)[last], np.cumsum(labels[order] == 0)[last]
    return np.r_[0, misses / max(misses[-1], 1)], np.r_[0, hits / max(hits[-1], 1)]


def intervals(
    path: Path, groups: Mapping[str, Mapping[str, Estimate]], label: str, marks: Sequence[float] = ()
) -> Path:
    """Figures with their intervals as dots and lines: {name of a line: {name of a series: figure}}, one
    colour per series."""
    names = list(groups)
    series = list(dict.fromkeys(key for group in groups.values() for key in group))
    canvas, axis = _canvas(WIDTH, 0.9 + 0.28 * sum(len(group) + 0.6 for group in groups.values()))
    colours = dict(zip(series, (SECOND, PLAIN, FIRST, "#c99700"), strict=False))
    place, ticks = 0.0, []
    for group in groups.values():
        start = place
        for key, figure in group.items():
            _interval_line(axis, place, figure, colours[key])
            place += 1
        ticks.append((start + place - 1) / 2)
        place += 0.6
    axis.set_yticks(ticks, names, fontsize=9)
    axis.invert_yaxis()
    for mark in marks:
        axis.axvline(mark, color=PLAIN, lw=0.8, ls=":")
    axis.set(xlim=(-0.02, 1.02), xlabel=label)
    _plain_axes(axis)
    if len(series) > 1:
        handles = [axis.plot([], [], "o-", color=colours[key], label=key)[0] for key in series]
        canvas.legend(
            handles=handles, loc="outside upper center", ncols=len(series), frameon=False, fontsize=9
        )
    return _save(canvas, path)


def _interval_line(axis, place: float, figure: Estimate, colour: str) -> None:
    if not np.isfinite(figure["value"]):
        axis.text(0.0, place, "not available", fontsize=8, color=PLAIN, va="center")
        return
    axis.plot(
        [figure["ci_low"], figure["ci_high"]], [place, place], color=colour, lw=2.2, solid_capstyle="round"
    )
    axis.plot(figure["value"], place, "o", color=colour, ms=6)
    axis.annotate(
        number(figure["value"], 2),
        (figure["value"], place),
        (0, 5),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )


def mean_maps(
    path: Path, maps: np.ndarray, outline: np.ndarray | None, shift_correlation: np.ndarray, task: Task
) -> Path:
    """Mean R, mean |R| (with the outline of what is the thing in more than half of the cases, given their share
    `outline` (H, W)), and how well R follows a shifted image."""
    canvas, axes = _canvas(WIDTH, 3.1, ncols=3)
    canvas.get_layout_engine().set(wspace=0.08)
    signed = axes[0].imshow(maps.mean(0), cmap=DIVERGING, vmin=-RELEVANCE_SCALE, vmax=RELEVANCE_SCALE)
    magnitude = axes[1].imshow(np.abs(maps).mean(0), cmap="magma", vmin=0)
    relevance_bar(canvas, signed, axes[0], task, "mean R", shrink=0.75)
    canvas.colorbar(magnitude, ax=axes[1], shrink=0.75).ax.tick_params(labelsize=8)
    for axis, title in ((axes[0], "mean R"), (axes[1], "mean |R|, own scale")):
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
        if outline is not None and outline.max() > 0.5:
            axis.contour(outline, levels=[0.5], colors="#1a9641", linewidths=1)
    known = shift_correlation[np.isfinite(shift_correlation)]
    if len(known):
        axes[2].hist(np.clip(known, -1, 1), bins=np.linspace(-1, 1, 41), color=FIRST)
        axes[2].axvline(0.8, color=PLAIN, ls=":", lw=1)
    axes[2].set_title("does R follow a shift?", fontsize=10)
    axes[2].set(xlabel="correlation", ylabel="cases")
    _plain_axes(axes[2])
    return _save(canvas, path)


def matrices(
    path: Path, values: Mapping[str, np.ndarray], names: Sequence[str], axes: tuple[str, str]
) -> Path:
    """Square tables of shares (K, K) in [0, 1] under each other, by their titles; axes: what columns and rows are."""
    count = len(names)
    side = max(4.0, 0.55 * count + 1.6)
    canvas, lines = _canvas(side + 0.6, side * len(values), nrows=len(values), squeeze=False)
    for axis, (title, table) in zip(lines[:, 0], values.items(), strict=True):
        axis.imshow(table, cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(count), [name[:14] for name in names], rotation=45, ha="right", fontsize=9)
        axis.set_yticks(range(count), [name[:14] for name in names], fontsize=9)
        axis.set(xlabel=axes[0], ylabel=axes[1], title=title)
        for (row, column), value in np.ndenumerate(table):
            text = "" if not np.isfinite(value) else f"{value:.2f}"
            colour = "white" if value > 0.6 else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    return _save(canvas, path)


def tiles(path: Path, pictures: Mapping[str, np.ndarray], across: int = 4) -> Path:
    """Pictures (H, W) or (H, W, 3) in [0, 1] by their titles, four in a line: readable on a phone too."""
    lines = -(-len(pictures) // across)
    canvas, axes = _canvas(1.5 * across, 1.75 * lines, nrows=lines, ncols=across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=False):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(title, fontsize=9)
    return _save(canvas, path)
