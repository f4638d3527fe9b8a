"""The model card: what a model is for, what it was trained on, how good it is, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cycle_am import measures
from cycle_am.task import Task

KEYS = (
    "classifier/auc",
    "transfer/independent/neg",
    "transfer/independent/pos",
    "similarity/ssim_neg",
    "similarity/ssim_pos",
    "localisation/peak_in_dilated",
    "localisation/relevance_mass_dilated",
)


def card(facts: Mapping[str, Any]) -> str:
    """Markdown, from what the model file says of its model."""
    task, data = Task.of(facts["task"]), facts["data"]
    cases = ", ".join(f"{count} {part}" for part, count in data["cases"].items())
    return f"""# {facts["name"]}

**Explains** a classifier of {" against ".join(task.classes)}:
{task.images()}.

**Data.** {data["name"]} ({cases} cases; split by patient, fingerprint {data["fingerprint"]}).

**Measured** on its test cases, with 95 % intervals:

{_measured(facts["metrics"], task)}

**Intended use.** Research on what a classifier looks at. Not a medical device; it says nothing about a patient, only
about the classifier.

**Limits.** Other scanners, windows, sizes and diseases than in its data. Each explanation says whether its image is
like them.
"""


def _measured(metrics: Mapping[str, Any], task: Task) -> str:
    known = {key: metrics[key] for key in KEYS if metrics.get(key, {}).get("value") is not None}
    rows = [f"| {task.worded(_label(key))} | {_figure(figure)} |" for key, figure in known.items()]
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else "It was not evaluated."


def _label(key: str) -> str:
    return measures.named(key).label.replace("|R|", "abs(R)")  # a bar would end the table's cell


def _figure(figure: Mapping[str, float]) -> str:
    low, high = figure.get("ci_low"), figure.get("ci_high")
    return f"{figure['value']:z.3f}" + (f" [{low:z.3f}, {high:z.3f}]" if low is not None else "")
