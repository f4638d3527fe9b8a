"""Pictures of the comparison. Red speaks for malignant and blue for benign, told apart by the colour-blind too."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from cycle_am.metrics.faithfulness import FRACTIONS
from cycle_am.reports.draw import (
    FIRST,
    PLAIN,
    SECOND,
    WIDTH,
    _canvas,
    _plain_axes,
    _save,
    caption,
    overlay,
    shown,
)
from cycle_am.reports.page import number

CONTROL = "control_"
PERCENTILE = 99.5  # of |R| over all cases of a method: what is drawn in full colour


def scales(maps: Mapping[str, np.ndarray]) -> dict[str, float]:
    """One scale a method for all of its cases: the maps' units differ, from logits to grey values."""
    widths = {name: float(np.nanpercentile(np.abs(part), PERCENTILE)) for name, part in maps.items()}
    return {name: scale if scale > 0 else 1.0 for name, scale in widths.items()}


def methods_by_cases(
    path: Path, images: np.ndarray, maps: Mapping[str, np.ndarray], captions: Sequence[str], masks=None
) -> Path:
    """The paper's figure 6 for all methods: a row a case, the image first, then each method's map laid over it.

    images (K, C, H, W) in [0, 1]; maps: method -> (K, H, W), positive for the second class, in units of the method's
    scale; masks (K, H, W) bool are outlined on the image.
    """
    names = list(maps)
    side = min(1.1, (WIDTH + 3) / (len(names) + 1))
    canvas, axes = _canvas(
        side * (len(names) + 1),
        0.5 + side * len(images),
        nrows=len(images),
        ncols=len(names) + 1,
        squeeze=False,
    )
    canvas.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    for k, line in enumerate(axes):
        line[0].imshow(shown(images[k]), cmap="gray", vmin=0, vmax=1)
        caption(line[0], captions[k], 6.5, (0.03, 0.05))
        if masks is not None and masks[k].any():
            line[0].contour(masks[k], levels=[0.5], colors="#c99700", linewidths=0.8)
        for axis, name in zip(line[1:], names, strict=True):
            axis.imshow(overlay(shown(images[k]), np.nan_to_num(maps[name][k]), 1.0))
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, name in zip(axes[0], ["x", *names], strict=True):
        axis.set_title(name.replace("_", "\n"), fontsize=7)
    return _save(canvas, path)


def curves(path: Path, by_method: Mapping[str, np.ndarray]) -> Path:
    """Mean deletion (left) and insertion curve (right) of each method: method -> (2, N, S). Controls are dashed."""
    canvas, axes = _canvas(WIDTH, 4.2, ncols=2, sharey=True)
    for (name, both), colour in zip(by_method.items(), _colours(len(by_method)), strict=True):
        for axis, curve in zip(axes, both, strict=True):
            axis.plot(
                np.array(FRACTIONS) * 100,
                np.nanmean(curve, 0),
                label=name,
                color=colour,
                ls="--" if name.startswith(CONTROL) else "-",
                lw=2.4 if name.startswith("cycle") else 1.3,
            )
    for axis, title, better in zip(axes, ("deletion", "insertion"), ("lower", "higher"), strict=True):
        axis.set_title(f"{title} ({better} is better)", fontsize=10)
        axis.set(xlabel=f"% of the pixels {'removed' if title == 'deletion' else 'shown'}", xscale="symlog")
        axis.set_xticks([0, 1, 5, 10, 25, 50, 100], ["0", "1", "5", "10", "25", "50", "100"])
        axis.set_xlim(0, 100)
        _plain_axes(axis)
    axes[0].set_ylabel("p of the decided class", fontsize=9)
    canvas.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8
    )
    return _save(canvas, path)


def _colours(count: int) -> np.ndarray:
    return colormaps["tab20"](np.arange(count) % 20)


def heat(
    path: Path, ranks: np.ndarray, texts: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str]
) -> Path:
    """Methods x metrics: the colour is the rank in the column (dark: first), the text the value."""
    canvas, axis = _canvas(1.9 + 0.62 * len(columns), 1.3 + 0.3 * len(rows))
    worst = np.nanmax(ranks, 0, initial=1, keepdims=True)
    shade = 1 - (ranks - 1) / np.maximum(worst - 1, 1)
    axis.imshow(np.ma.masked_invalid(shade), cmap="Blues", vmin=-0.15, vmax=1.25, aspect="auto")
    for i, line in enumerate(texts):
        for j, text in enumerate(line):
            dark = np.isfinite(shade[i, j]) and shade[i, j] > 0.75
            axis.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axis.set_xticks(range(len(columns)), columns, rotation=40, ha="left", fontsize=7.5)
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return _save(canvas, path)


def extremes(
    path: Path,
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    order: Mapping[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
    each: int = 3,
) -> Path:
    """A row a method: its `each` worst and `each` best cases by a score (N,), the map laid over the image."""
    canvas, axes = _canvas(
        1.6 + 1.15 * 2 * each, 0.4 + 1.15 * len(order), nrows=len(order), ncols=2 * each, squeeze=False
    )
    canvas.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    for line, (name, cases) in zip(axes, order.items(), strict=True):
        for axis, case in zip(line, [*cases[:each], *cases[-each:]], strict=True):
            axis.imshow(overlay(shown(images[case]), np.nan_to_num(maps[name][case]), 1.0))
            caption(axis, number(scores[name][case], 2), 7, (0.03, 0.05))
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name.replace("_", "\n"), fontsize=7)
    axes[0, 0].set_title("worst", fontsize=9, color=FIRST, loc="left")
    axes[0, each].set_title("best", fontsize=9, color=SECOND, loc="left")
    return _save(canvas, path)


def cascade(path: Path, by_method: Mapping[str, np.ndarray], threshold: float) -> Path:
    """Similarity of the map to the intact classifier's (mean over cases) over the number of random layers."""
    canvas, axis = _canvas(WIDTH, 3.6)
    for (name, values), colour in zip(by_method.items(), _colours(len(by_method)), strict=True):
        axis.plot(
            range(len(values) + 1),
            [1, *values],
            label=name,
            color=colour,
            ls="--" if name.startswith(CONTROL) else "-",
        )
    axis.axhline(threshold, color=PLAIN, lw=0.8, ls=":")
    axis.set(xlabel="random layers, from the output", ylabel="rank correlation of |R|")
    _plain_axes(axis)
    canvas.legend(*axis.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return _save(canvas, path)
