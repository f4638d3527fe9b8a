"""What came out of a study: `study.csv`, `best.yaml`, `study.png` in the sweep's folder, lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from cycle_am.files import write_atomically
from cycle_am.runs.failures import failed
from cycle_am.sweeps.study import DONE, SURPLUS, folder_of

FRONT, OTHERS = "tab:red", "0.6"


def complete(study: Study) -> list[FrozenTrial]:
    """Trials that came to their own end with a value, by number."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def best(study: Study) -> list[FrozenTrial]:
    """The best trial, or all trials of the Pareto front: no other one is as good in everything and better in
    something.
    """
    return study.best_trials if complete(study) else []


def line(study: Study, trial: FrozenTrial, n_trials: int) -> str:
    """One line on a trial that just ended."""
    done = len(study.get_trials(deepcopy=False, states=DONE))
    values = " ".join(f"{value:z.4g}" for value in trial.values or ())
    how = values if trial.state == TrialState.COMPLETE else trial.state.name.lower()
    front = ", ".join(str(chosen.number) for chosen in best(study))
    params = " ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
    return f"trial {trial.number}: {how}  ({done} of {n_trials} done, best: {front or 'none'})  {params}"


def summary(study: Study, names: Sequence[str], folder: Path) -> str:
    """The best trial or the Pareto front, a line each, and where the files are."""
    trials = best(study)
    if not trials:
        return f"no trial was completed; see {folder}"
    title = (
        "best trial:" if len(names) == 1 else f"Pareto front, {len(trials)} of {len(complete(study))} trials:"
    )
    lines = [
        f"  {trial.number}: "
        + "  ".join(f"{name} {value:z.4g}" for name, value in zip(names, trial.values, strict=True))
        + "  "
        + " ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
        for trial in trials
    ]
    return "\n".join([title, *lines, f"{folder}/study.csv, best.yaml, study.png"])


def write_tables(study: Study, names: Sequence[str], folder: Path) -> None:
    """`study.csv`: a row a trial. `best.yaml`: the best trial(s) with the overrides that repeat them."""
    errors, front = failed(folder), {trial.number for trial in best(study)}
    trials = [t for t in study.get_trials(deepcopy=False) if SURPLUS not in t.user_attrs]
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            **dict(zip(names, trial.values or [None] * len(names), strict=True)),
            "best": trial.number in front,
            **trial.params,
            "epochs_reported": len(trial.intermediate_values),
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            "folder": folder_of(trial),
            "error": errors.get(folder_of(trial)) if trial.state == TrialState.FAIL else None,
        }
        for trial in trials
    ]
    _write(folder / "study.csv", pd.DataFrame(rows).to_csv(index=False))
    chosen = [
        {
            "trial": trial.number,
            "values": dict(zip(names, trial.values, strict=True)),
            "overrides": [f"{key}={value}" for key, value in trial.params.items()],
            "folder": folder_of(trial),
        }
        for trial in best(study)
    ]
    _write(folder / "best.yaml", yaml.safe_dump(chosen, sort_keys=False))


def write_picture(study: Study, names: Sequence[str], folder: Path) -> None:
    """`study.png`: one objective's history and what mattered; for several, each pair of them with the front."""
    if complete(study):
        figure = history(study, names[0]) if len(names) == 1 else pareto(study, names)
        FigureCanvasAgg(figure)
        write_atomically(folder / "study.png", lambda path: figure.savefig(path, format="png", dpi=120))


def history(study: Study, name: str) -> Figure:
    """Values over trials with the best so far, pruned trials as crosses at their last report; importances beside."""
    weights = importances(study)
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    trials = complete(study)
    numbers, values = [t.number for t in trials], [t.value for t in trials]
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    running_best = np.maximum if study.direction == StudyDirection.MAXIMIZE else np.minimum
    left.scatter(numbers, values, s=18, color="tab:blue", label="complete")
    left.scatter(
        [t.number for t in pruned], [t.value for t in pruned], marker="x", color=OTHERS, label="pruned"
    )
    left.step(numbers, running_best.accumulate(values), where="post", color=FRONT, label="best so far")
    left.set(xlabel="trial", ylabel=name)
    left.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    if weights:
        rows = range(len(weights))
        right.barh(rows, list(weights.values()), height=0.6, color="tab:blue")
        right.set_yticks(rows, [".".join(key.split(".")[-2:]) for key in weights])
        right.set_ylim(max(len(weights), 4) - 0.5, -0.5)
    right.set(xlabel="importance (fANOVA)" if weights else "importance: too few trials", xlim=(0, 1))
    return figure


def importances(study: Study) -> dict[str, float]:
    """Share of the value's variance that each parameter explains; empty where the trials cannot tell."""
    try:
        return optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    except (ValueError, RuntimeError):  # fewer than two trials, or all values equal
        return {}


def pareto(study: Study, names: Sequence[str]) -> Figure:
    """A panel for each pair of objectives, with the trials of the front in red, numbered."""
    pairs = list(combinations(range(len(names)), 2))
    figure = Figure(figsize=(4 * len(pairs), 3.8), layout="constrained")
    front = {trial.number for trial in best(study)}
    for axis, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        _scatter(axis, [t for t in complete(study) if t.number not in front], x, y, OTHERS, "other trials")
        _scatter(axis, best(study), x, y, FRONT, "Pareto front")
        for trial in best(study):
            where = (trial.values[x], trial.values[y])
            axis.annotate(str(trial.number), where, (3, 3), textcoords="offset points", fontsize=7)
        axis.set(xlabel=names[x], ylabel=names[y])
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8, frameon=False
    )
    return figure


def _scatter(axis: Axes, trials: Sequence[FrozenTrial], x: int, y: int, colour: str, label: str) -> None:
    if trials:
        points = ([t.values[x] for t in trials], [t.values[y] for t in trials])
        axis.scatter(*points, s=22, color=colour, label=label)


def _short(value: object) -> str:
    return f"{value:z.4g}" if isinstance(value, float) else str(value)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
