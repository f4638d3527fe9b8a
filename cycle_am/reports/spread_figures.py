"""Pictures of `evaluation=aggregate`: every run as a dot, how alike maps are, what an ensemble shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D

from cycle_am.estimate import Estimate
from cycle_am.metrics.spread import RunFigures, Split, Spread, ensemble
from cycle_am.reports.draw import (
    ACCENT,
    DIVERGING,
    FIRST,
    PLAIN,
    RELEVANCE_SCALE,
    WIDTH,
    _canvas,
    _plain_axes,
    _save,
    caption,
    relevance_bar,
    shown,
)
from cycle_am.reports.page import number

MARKERS = "osD^vP*X<>"  # of folds, again from the first where there are more
COLOURS = colormaps["tab10"].colors  # of seeds, alike
SHOWN_SEEDS = 3


def runs_as_dots(path: Path, rows: Mapping[str, Spread], runs: Sequence[RunFigures]) -> Path:
    """A line a figure: every run a dot (colour: seed, shape: fold), the mean a bar, its interval over runs a line."""
    seeds, folds = (sorted({getattr(run, name) for run in runs}) for name in ("seed", "fold"))
    look = [(COLOURS[seeds.index(r.seed) % 10], MARKERS[folds.index(r.fold) % 10]) for r in runs]
    canvas, axis = _canvas(WIDTH, 0.9 + 0.36 * len(rows))
    heights = np.linspace(-0.22, 0.22, len(runs)) if len(runs) > 1 else [0.0]
    for line, row in enumerate(rows.values()):
        mean = row.figure
        axis.plot([mean["ci_low"], mean["ci_high"]], [line, line], color=PLAIN, lw=6, alpha=0.3, zorder=1)
        axis.plot(mean["value"], line, "|", color=ACCENT, ms=17, mew=1.6, zorder=2)
        for value, height, (colour, marker) in zip(row.values, heights, look, strict=True):
            axis.plot(value, line + height, marker, color=colour, ms=6.5, mec="white", mew=0.5, zorder=3)
    axis.set_yticks(range(len(rows)), list(rows), fontsize=9)
    axis.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6))
    axis.grid(axis="x", color="#e5e7ea", lw=0.7)
    axis.set_axisbelow(True)
    _plain_axes(axis)
    canvas.legend(
        handles=_legend(seeds, folds), loc="outside upper center", ncols=6, frameon=False, fontsize=9
    )
    return _save(canvas, path)


def _legend(seeds: Sequence[int], folds: Sequence[int]) -> list[Line2D]:
    dot = {"ls": "", "ms": 6}
    of_seeds = [
        Line2D([], [], marker="o", color=COLOURS[i % 10], label=f"seed {s}", **dot)
        for i, s in enumerate(seeds)
    ]
    of_folds = [
        Line2D([], [], marker=MARKERS[i % 10], color=PLAIN, label=f"fold {f}", **dot)
        for i, f in enumerate(folds)
    ]
    return of_seeds + (of_folds if len(folds) > 1 else [])


def map_correlations(path: Path, per_case: np.ndarray, mean: Estimate, control: Estimate) -> Path:
    """How alike a case's maps are over seeds: every case (N,) in a histogram, its mean, and the control's mean."""
    canvas, axis = _canvas(WIDTH, 2.9)
    axis.hist(per_case[np.isfinite(per_case)], bins=np.linspace(-1, 1, 81), color=FIRST)
    for figure, colour, name in ((mean, ACCENT, "mean"), (control, PLAIN, "mean, maps of different cases")):
        axis.axvline(
            figure["value"], color=colour, ls="--", lw=1.4, label=f"{name} {number(figure['value'], 2)}"
        )
    low = min(float(np.nanmin(per_case)), control["value"], 0.0)
    axis.set(xlabel="rank correlation of |R| between seeds", ylabel="cases", xlim=(low - 0.05, 1.02))
    canvas.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    _plain_axes(axis)
    return _save(canvas, path)


def ensembles(path: Path, split: Split, chosen: Sequence[int], captions: Sequence[str]) -> Path:
    """A row a case: the image with its outline, R of up to three seeds, the mean R of all and its SD over seeds.

    R is drawn on its one scale, SD up to half of that.
    """
    average = ensemble(split.maps[:, chosen])
    seeds = list(split.seeds)[:SHOWN_SEEDS]
    titles = ["x", *(f"R, seed {seed}" for seed in seeds), "mean R", "SD over seeds"]
    canvas, axes = _canvas(
        WIDTH, 0.8 + 1.5 * len(chosen), nrows=len(chosen), ncols=len(titles), squeeze=False
    )
    for k, (line, case) in enumerate(zip(axes, chosen, strict=True)):
        line[0].imshow(shown(split.image[case]), cmap="gray", vmin=0, vmax=1)
        caption(line[0], captions[k], 8, (0.04, 0.05))
        for axis, relevance in zip(
            line[1:-1], [*split.maps[: len(seeds), case], average.mean[k]], strict=True
        ):
            drawn = axis.imshow(relevance, cmap=DIVERGING, vmin=-RELEVANCE_SCALE, vmax=RELEVANCE_SCALE)
        doubt = line[-1].imshow(average.sd[k], cmap="magma", vmin=0, vmax=RELEVANCE_SCALE / 2)
        for axis, colour in ((line[0], "#c99700"), (line[-2], "#c99700"), (line[-1], "white")):
            if split.where.known[case]:
                axis.contour(split.where.mask[case], levels=[0.5], colors=colour, linewidths=0.8)
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    below = {"location": "bottom", "shrink": 0.6, "pad": 0.02}
    relevance_bar(canvas, drawn, axes[:, 1:-1], split.task, aspect=30, **below)
    bar = canvas.colorbar(doubt, ax=axes[:, -1], aspect=10, extend="max", **below)
    bar.set_label("SD", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return _save(canvas, path)
